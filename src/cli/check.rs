//! `check`: tries everything that a run rests on, changes nothing, and says all that it finds at once.

use serde_json::json;

use crate::cli::{output, target};
use crate::definition::Definition;
use crate::elastic::{Client, EnsureRequest, Inspected, MARK_FORMAT, OwnershipMark, Step, decide, inspect};
use crate::error::{Error, Result};
use crate::finding::{Finding, Level};
use crate::pipeline::kept_identity;
use crate::postgres::{Source, SourceIdentity};
use crate::settings::Settings;
use crate::store::Store;

pub(super) fn check(settings: &Settings, as_json: bool) -> Result<u8> {
    let definition = target::definition(settings)?;
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
    let identity = check_source(settings, &definition, &mut report);
    check_state(settings, &definition, identity.as_ref(), &mut report);
    check_index(settings, &definition, identity.as_ref(), &mut report);
    let Report { findings, exit_code } = report;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good);
    if as_json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({
                    "level": finding.level.as_str(),
                    "subject": finding.subject,
                    "message": finding.message,
                    "cure": finding.cure,
                })
            })
            .collect();
        output::json(&json!({ "status": colour(worst), "level": worst.as_str(), "findings": list }))?;
    } else {
        for finding in &findings {
            print(finding)?;
        }
        let summary = match worst {
            Level::Good => "everything is as it should be",
            Level::Warning => "ready to sync, with the warnings above",
            Level::Problem => "not ready: mend the problems above",
        };
        output::line(&format!("{}: {summary}", colour(worst)))?;
    }
    Ok(exit_code)
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Good => "green",
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
    fn fail(&mut self, subject: &str, error: &Error) {
        self.findings.push(problem(subject, error));
        if self.exit_code == 0 || !error.is_retryable() {
            self.exit_code = error.exit_code();
        }
    }
}

fn print(finding: &Finding) -> Result<()> {
    output::line(&format!("{:<8} {}: {}", finding.level.as_str(), finding.subject, finding.message))?;
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

/// Returns which database it is, if it can be reached and the definition fits it.
fn check_source(settings: &Settings, definition: &Definition, report: &mut Report) -> Option<SourceIdentity> {
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
            Ok(missing) => report.findings.extend(with_missing_indexes(found, missing)),
            Err(error) => {
                report.findings.extend(found);
                report.fail(subject, &error);
            }
        },
        Err(error) => report.fail(subject, &error),
    }
    Some(source.identity().clone())
}

/// A table with something missing is not called good besides.
fn with_missing_indexes(mut found: Vec<Finding>, missing: Vec<Finding>) -> Vec<Finding> {
    found.retain(|finding| {
        finding.level != Level::Good || !missing.iter().any(|other| other.subject == finding.subject)
    });
    found.extend(missing);
    found
}

fn check_state(
    settings: &Settings,
    definition: &Definition,
    identity: Option<&SourceIdentity>,
    report: &mut Report,
) {
    let place = settings.storage_dir.display().to_string();
    let subject = format!("state {place}");
    let checked = Store::open_read_only(&settings.storage_dir).and_then(|store| {
        let Some(store) = store else { return Ok("is made by the first run") };
        if let (Some(identity), Some(kept)) = (identity, kept_identity(&store)?) {
            identity.must_continue(&kept)?;
        }
        match store.current_generation(&definition.index)? {
            Some(known) if known.definition_hash != definition.hash => {
                Err(Error::wrong("was made with another definition").hint("run `pgsluice resync`"))
            }
            _ => Ok("belongs to this database and definition"),
        }
    });
    match checked {
        Ok(message) => report.findings.push(Finding::new(Level::Good, subject, message)),
        Err(error) => report.fail(&subject, &error),
    }
}

fn check_index(
    settings: &Settings,
    definition: &Definition,
    identity: Option<&SourceIdentity>,
    report: &mut Report,
) {
    let subject = format!("index {}", definition.index);
    match look_at_index(settings, definition, identity, &subject) {
        Ok(found) => report.findings.extend(found),
        Err(error) => report.fail(&subject, &error),
    }
}

fn look_at_index(
    settings: &Settings,
    definition: &Definition,
    identity: Option<&SourceIdentity>,
    subject: &str,
) -> Result<Vec<Finding>> {
    let client = Client::new(&settings.elastic)?;
    let mut findings = vec![Finding::new(Level::Good, "index server", client.server_info()?.to_string())];
    let inspected = inspect(&client, &definition.index)?;
    let mark = OwnershipMark {
        format: MARK_FORMAT,
        definition_hash: definition.hash.clone(),
        source: identity.map_or_else(String::new, SourceIdentity::mark),
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
