//! The program under test, run as its users run it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Database, Index, is_full};

/// How long a command of a test may take: far more than any needs, so that only a hang reaches it.
fn limit() -> Duration {
    Duration::from_secs(if is_full() { 1_800 } else { 120 })
}

/// The program with its settings and a state of its own.
pub struct Program {
    settings: BTreeMap<String, String>,
    /// What runs needs it longer than the one who started it: a state that is removed ends a run.
    folder: Arc<TempDir>,
}

impl Program {
    /// The program between a database and an index.
    pub fn new(database: &Database, index: &Index) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        settings.extend(database.settings());
        settings.extend(index.settings());
        let mut program = Self { settings, folder };
        program.set("STORAGE_SUBDIR", program.state().to_str().unwrap());
        program.set("REQUEST_INTERVAL", "0.1");
        program.set("RETRY_DEADLINE", "20");
        program
    }

    /// Sets a setting.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What a setting is set to.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name).cloned()
    }

    /// Takes a setting away.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.settings.remove(name);
        self
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The working directory: what is written here (a definition, a `.env`) is found by a relative path.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Writes a file into the working directory.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Forgets everything, as when the state is lost.
    pub fn lose_state(&self) {
        std::fs::remove_dir_all(self.state()).unwrap();
    }

    /// Starts a command in the background.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_through(&[], arguments)
    }

    /// The same by another program that takes the command line: `["runuser", "-u", "nobody", "--"]`.
    pub fn start_through(&self, through: &[&str], arguments: &[&str]) -> Running {
        let binary = [env!("CARGO_BIN_EXE_pgsluice")];
        let line: Vec<&str> = through.iter().chain(&binary).chain(arguments).copied().collect();
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()))
            .envs(&self.settings)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = {
            let log = Arc::clone(&log);
            let stderr = BufReader::new(child.stderr.take().unwrap());
            std::thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            })
        };
        let stdout = {
            let mut stdout = child.stdout.take().unwrap();
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = stdout.read_to_string(&mut text);
                text
            })
        };
        Running { child, log, reader: Some(reader), stdout: Some(stdout), _folder: Arc::clone(&self.folder) }
    }

    /// Runs a command to its end.
    pub fn command(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// `pgsluice once`, which must end with 0.
    pub fn once(&self) -> Finished {
        let finished = self.command(&["once"]);
        assert_eq!(finished.code, 0, "{}", finished.log);
        finished
    }

    /// `pgsluice run`, after it has caught up.
    pub fn run(&self) -> Running {
        let running = self.start(&["run"]);
        running.wait_for_log("caught up");
        running
    }
}

/// A command under way; it is killed when dropped.
pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    stdout: Option<JoinHandle<String>>,
    _folder: Arc<TempDir>,
}

impl Running {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a text in its log.
    pub fn wait_for_log(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < limit(), "no `{text}` in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        // The shell's own: the program of that name is missing on small systems.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) -> Finished {
        let _ = self.child.kill();
        self.collect()
    }

    /// Asks it to end and waits.
    pub fn terminate(self) -> Finished {
        self.signal("TERM");
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let log = Arc::clone(&self.log);
        let mut ended = false;
        let began = Instant::now();
        while !ended {
            ended = self.child.try_wait().unwrap().is_some();
            assert!(began.elapsed() < limit(), "the command does not end:\n{}", log.lock().unwrap());
            if !ended {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.collect()
    }

    fn collect(&mut self) -> Finished {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let output = self.stdout.take().map(|stdout| stdout.join().unwrap()).unwrap_or_default();
        Finished { code: status.code().unwrap_or(-1), log: self.log(), output }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote to stderr.
    pub log: String,
    /// What it wrote to stdout.
    pub output: String,
}

impl Finished {
    /// Fails unless it ended with `code` and one error, in which all of `texts` are.
    pub fn assert_refused(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.log, self.output);
        let errors: Vec<&str> = self.log.lines().filter(|line| line.contains("ERROR")).collect();
        let [error] = errors[..] else { panic!("not one error, but {}:\n{}", errors.len(), self.log) };
        for text in texts {
            assert!(error.contains(text), "no `{text}` in:\n{error}");
        }
        assert!(!self.log.contains("panicked"), "{}", self.log);
    }

    /// Fails if a text is anywhere in what it wrote.
    pub fn assert_silent_on(&self, secret: &str) {
        for text in [&self.log, &self.output] {
            assert!(!text.contains(secret), "`{secret}` is in:\n{text}");
        }
    }

    /// Fails unless it ended with `code` and said `text` in its log.
    pub fn assert_failed(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{}", self.log);
        assert!(self.log.contains(text), "no `{text}` in:\n{}", self.log);
        assert!(!self.log.contains("panicked"), "{}", self.log);
    }
}
