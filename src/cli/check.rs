//! `check`: tries everything that a run rests on, changes nothing, and says all that it finds at once.

use serde_json::json;

use crate::cli::{check_mapping, exit_code, output, target};
use crate::definition::Definition;
use crate::elastic::{
    Client, EnsureRequest, Inspected, MARK_FORMAT, OwnershipMark, Step, decide, inspect, must_have_pipeline,
};
use crate::error::{Error, Result};
use crate::finding::{Finding, Level};
use crate::pipeline::kept_identity;
use crate::postgres::{Source, SourceIdentity};
use crate::settings::Settings;
use crate::store::Store;

pub(super) fn check(settings: &Settings, only: Option<&str>, as_json: bool) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    let reports: Vec<Report> =
        definitions.iter().map(|definition| check_definition(settings, definition)).collect();
    let exit_code = exit_code::worst(reports.iter().map(|report| report.exit_code));
    let indices = definitions.iter().map(|definition| definition.index.as_str());
    let by_definition: Vec<(&str, &[Finding])> =
        indices.zip(reports.iter().map(|report| report.findings.as_slice())).collect();
    let found = by_index(&by_definition);
    let worst = found.iter().map(|(_, finding)| finding.level).max().unwrap_or(Level::Good);
    if as_json {
        let list: Vec<_> = found
            .iter()
            .map(|(index, finding)| {
                json!({
                    "index": index,
                    "level": finding.level.as_str(),
                    "subject": finding.subject,
                    "message": finding.message,
                    "cure": finding.cure,
                })
            })
            .collect();
        output::json(&json!({ "status": colour(worst), "level": worst.as_str(), "findings": list }))?;
    } else {
        for (index, finding) in &found {
            print(index.filter(|_| definitions.len() > 1), finding)?;
        }
        let summary = match worst {
            Level::Good | Level::Hint => "everything is as it should be",
            Level::Warning => "ready to sync, with the warnings above",
            Level::Problem => "not ready: mend the problems above",
        };
        output::line(&format!("{}: {summary}", colour(worst)))?;
    }
    Ok(exit_code)
}

/// Every finding with the index that it is about; what is found for each of several alike, as of the server, once and
/// without one.
fn by_index<'a>(reports: &[(&'a str, &'a [Finding])]) -> Vec<(Option<&'a str>, &'a Finding)> {
    let of_all = |finding: &Finding| {
        reports.len() > 1 && reports.iter().all(|(_, findings)| findings.contains(finding))
    };
    let mut found: Vec<(Option<&str>, &Finding)> = Vec::new();
    for (position, (index, findings)) in reports.iter().enumerate() {
        for finding in *findings {
            match of_all(finding) {
                true if position == 0 => found.push((None, finding)),
                true => {}
                false => found.push((Some(index), finding)),
            }
        }
    }
    // What is about all comes first; a stable sort leaves the rest as it is.
    found.sort_by_key(|(index, _)| index.is_some());
    found
}

fn check_definition(settings: &Settings, definition: &Definition) -> Report {
    let mut report = Report::default();
    report.findings.push(Finding::new(
        Level::Good,
        "definition",
        format!(
            "{} tables, {} relations, index {}",
            definition.tables().len(),
            definition.relations.len(),
            definition.index
        ),
    ));
    // Before the source is asked: a pipeline beside keeps what it has read meanwhile.
    let kept = Store::open_read_only(&settings.storage_dir)
        .and_then(|store| store.map_or(Ok(None), |store| kept_identity(&store, &definition.index)));
    let source = check_source(settings, definition, &mut report);
    let identity = source.as_ref().map(|source| source.identity().clone());
    check_state(settings, definition, kept, identity.as_ref(), &mut report);
    check_index(settings, definition, source.as_ref(), &mut report);
    report
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Good | Level::Hint => "green",
        Level::Warning => "yellow",
        Level::Problem => "red",
    }
}

/// Everything that was found, and what the command ends with.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
    /// Of the gravest error: what is wrong for good goes before a server that is away.
    exit_code: u8,
}

impl Report {
    /// Adds findings; one that is in the way is what the command ends with.
    fn extend(&mut self, findings: Vec<Finding>) {
        if self.exit_code == 0 && findings.iter().any(|finding| finding.level == Level::Problem) {
            self.exit_code = Error::wrong("").exit_code();
        }
        self.findings.extend(findings);
    }

    fn fail(&mut self, subject: &str, error: &Error) {
        self.findings.push(problem(subject, error));
        if self.exit_code == 0 || !error.is_retryable() {
            self.exit_code = error.exit_code();
        }
    }
}

fn print(index: Option<&str>, finding: &Finding) -> Result<()> {
    let index = index.map_or(String::new(), |index| format!("{index}: "));
    output::line(&format!("{:<8} {index}{}: {}", finding.level.as_str(), finding.subject, finding.message))?;
    match &finding.cure {
        Some(cure) => output::line(&format!("         {cure}")),
        None => Ok(()),
    }
}

fn problem(subject: &str, error: &Error) -> Finding {
    let mut message = error.story();
    let hint = error.hint_text();
    if let Some(hint) = hint {
        message = message.trim_end_matches(&format!(" ({hint})")).to_owned();
    }
    let finding = Finding::new(Level::Problem, subject, message);
    match hint {
        Some(hint) => finding.cure(hint),
        None => finding,
    }
}

