//! A quick look: some documents chosen at random, from both sides.

use crate::elastic::{random_ids, refresh};
use crate::error::Result;
use crate::key::Key;
use crate::store::{Difference, DifferenceKind};
use crate::verify::observe::look_at_keys;
use crate::verify::verifier::Verifier;

/// What a sample showed.
#[derive(Debug, Default)]
pub struct Sampled {
    /// Documents that were looked at.
    pub looked_at: u64,
    /// Differences that count.
    pub differences: Vec<Difference>,
    /// Documents that the index refused.
    pub refused: u64,
}

/// Looks at up to `count` rows and as many documents.
pub fn sample(verifier: &Verifier<'_>, count: usize) -> Result<Sampled> {
    refresh(verifier.client, verifier.generation)?;
    let mut source = (verifier.connect)()?;
    let mut keys = source.random_keys(count)?;
    let ids = random_ids(verifier.client, verifier.generation, count)?;
    keys.extend(ids.into_iter().map(Key::from_encoded));
    keys.sort();
    keys.dedup();
    let mut candidates = Vec::new();
    for piece in keys.chunks(verifier.limits.chunk_size.max(1)) {
        verifier.must_go_on()?;
        candidates.extend(look_at_keys(verifier, &mut source, piece)?);
    }
    // A key written otherwise than its row's own also finds the row.
    candidates.retain(|candidate| {
        candidate.kind != DifferenceKind::Missing || keys.binary_search(&candidate.key).is_ok()
    });
    let mut sampled = Sampled { looked_at: keys.len() as u64, ..Sampled::default() };
    if !candidates.is_empty() {
        (verifier.settle)()?;
        let looked = verifier.look_again(&mut source, candidates)?;
        sampled.refused = looked.refused.len() as u64;
        sampled.differences = looked.confirmed;
    }
    Ok(sampled)
}
