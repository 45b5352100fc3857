//! What `status` says of verify.

use serde_json::{Value, json};

use crate::cli::target::instant;
use crate::error::Result;
use crate::store::{Store, VerifyCaller, VerifyPass, VerifyProgress};

const PASSES: [(VerifyPass, &str); 2] =
    [(VerifyPass::Documents, "documents"), (VerifyPass::Extras, "extras")];

const CALLERS: [(VerifyCaller, &str); 2] =
    [(VerifyCaller::Schedule, "scheduled"), (VerifyCaller::Command, "command")];

/// How far verify is, by itself and as a command.
pub(super) struct VerifyStatus {
    passes: Vec<(&'static str, &'static str, VerifyProgress)>,
}

impl VerifyStatus {
    pub(super) fn read(store: &Store, generation: &str) -> Result<Self> {
        let mut passes = Vec::new();
        for (caller, caller_name) in CALLERS {
            for (pass, pass_name) in PASSES {
                passes.push((caller_name, pass_name, store.verify_progress(generation, caller, pass)?));
            }
        }
        Ok(Self { passes })
    }

    /// How many documents have no row, if deletions are paused since they are too many.
    pub(super) fn paused_extra(&self) -> Option<u64> {
        self.passes.iter().filter_map(|(_, _, progress)| progress.paused_extra).max()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(count) = self.paused_extra() {
            lines.push(format!(
                "RED          deletions are paused: {count} documents or more have no row in the database; if they are to go, \
                 run `pgsluice verify --repair --force`"
            ));
        }
        for (caller, pass, progress) in &self.passes {
            if progress.started_at == 0 {
                continue;
            }
            let finished = progress
                .finished_at
                .map_or("never complete".to_owned(), |at| format!("complete {}", instant(at)));
            let under_way = if progress.is_under_way {
                format!(", under way: {} of about {}", progress.looked_at, progress.expected)
            } else {
                String::new()
            };
            let found = match *pass {
                "documents" => format!("{} missing, {} different", progress.missing, progress.different),
                _ => format!("{} extra", progress.extra),
            };
            let error = progress.error.as_ref().map_or(String::new(), |error| format!(", failed: {error}"));
            lines.push(format!("verify       {caller} {pass}: {finished}{under_way}, {found}{error}"));
        }
        lines
    }

    pub(super) fn as_json(&self) -> Value {
        let mut status = json!({ "deletions_paused": self.paused_extra() });
        for (caller, pass, progress) in &self.passes {
            if progress.started_at == 0 {
                continue;
            }
            status[*caller][*pass] = json!({
                "started_at": instant(progress.started_at),
                "finished_at": progress.finished_at.map(instant),
                "under_way": progress.is_under_way,
                "looked_at": progress.looked_at,
                "expected": progress.expected,
                "missing": progress.missing,
                "different": progress.different,
                "extra": progress.extra,
                "refused": progress.refused,
                "recorded": progress.recorded,
                "paused_extra": progress.paused_extra,
                "error": progress.error,
            });
        }
        status
    }
}
