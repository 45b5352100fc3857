//! SIGTERM, SIGINT and SIGHUP: the first asks the pipeline to drain, a second ends the process at once.

use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::shutdown::Shutdown;

/// How long draining may take: container engines kill ten seconds after SIGTERM, and what was not acknowledged by
/// then is in the state anyway.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// How long the end may take when nothing is in hand: what keeps it then is a server that does not answer, and nothing
/// is lost by not waiting for it.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// Between two looks at what is in hand.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

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
                let draining = shutdown.clone();
                let _ = thread::Builder::new()
                    .name("drain-limit".to_owned())
                    .spawn(move || end_when_draining_takes_long(&draining));
            }
        })
        .map_err(failed)?;
    Ok(())
}

fn end_when_draining_takes_long(shutdown: &Shutdown) {
    let began = Instant::now();
    let mut idle_since = began;
    while began.elapsed() < DRAIN_LIMIT {
        if shutdown.has_work_in_hand() {
            idle_since = Instant::now();
        }
        if idle_since.elapsed() >= IDLE_LIMIT {
            log::info!("nothing is in hand, and a server does not answer: ending");
            std::process::exit(0);
        }
        thread::sleep(LOOK_INTERVAL);
    }
    log::warn!(
        "still not drained after {} s: ending; what is not acknowledged stays in the state",
        DRAIN_LIMIT.as_secs()
    );
    std::process::exit(0);
}
