//! What `check` says of the types of columns against the mapping.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::finding::{Finding, Level};
use crate::form::{Fit, Grade, misfits};
use crate::plan::DocumentPlan;

/// Compares what documents hold with a mapping (`mappings` of an index body), which `whose` names.
pub(super) fn findings(plan: &DocumentPlan, mappings: &Map<String, Value>, whose: &str) -> Vec<Finding> {
    let found = misfits(mappings, &plan.parts());
    if found.is_empty() {
        return vec![Finding::new(Level::Good, whose, "its fields take what the document has in them")];
    }
    found.into_iter().map(finding).collect()
}

/// Compares with the mapping of the index that is there; only what the mapping file does not have wrong as well.
pub(super) fn further_findings(
    plan: &DocumentPlan,
    file: &Map<String, Value>,
    index: &Map<String, Value>,
    whose: &str,
) -> Vec<Finding> {
    let parts = plan.parts();
    let known: BTreeSet<Fit> = misfits(file, &parts).into_iter().collect();
    misfits(index, &parts)
        .into_iter()
        .filter(|fit| !known.contains(fit))
        .map(|fit| Fit { message: format!("{} (in {whose})", fit.message), ..fit })
        .map(finding)
        .collect()
}

fn finding(fit: Fit) -> Finding {
    let Fit { path, grade, message, cure } = fit;
    let level = match grade {
        Grade::Note => Level::Good,
        Grade::Doubtful => Level::Warning,
        Grade::Wrong => Level::Problem,
    };
    let finding = Finding::new(level, format!("document.{path}"), message);
    match cure {
        Some(cure) => finding.cure(cure),
        None => finding,
    }
}
