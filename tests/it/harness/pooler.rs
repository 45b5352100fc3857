//! PgBouncer in front of a database, each transaction on another server connection than the last.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::{folder_of_a_server, free_port};
use super::{Database, wait_until};

/// A pooler in transaction mode; it ends when dropped.
pub struct Pooler {
    child: Child,
    port: String,
    _directory: TempDir,
}

impl Pooler {
    /// A pooler before the server of `database`; none, said so, where PgBouncer is not installed.
    pub fn before(database: &Database) -> Option<Self> {
        let Some(binary) = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
        else {
            eprintln!("skipped: PgBouncer is not installed");
            return None;
        };
        let (directory, run_as) = folder_of_a_server("pgsluice-pooler");
        let port = free_port();
        let place = directory.path().display();
        std::fs::write(
            directory.path().join("users"),
            format!("\"{}\" \"{}\"\n", database.user, database.password),
        )
        .unwrap();
        std::fs::write(
            directory.path().join("pgbouncer.ini"),
            format!(
                "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = md5\nauth_file = {place}/users\npool_mode = transaction\n\
                 server_round_robin = 1\ndefault_pool_size = 4\nmin_pool_size = 4\n",
                database.host, database.port
            ),
        )
        .unwrap();
        let mut command = match run_as {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--", binary]);
                command
            }
            None => Command::new(binary),
        };
        let child = command
            .arg(directory.path().join("pgbouncer.ini"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self { child, port, _directory: directory };
        let dsn = format!(
            "host=127.0.0.1 port={} user={} password={} dbname={}",
            pooler.port, database.user, database.password, database.name
        );
        wait_until(Duration::from_secs(20), "the pooler answers", || {
            postgres::Client::connect(&dsn, postgres::NoTls).is_ok()
        });
        Some(pooler)
    }

    /// Where it listens.
    pub fn port(&self) -> &str {
        &self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It ends at once on TERM, and `runuser` hands that on.
        let _ = Command::new("sh").args(["-c", &format!("kill {}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}
