//! A whole PostgreSQL server of the test's own, which it may stop, kill, copy, restore and promote.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Database, service, wait_until};

/// A PostgreSQL server of the test's own, which it may stop, start and kill.
pub struct Cluster {
    directory: TempDir,
    pub port: String,
    run_as: Option<&'static str>,
}

impl Cluster {
    /// A place for a server, and a port.
    fn empty() -> Self {
        let (directory, run_as) = folder_of_a_server("pgsluice-cluster");
        Self { directory, port: free_port(), run_as }
    }

    /// Makes and starts a server; `settings` are lines of its postgresql.conf.
    pub fn new(settings: &[&str]) -> Self {
        let cluster = Self::empty();
        std::fs::write(cluster.directory.path().join("password"), "pgsluice").unwrap();
        let data = cluster.data();
        let password = cluster.directory.path().join("password");
        cluster.tool(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "pgsluice",
                "-A",
                "scram-sha-256",
                "-N",
                "-E",
                "UTF8",
                // Whatever that of the machine is.
                "--locale=C.UTF-8",
                "--pwfile",
                password.to_str().unwrap(),
            ],
        );
        cluster.configure(&["max_prepared_transactions = 10", "wal_level = logical"]);
        cluster.configure(settings);
        cluster.start();
        cluster
    }

    /// A hot standby of this server.
    pub fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::empty();
        let data = standby.data();
        let from = [
            "-D",
            &data,
            "-h",
            "127.0.0.1",
            "-p",
            &self.port,
            "-U",
            "pgsluice",
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
        ];
        standby.tool("pg_basebackup", &from);
        standby.configure(settings);
        standby.start();
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.tool("pg_ctl", &["-D", &self.data(), "-w", "promote"]);
    }

    /// Waits until this standby has replayed all that `primary` has written.
    pub fn wait_for_replay(&self, primary: &Self) {
        let position: String = primary
            .future_database("postgres")
            .connect()
            .query_one("select pg_current_wal_flush_lsn()::text", &[])
            .unwrap()
            .get(0);
        let mut client = self.future_database("postgres").connect();
        wait_until(Duration::from_secs(30), "the standby has replayed the log", || {
            client
                .query_one("select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&position])
                .unwrap()
                .get(0)
        });
    }

    /// Copies the data directory; the server is stopped meanwhile.
    pub fn back_up(&self) {
        self.stop("fast");
        self.copy("data", "backup");
        self.start();
    }

    /// Puts the copy in the place of the data directory.
    pub fn restore(&self) {
        self.stop("immediate");
        std::fs::remove_dir_all(self.data()).unwrap();
        self.copy("backup", "data");
        self.start();
    }

    fn copy(&self, from: &str, to: &str) {
        let place = |name: &str| self.directory.path().join(name);
        let status = Command::new("cp").arg("-a").arg(place(from)).arg(place(to)).status().unwrap();
        assert!(status.success());
    }

    /// Appends lines to postgresql.conf; the last of a name counts.
    pub fn configure(&self, lines: &[&str]) {
        let path = Path::new(&self.data()).join("postgresql.conf");
        let mut conf = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        let socket = self.directory.path().display().to_string();
        writeln!(conf, "port = {}\nlisten_addresses = '127.0.0.1'", self.port).unwrap();
        writeln!(conf, "unix_socket_directories = '{socket}'\nfsync = off").unwrap();
        for line in lines {
            writeln!(conf, "{line}").unwrap();
        }
    }

    /// Starts the server and waits for it.
    pub fn start(&self) {
        let log = self.directory.path().join("log");
        self.tool("pg_ctl", &["-D", &self.data(), "-l", log.to_str().unwrap(), "-w", "start"]);
    }

    /// Stops the server; `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        self.tool("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"]);
    }

    /// A database on this server; it goes with the server.
    pub fn database(&self, name: &str) -> Database {
        let database = self.future_database(name);
        database.create_again();
        database
    }

    /// The same before it exists.
    pub fn future_database(&self, name: &str) -> Database {
        Database {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port.clone(),
            user: "pgsluice".to_owned(),
            password: "pgsluice".to_owned(),
            is_dropped: false,
        }
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    fn tool(&self, name: &str, arguments: &[&str]) {
        let path = PathBuf::from(service("PG_BIN")).join(name);
        let mut command = match self.run_as {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(path);
                command
            }
            None => Command::new(path),
        };
        // A server that is started must not hold a pipe of ours open.
        let log = std::fs::File::create(self.directory.path().join(format!("{name}.out"))).unwrap();
        let status = command
            .args(arguments)
            .env("PGPASSWORD", "pgsluice")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.directory.path().join(format!("{name}.out"))).unwrap();
        assert!(status.success(), "{name} {arguments:?}: {said}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let path = PathBuf::from(service("PG_BIN")).join("pg_ctl");
        let mut command = match self.run_as {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(path);
                command
            }
            None => Command::new(path),
        };
        let _ = command
            .args(["-D", &self.data(), "-m", "immediate", "-w", "stop"])
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A port that nobody listens on.
pub(super) fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// A folder for a server that refuses to run as root, and whom to run it as if we are.
pub(super) fn folder_of_a_server(prefix: &str) -> (TempDir, Option<&'static str>) {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp").unwrap();
    if is_root {
        let status = Command::new("chown").arg("nobody").arg(directory.path()).status().unwrap();
        assert!(status.success());
    }
    (directory, is_root.then_some("nobody"))
}