/// Returns the source, if it can be reached and the definition fits it.
fn check_source(settings: &Settings, definition: &Definition, report: &mut Report) -> Option<Source> {
    let subject = "PostgreSQL";
    let mut source = match Source::connect(&settings.source, definition, target::source_limits(settings)) {
        Ok(source) => source,
        Err(error) => {
            report.fail(subject, &error);
            return None;
        }
    };
    match source.inspect() {
        // Without the right to read there is nothing to explain.
        Ok(found) => match source.inspect_indexes(definition) {
            Ok(missing) => report.extend(with_missing_indexes(found, missing)),
            Err(error) => {
                report.extend(found);
                report.fail(subject, &error);
            }
        },
        Err(error) => report.fail(subject, &error),
    }
    let mappings = definition.mapping.get("mappings").and_then(serde_json::Value::as_object);
    if let Some(mappings) = mappings {
        report.extend(check_mapping::findings(&source.plan().document, mappings, "mapping file"));
    }
    Some(source)
}

/// A table with something missing is not called good besides.
fn with_missing_indexes(mut found: Vec<Finding>, missing: Vec<Finding>) -> Vec<Finding> {
    found.retain(|finding| {
        let is_missing = |other: &Finding| other.level > Level::Hint && other.subject == finding.subject;
        finding.level != Level::Good || !missing.iter().any(is_missing)
    });
    found.extend(missing);
    found
}

fn check_state(
    settings: &Settings,
    definition: &Definition,
    kept: Result<Option<SourceIdentity>>,
    identity: Option<&SourceIdentity>,
    report: &mut Report,
) {
    let place = settings.storage_dir.display().to_string();
    let subject = format!("state {place}");
    let checked = Store::open_read_only(&settings.storage_dir).and_then(|store| {
        let Some(store) = store else { return Ok("is made by the first run") };
        if let (Some(identity), Some(kept)) = (identity, kept?) {
            identity.must_continue(&kept)?;
        }
        match store.current_generation(&definition.index)? {
            Some(known) if known.definition_hash != definition.hash => {
                Err(Error::wrong("was made with another definition").hint("run `pgsluice resync`"))
            }
            Some(_) => Ok("belongs to this database and definition"),
            None => Ok("has nothing of this index yet"),
        }
    });
    match checked {
        Ok(message) => report.findings.push(Finding::new(Level::Good, subject, message)),
        Err(error) => report.fail(&subject, &error),
    }
}

fn check_index(settings: &Settings, definition: &Definition, source: Option<&Source>, report: &mut Report) {
    let subject = format!("index {}", definition.index);
    match look_at_index(settings, definition, source, &subject) {
        Ok(found) => report.extend(found),
        Err(error) => report.fail(&subject, &error),
    }
}

fn look_at_index(
    settings: &Settings,
    definition: &Definition,
    source: Option<&Source>,
    subject: &str,
) -> Result<Vec<Finding>> {
    let identity = source.map(Source::identity);
    let client = Client::new(&settings.elastic)?;
    let mut findings = vec![Finding::new(Level::Good, "index server", client.server_info()?.to_string())];
    if let Some(pipeline) = &definition.pipeline {
        must_have_pipeline(&client, pipeline)?;
        findings.push(
            Finding::new(
                Level::Warning,
                "definition",
                format!("documents go through the ingest pipeline {pipeline}: verify compares the fields that are sent, and those only"),
            )
            .cure("let it add fields alone: a field that it changes or removes makes every document different"),
        );
    }
    let inspected = inspect(&client, &definition.index)?;
    let mark = OwnershipMark {
        format: MARK_FORMAT,
        definition_hash: definition.hash.clone(),
        source: identity.map_or_else(String::new, SourceIdentity::mark),
        first_load: None,
    };
    let request = EnsureRequest {
        alias: &definition.index,
        index_body: &definition.mapping,
        mark: &mark,
        adopt: false,
        known_generation: None,
        recreate: false,
    };
    let step = decide(&inspected, &request)?;
    if let Inspected::Found(found) = &inspected {
        findings.extend(
            found
                .notices
                .iter()
                .map(|notice| Finding::new(Level::Warning, subject.to_owned(), notice.clone())),
        );
        let file = definition.mapping.get("mappings").and_then(serde_json::Value::as_object);
        if let (Some(source), Some(file)) = (source, file) {
            let plan = &source.plan().document;
            findings.extend(check_mapping::further_findings(plan, file, found.mappings(), &found.generation));
        }
        if let Some(theirs) = &found.mark {
            if identity.is_some() && theirs.source != mark.source {
                return Err(Error::wrong("was filled from another database")
                    .hint("run `pgsluice resync` to fill it from this one"));
            }
            if theirs.definition_hash != mark.definition_hash {
                return Err(Error::wrong("was filled by another definition").hint("run `pgsluice resync`"));
            }
        }
    }
    findings.push(Finding::new(
        Level::Good,
        subject.to_owned(),
        match step {
            Step::Create => "is made by the first run",
            Step::Use => "is ours",
            Step::Adopt => "is empty and fits the definition: it is taken over by the first run",
        },
    ));
    Ok(findings)
}
