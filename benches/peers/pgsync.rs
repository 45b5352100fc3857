//! pgsync and the Redis that it needs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::films::Films;
use crate::servers::settings::Settings;

/// A Redis of our own, which keeps nothing.
pub struct Redis {
    child: Child,
    pub port: u16,
}

impl Redis {
    pub fn start() -> Self {
        // Free now, and nobody else's in the moment until it is taken.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed by benches/peers/install");
        let redis = Self { child, port };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "Redis does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// pgsync with its defaults, but for compressing of bodies, which none of the others does.
pub struct Pgsync<'a> {
    settings: &'a Settings,
    database: String,
    programs: PathBuf,
    redis: &'a Redis,
    /// Its schema, and how far it is.
    folder: tempfile::TempDir,
}

impl<'a> Pgsync<'a> {
    pub fn new(settings: &'a Settings, films: &Films, peers: &Path, redis: &'a Redis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/pgsync");
        let schema = std::fs::read_to_string(source.join("schema.json")).unwrap();
        let schema = schema.replace("DATABASE", &films.database);
        std::fs::write(folder.path().join("schema.json"), schema).unwrap();
        let programs = peers.join("pgsync/bin");
        Self { settings, database: films.database.clone(), programs, redis, folder }
    }

    /// Makes its triggers and its replication slot; in this version it also loads everything once.
    pub fn bootstrap(&self, url: &str) {
        let mut command = self.command("bootstrap", url);
        let status = command.status().unwrap();
        assert!(status.success(), "bootstrap of pgsync: {status}");
    }

    /// A full load.
    pub fn load(&self, url: &str) -> Command {
        self.forget();
        self.command("pgsync", url)
    }

    /// A full load, and then every change.
    pub fn follow(&self, url: &str) -> Command {
        self.forget();
        let mut command = self.command("pgsync", url);
        command.arg("--daemon");
        command
    }

    /// Lets it begin anew: with its checkpoint it would find nothing to do.
    fn forget(&self) {
        for file in std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path()) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                std::fs::remove_file(file).unwrap();
            }
        }
    }

    fn command(&self, program: &str, url: &str) -> Command {
        let Settings { host, port, user, password, .. } = self.settings;
        let mut command = Command::new(self.programs.join(program));
        command
            .args(["--config", "schema.json"])
            .envs([("PG_HOST", host), ("PG_PORT", port), ("PG_USER", user), ("PG_PASSWORD", password)])
            .envs([("PG_DATABASE", &*self.database), ("ELASTICSEARCH_URL", url)])
            .env("REDIS_PORT", self.redis.port.to_string())
            .env("ELASTICSEARCH_HTTP_COMPRESS", "false")
            .env("CHECKPOINT_PATH", self.folder.path())
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/pgsync"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}
