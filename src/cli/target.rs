//! What every command makes of the settings: the definition, the pipeline's settings, the limits on reading.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::definition::{self, Definition};
use crate::error::{Error, Result};
use crate::pipeline::PipelineSettings;
use crate::postgres::SourceLimits;
use crate::settings::Settings;

/// Loads the definition that the settings name, or the one built in.
pub(super) fn definition(settings: &Settings) -> Result<Definition> {
    let definition = match settings.definitions.as_slice() {
        [] => definition::built_in()?,
        [path] => definition::load(path)?,
        several => {
            return Err(Error::wrong(format!("DEFINITION names {} files", several.len())).hint(
                "one process syncs one definition: start one for each, with a STORAGE_SUBDIR of its own",
            ));
        }
    };
    Ok(match &settings.index {
        Some(index) => definition.with_index(index),
        None => definition,
    })
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
