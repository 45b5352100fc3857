//! The logger: plain lines or JSON on stderr, and around a progress bar where there is one.

use std::io::Write;
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use env_logger::{Builder, Env, Target};
use indicatif::MultiProgress;
use indicatif_log_bridge::LogWrapper;

use crate::settings::LogFormat;

/// The place where progress bars are drawn, so that log lines do not run through them.
pub(super) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Starts the logger.
pub(super) fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or("info"));
    builder.target(Target::Stderr);
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let line = serde_json::json!({
                "time": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
                "level": record.level().as_str().to_ascii_lowercase(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        });
    } else {
        builder.format_target(false).format_timestamp_millis();
    }
    let logger = builder.build();
    let level = logger.filter();
    if LogWrapper::new(bars().clone(), logger).try_init().is_ok() {
        log::set_max_level(level);
    }
}

/// Starts the logger for an error that came before the settings were known; nothing if it runs already.
pub(super) fn start_quietly(format: Option<LogFormat>) {
    start(format.unwrap_or(LogFormat::Text));
}
