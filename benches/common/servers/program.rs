//! The program as a process of its own: how it is started, and one that stays up.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::meter;
use super::settings::Settings;

/// Where a program reads, writes and keeps its state.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub database: &'a str,
    pub url: &'a str,
    pub index_name: &'a str,
    pub state: &'a Path,
}

/// `pgsluice once` (or another subcommand), or another command with the same settings.
pub fn command(settings: &Settings, other: Option<&str>, subcommand: &str, place: Place<'_>) -> Command {
    let Settings { host, port, user, password, extra, program, .. } = settings;
    let mut command = match other {
        Some(other) => {
            let mut shell = Command::new("sh");
            // In place of the shell, so that the figures are the command's.
            shell.args(["-c", &format!("exec {other}")]);
            shell
        }
        None => {
            let mut own = Command::new(program);
            own.arg(subcommand).env_clear();
            own
        }
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env("PATH", path)
        .envs([("PG_DSN__HOST", host), ("PG_DSN__PORT", port), ("PG_DSN__USER", user)])
        .envs([("PG_DSN__PASSWORD", password.as_str()), ("PG_DSN__DBNAME", place.database)])
        .envs([("ELASTIC_URL", place.url), ("ELASTIC_INDEX", place.index_name), ("RUST_LOG", "warn")])
        .env("RETRY_DEADLINE", "10")
        // It is a benchmark of its own, and the null sink has no documents to compare.
        .env("VERIFY_INTERVAL", "0")
        .env("STORAGE_SUBDIR", place.state)
        .envs(extra.iter().map(|(name, value)| (name, value)))
        .current_dir(place.state)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A program that runs until it is told to end.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its processor time so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let (user, system) = meter::seconds_of(&format!("/proc/{}/stat", self.pid()));
        user + system
    }

    /// Memory in use, and at most so far, in bytes.
    pub fn memory(&self) -> (f64, f64) {
        (meter::memory_of(self.pid(), "VmRSS:"), meter::memory_of(self.pid(), "VmHWM:"))
    }

    /// Waits until `is_reached`; fails if the program ends before or it takes too long.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut is_reached: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_reached() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended ({status}) before {what}", self.name);
            }
            assert!(began.elapsed() < limit, "{} has not {what} within {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells it to end and waits for that.
    pub fn stop(mut self) {
        // The shell's own: the program of that name is missing on small systems.
        let kill = format!("kill -TERM {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Running {
    /// Also where a benchmark fails: nothing is left running.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
