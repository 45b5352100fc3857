//! What every command makes of the settings: the definition, the pipeline's settings, the limits on reading.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::definition::{self, Definition};
use crate::error::{Error, Result};
use crate::pipeline::PipelineSettings;
use crate::postgres::SourceLimits;
use crate::settings::Settings;
use crate::suggestion::did_you_mean;

/// Loads the definitions that the settings name, or the one built in; of them, the one of the index `only`.
///
/// There is at least one, and no two have the same index.
pub(super) fn definitions(settings: &Settings, only: Option<&str>) -> Result<Vec<Definition>> {
    let mut definitions = load_all(settings)?;
    if let Some(index) = &settings.index {
        // The settings refuse it for several.
        definitions = definitions.into_iter().map(|definition| definition.with_index(index)).collect();
    }
    must_differ(&definitions, settings)?;
    let Some(only) = only else { return Ok(definitions) };
    let indices: Vec<String> = definitions.iter().map(|definition| definition.index.clone()).collect();
    definitions.retain(|definition| definition.index == only);
    if definitions.is_empty() {
        let near = did_you_mean(only, indices.iter().map(String::as_str));
        return Err(Error::wrong(format!("no definition has the index {only}{near}"))
            .hint(format!("DEFINITION gives: {}", indices.join(", "))));
    }
    Ok(definitions)
}

/// What is wrong with any of the files is said at once.
fn load_all(settings: &Settings) -> Result<Vec<Definition>> {
    if settings.definitions.is_empty() {
        return Ok(vec![definition::built_in()?]);
    }
    let mut loaded = Vec::new();
    let mut failures = Vec::new();
    for path in &settings.definitions {
        match definition::load(path) {
            Ok(definition) => loaded.push(definition),
            Err(error) => failures.push(error),
        }
    }
    if failures.len() > 1 {
        let stories: Vec<String> = failures.iter().map(Error::story).collect();
        return Err(Error::wrong(stories.join("; ")));
    }
    match failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(loaded),
    }
}

/// Two definitions of one index would write each other's documents over.
fn must_differ(definitions: &[Definition], settings: &Settings) -> Result<()> {
    for (position, definition) in definitions.iter().enumerate() {
        let first = definitions[..position].iter().position(|other| other.index == definition.index);
        if let Some(first) = first
            && let (Some(one), Some(other)) =
                (settings.definitions.get(first), settings.definitions.get(position))
        {
            return Err(Error::wrong(format!(
                "the definitions {} and {} have the same index {}",
                one.display(),
                other.display(),
                definition.index
            ))
            .hint("give each an `index` of its own, or leave one of them out of DEFINITION"));
        }
    }
    Ok(())
}

/// What the settings say of the pipeline.
pub(super) fn pipeline_settings(settings: &Settings) -> PipelineSettings {
    PipelineSettings {
        source: settings.source.clone(),
        source_limits: source_limits(settings),
        request_interval: settings.request_interval,
        cursor_skew: settings.cursor_skew,
        lookback: settings.lookback,
        seen_max: settings.seen_max,
        stale_keys_max: settings.stale_keys_max,
        channel_capacity: settings.channel_capacity,
        bulk_bytes: settings.bulk_bytes,
        loaders: settings.loaders,
        retry_deadline: settings.retry_deadline,
        dead_letter_max: settings.dead_letter_max,
        dead_letter_stop: settings.dead_letter_stop,
        verify_interval: settings.verify_interval,
        verify_slice: settings.verify_slice,
        verify_max_delete_percent: settings.verify_max_delete_percent,
    }
}

/// What the settings say of reading.
pub(super) fn source_limits(settings: &Settings) -> SourceLimits {
    SourceLimits {
        chunk_size: settings.chunk_size,
        batch_bytes: settings.batch_bytes,
        document_max_bytes: settings.document_max_bytes,
        related_cache_bytes: settings.related_cache_mb << 20,
        statement_timeout: settings.statement_timeout,
        initial_timestamp: settings.initial_timestamp,
    }
}

/// An instant of the state (microseconds since 1970) as people and programs read it.
pub(super) fn instant(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros)
        .map_or_else(|| micros.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
