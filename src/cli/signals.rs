//! SIGTERM, SIGINT and SIGHUP: the first asks the pipeline to drain, a second ends the process at once.

use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::shutdown::Shutdown;

/// How long draining may take: container engines kill ten seconds after SIGTERM, and what was not acknowledged by
/// then is in the state anyway.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// Listens for signals from now on.
pub(super) fn listen(shutdown: &Shutdown) -> Result<()> {
    let failed = |error| Error::wrong("cannot listen for signals").because(error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let shutdown = shutdown.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                if shutdown.is_requested() {
                    log::warn!("ending at once; what is not acknowledged stays in the state");
                    std::process::exit(128 + signal);
                }
                log::info!("asked to end: finishing what is under way (a second signal ends at once)");
                shutdown.request();
                let _ =
                    thread::Builder::new().name("drain-limit".to_owned()).spawn(end_when_draining_takes_long);
            }
        })
        .map_err(failed)?;
    Ok(())
}

fn end_when_draining_takes_long() {
    thread::sleep(DRAIN_LIMIT);
    log::warn!(
        "still not drained after {} s: ending; what is not acknowledged stays in the state",
        DRAIN_LIMIT.as_secs()
    );
    std::process::exit(0);
}
