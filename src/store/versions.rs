//! Versions: numbers that only grow, whatever the clock, a crash or a power cut does.
//!
//! Versions are reserved in blocks: a block's end is written, with a sync, before the first version of it is given,
//! and after a restart the next version is above that end. So a version costs no write, a sync every ten seconds at
//! most, and one that was sent is never given again. Only a copy of the file from before can give lower numbers; the
//! clock usually heals that, and where it does not, the index answers that it holds a higher version, and the next
//! ones are given above it ([`Store::raise_version_above`]).

use rusqlite::Connection;

use crate::batch::Version;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::failure::{Attempt, Failure};
use crate::store::meta;
use crate::store::open::Inner;

/// Versions follow the clock in microseconds, so this is ten seconds of them.
const BLOCK: u64 = 10_000_000;

const HIGHEST: u64 = Version::HIGHEST.0;

const RESERVED: &str = "version_reserved";

/// What this process gave and may give. Only the process that holds the pipeline's lock gives versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    last: u64,
    reserved: u64,
}

impl Versions {
    /// After a start every reserved version counts as given.
    pub(super) fn load(connection: &Connection) -> Attempt<Self> {
        let reserved = reserved(connection)?;
        Ok(Self { last: reserved, reserved })
    }
}

impl Store {
    /// Draws the next version: the time in microseconds since 1970, or one more than the last if that is not later.
    pub fn next_version(&self, now_micros: u64) -> Result<Version> {
        let mut inner = self.lock();
        let next = inner.versions.last.saturating_add(1).max(now_micros);
        if next > HIGHEST {
            return Err(Error::wrong("there is no higher version left for the documents of this index")
                .hint("move the state away and load into a new index"));
        }
        advance(&mut inner, next).map_err(|failure| failure.explain("reserve versions", &self.path))?;
        Ok(Version(next))
    }

    /// Lets every later version be above `found`, which the index holds.
    ///
    /// Returns true if `found` is above everything that this state gave: someone else gave it.
    pub fn raise_version_above(&self, found: Version) -> Result<bool> {
        let mut inner = self.lock();
        if found.0 <= inner.versions.last {
            return Ok(false);
        }
        advance(&mut inner, found.0.min(HIGHEST))
            .map_err(|failure| failure.explain("raise the version", &self.path))?;
        Ok(true)
    }
}

/// Makes `last` the last version, reserving a block if it is not in the present one.
fn advance(inner: &mut Inner, last: u64) -> Attempt<()> {
    if last > inner.versions.reserved {
        let end = last.saturating_add(BLOCK).min(HIGHEST);
        inner.write_durably(|transaction, _| {
            debug_assert!(reserved(transaction)? <= end, "another process gave versions");
            meta::set(transaction, RESERVED, &end.to_string())
        })?;
        inner.versions.reserved = end;
    }
    inner.versions.last = last;
    Ok(())
}

fn reserved(connection: &Connection) -> Attempt<u64> {
    match meta::get(connection, RESERVED)? {
        Some(text) => text.parse().map_err(|_| Failure::Damaged("the reserved version is no number")),
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{after_a_kill, state};

    #[test]
    fn versions_follow_the_clock_and_never_go_back() {
        let (_dir, store) = state();
        assert_eq!(store.next_version(1_000).unwrap(), Version(1_000));
        assert_eq!(store.next_version(1_000).unwrap(), Version(1_001));
        assert_eq!(store.next_version(5).unwrap(), Version(1_002));
        assert_eq!(store.next_version(2_000).unwrap(), Version(2_000));
    }

    #[test]
    fn after_a_kill_no_version_is_given_again() {
        let (dir, store) = state();
        let mut last = store.next_version(1_000).unwrap();
        let (_copy, restarted) = after_a_kill(dir.path());
        for _ in 0..1_000 {
            last = store.next_version(1_000).unwrap();
        }
        assert!(restarted.next_version(5).unwrap() > last);
        // With the clock set back across two starts, too.
        let (_copy, again) = after_a_kill(restarted.path().parent().unwrap());
        assert!(again.next_version(5).unwrap() > restarted.next_version(5).unwrap());
    }

    #[test]
    fn a_block_is_reserved_before_its_first_version_is_given() {
        let (_dir, store) = state();
        let version = store.next_version(1_000).unwrap().0;
        let kept = |store: &Store| -> u64 { store.meta(RESERVED).unwrap().unwrap().parse().unwrap() };
        assert_eq!(kept(&store), version + BLOCK);
        store.next_version(version + BLOCK).unwrap();
        assert_eq!(kept(&store), version + BLOCK);
        store.next_version(1).unwrap();
        assert_eq!(kept(&store), version + BLOCK + 1 + BLOCK);
    }

    #[test]
    fn versions_rise_above_what_the_index_holds() {
        let (dir, store) = state();
        store.next_version(1_000).unwrap();
        assert!(!store.raise_version_above(Version(1_000)).unwrap());
        assert!(store.raise_version_above(Version(5_000_000_000)).unwrap());
        assert!(!store.raise_version_above(Version(5_000_000_000)).unwrap());
        let (_copy, restarted) = after_a_kill(dir.path());
        assert!(restarted.next_version(1_000).unwrap() > Version(5_000_000_000));
        assert_eq!(store.next_version(1_000).unwrap(), Version(5_000_000_001));
    }

    #[test]
    fn the_highest_version_is_the_last() {
        let (_dir, store) = state();
        assert!(store.raise_version_above(Version(HIGHEST)).unwrap());
        assert!(!store.next_version(1).unwrap_err().is_retryable());
    }
}
