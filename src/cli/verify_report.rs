//! What `verify` found, for people and for programs.

use serde_json::{Value, json};

use crate::cli::output;
use crate::cli::verify::VerifyOptions;
use crate::error::Result;
use crate::store::{Difference, DifferenceKind};
use crate::verify::Repair;

/// How many differences are printed for people.
const PRINTED: usize = 20;

pub(super) struct Report<'a> {
    index: &'a str,
    generation: &'a str,
    repair: Repair,
    sample: Option<u16>,
    /// Whether it went on from an earlier one.
    pub(super) is_resumed: bool,
    /// Rows whose document was compared.
    pub(super) compared: u64,
    /// Ids whose row was looked up.
    pub(super) looked_up: u64,
    pub(super) missing: u64,
    pub(super) different: u64,
    pub(super) extra: u64,
    /// Documents that the index refuses.
    pub(super) refused: u64,
    /// Differences that were recorded as stale.
    pub(super) recorded: u64,
    /// Of those, how many are still there.
    pub(super) left: u64,
    /// Whether extra documents were too many to be deleted.
    pub(super) is_paused: bool,
    pub(super) seconds: f64,
    /// The first of them.
    pub(super) differences: Vec<Difference>,
}

impl<'a> Report<'a> {
    pub(super) fn new(index: &'a str, generation: &'a str, options: &VerifyOptions) -> Self {
        Self {
            index,
            generation,
            repair: options.repair,
            sample: options.sample,
            is_resumed: false,
            compared: 0,
            looked_up: 0,
            missing: 0,
            different: 0,
            extra: 0,
            refused: 0,
            recorded: 0,
            left: 0,
            is_paused: false,
            seconds: 0.0,
            differences: Vec::new(),
        }
    }

    fn count(&self) -> u64 {
        self.missing + self.different + self.extra
    }

    /// Whether there was no difference, or there is none any more.
    pub(super) fn is_right(&self) -> bool {
        self.count() == 0 || self.is_repaired()
    }

    fn is_repaired(&self) -> bool {
        self.repair != Repair::No && !self.is_paused && self.left == 0
    }

    pub(super) fn print(&self) -> Result<()> {
        for difference in self.differences.iter().take(PRINTED) {
            let fields = match difference.kind {
                DifferenceKind::Different => format!(": {}", difference.fields.join(", ")),
                _ => String::new(),
            };
            output::line(&format!("{} {}{fields}", difference.kind.name(), difference.key))?;
        }
        let shown = self.differences.len().min(PRINTED) as u64;
        if self.count() > shown {
            output::line(&format!("and {} more; --json lists them", self.count() - shown))?;
        }
        let resumed = if self.is_resumed { " (gone on from where it was stopped)" } else { "" };
        output::line(&format!(
            "{}: {} documents compared, {} ids looked up in {:.1} s{resumed}: {} missing, {} different, {} extra, {} refused",
            self.index,
            self.compared,
            self.looked_up,
            self.seconds,
            self.missing,
            self.different,
            self.extra,
            self.refused
        ))?;
        if self.refused > 0 {
            output::line("refused documents are no differences: see `pgsluice dead-letters list`")?;
        }
        if self.count() == 0 {
            return Ok(());
        }
        output::line(&match self.repair {
            Repair::No => "run `pgsluice verify --repair` to repair them".to_owned(),
            _ if self.is_paused => format!(
                "{} documents without a row are more than VERIFY_MAX_DELETE_PERCENT allows and were left alone; if they are \
                 to go, run `pgsluice verify --repair --force`",
                self.extra
            ),
            _ if self.left > 0 => {
                format!("{} of them still differ: see `pgsluice dead-letters list`", self.left)
            }
            _ => "all of them are repaired".to_owned(),
        })
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "index": self.index,
            "generation": self.generation,
            "sample": self.sample,
            "resumed": self.is_resumed,
            "seconds": self.seconds,
            "compared": self.compared,
            "looked_up": self.looked_up,
            "missing": self.missing,
            "different": self.different,
            "extra": self.extra,
            "refused": self.refused,
            "recorded": self.recorded,
            "repaired": self.is_repaired(),
            "left": self.left,
            "deletions_paused": self.is_paused,
            "differences": self.differences.iter().map(|difference| json!({
                "key": difference.key.as_str(),
                "kind": difference.kind.name(),
                "fields": difference.fields,
            })).collect::<Vec<_>>(),
            "differences_not_listed": self.count().saturating_sub(self.differences.len() as u64),
        })
    }
}
