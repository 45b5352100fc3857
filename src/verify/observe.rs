//! One look at both sides: what the rows make, what the index holds, and where they differ.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use crate::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use crate::document::{Action, ActionKind, DocumentAddress, RenderedBatch};
use crate::elastic::{Client, RawDocument, get_documents};
use crate::error::Result;
use crate::key::Key;
use crate::postgres::Source;
use crate::store::{Difference, DifferenceKind};
use crate::transform::{RenderLimits, render};
use crate::verify::compare::Comparer;
use crate::verify::verifier::Verifier;

/// Documents are asked for in requests of about this many bytes of answer, as far as ours say how large theirs are.
const REQUEST_BYTES: usize = 4 << 20;

/// Reads ranges of root rows, one after the other.
#[derive(Debug)]
pub(super) struct RangeReader {
    low: Option<Key>,
    is_at_end: bool,
    chunk_size: usize,
    limits: RenderLimits,
}

/// A range of root rows as documents.
#[derive(Debug)]
pub(super) struct ReadRange {
    pub(super) rendered: RenderedBatch,
    /// Its last key; none if it is the last range.
    pub(super) high: Option<Key>,
}

impl RangeReader {
    /// Reads from behind `low`, or from the first key; nothing if it `is_at_end`.
    pub(super) fn new(low: Option<Key>, is_at_end: bool, chunk_size: usize, limits: RenderLimits) -> Self {
        Self { low, is_at_end, chunk_size, limits }
    }

    /// The next range; none after the last.
    pub(super) fn next(&mut self, source: &mut Source) -> Result<Option<ReadRange>> {
        if self.is_at_end {
            return Ok(None);
        }
        let high = source.cut_range(self.low.as_ref(), self.chunk_size)?;
        let range = KeyRange { low: self.low.clone(), high };
        let read = source.read(batch(Work::Range(range)), Version(0))?;
        // A range of large rows ends earlier than it was cut.
        let high = match &read.extracted.batch.work {
            Work::Range(range) => range.high.clone(),
            Work::Keys(_) => None,
        };
        self.is_at_end = high.is_none();
        self.low.clone_from(&high);
        Ok(Some(ReadRange { rendered: render(read.extracted, self.limits), high }))
    }
}

/// Looks at these keys on both sides; what is the same, refused or none of ours is left out.
pub(super) fn look_at_keys(
    verifier: &Verifier<'_>,
    source: &mut Source,
    keys: &[Key],
) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for chunk in keys.chunks(verifier.limits.chunk_size.max(1)) {
        let mut left = chunk.to_vec();
        while !left.is_empty() {
            let read = source.read(batch(Work::Keys(std::mem::take(&mut left))), Version(0))?;
            left = read.unread;
            let rendered = render(read.extracted, verifier.render_limits());
            found.extend(look_at_rendered(verifier, source, &rendered)?);
        }
    }
    Ok(found)
}

/// Compares documents with those of the index.
pub(super) fn look_at_rendered(
    verifier: &Verifier<'_>,
    source: &mut Source,
    rendered: &RenderedBatch,
) -> Result<Vec<Difference>> {
    let mut differences =
        compare_rendered(verifier.client, verifier.generation, verifier.comparer, rendered)?;
    let Some(initial) = verifier.limits.initial_timestamp else { return Ok(differences) };
    let missing: Vec<Key> = differences
        .iter()
        .filter(|difference| difference.kind == DifferenceKind::Missing)
        .map(|difference| difference.key.clone())
        .collect();
    if missing.is_empty() {
        return Ok(differences);
    }
    // The load left older rows out; one that is in the index nevertheless must be right.
    let loaded = source.loaded_keys(&missing, initial)?;
    differences
        .retain(|difference| difference.kind != DifferenceKind::Missing || loaded.contains(&difference.key));
    Ok(differences)
}

fn compare_rendered(
    client: &Client,
    generation: &str,
    comparer: &Comparer,
    rendered: &RenderedBatch,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let mut rest = rendered.actions.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take_while(|action| {
                let is_first = bytes == 0;
                bytes += action.bytes.len();
                is_first || bytes <= REQUEST_BYTES
            })
            .count();
        let (actions, others) = rest.split_at(count.max(1));
        rest = others;
        let ids: Vec<DocumentAddress> = actions.iter().map(Action::address).collect();
        for (action, found) in actions.iter().zip(get_documents(client, generation, &ids)?) {
            let document = &rendered.body[action.document.clone()];
            differences.extend(compare(comparer, action, document, found.as_ref())?);
        }
    }
    Ok(differences)
}

fn compare(
    comparer: &Comparer,
    action: &Action,
    ours: &[u8],
    theirs: Option<&RawDocument>,
) -> Result<Option<Difference>> {
    let (kind, fields, seen) = match (action.kind, theirs) {
        (ActionKind::Delete, None) => return Ok(None),
        (ActionKind::Delete, Some(theirs)) => {
            (DifferenceKind::Extra, Vec::new(), seen_of_extra(theirs.version))
        }
        (ActionKind::Index, None) => (DifferenceKind::Missing, Vec::new(), fingerprint(ours)),
        (ActionKind::Index, Some(theirs)) => {
            let fields = comparer.differing_fields(ours, &theirs.source)?;
            if fields.is_empty() {
                return Ok(None);
            }
            (DifferenceKind::Different, fields, format!("{} {}", fingerprint(ours), theirs.version))
        }
    };
    Ok(Some(Difference { key: action.key.clone(), kind, fields, seen }))
}

/// What is remembered of a document without a row.
pub(super) fn seen_of_extra(version: Version) -> String {
    version.to_string()
}

fn fingerprint(document: &[u8]) -> String {
    Sha256::digest(document).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn batch(work: Work) -> Batch {
    Batch { number: BatchNumber(0), work, attempt_count: 0 }
}

/// The differences that are still there and are the same as before, and those that are others now.
pub(super) fn split_by_change(
    before: Vec<Difference>,
    now: Vec<Difference>,
) -> (Vec<Difference>, Vec<Difference>) {
    let asked: HashSet<Key> = before.iter().map(|difference| difference.key.clone()).collect();
    let before: HashMap<Key, Difference> =
        before.into_iter().map(|difference| (difference.key.clone(), difference)).collect();
    // A key that is written otherwise than the row's own also finds the row: that one was not asked for.
    now.into_iter().filter(|difference| asked.contains(&difference.key)).partition(|difference| {
        before
            .get(&difference.key)
            .is_some_and(|before| before.kind == difference.kind && before.seen == difference.seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(key: &str, seen: &str) -> Difference {
        Difference {
            key: Key::from_encoded(key),
            kind: DifferenceKind::Missing,
            fields: Vec::new(),
            seen: seen.to_owned(),
        }
    }

    #[test]
    fn a_difference_that_changed_is_not_the_same() {
        let before = vec![difference("a", "1"), difference("b", "1"), difference("c", "1")];
        let now = vec![difference("a", "1"), difference("b", "2"), difference("d", "1")];
        let (same, changed) = split_by_change(before, now);
        assert_eq!((same, changed), (vec![difference("a", "1")], vec![difference("b", "2")]));
    }
}
