//! A database of the test's own on the shared server, or a whole server of its own that it may stop and kill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use super::{service, unique};

/// A database that is dropped at the end of the test.
pub struct Database {
    pub name: String,
    pub host: String,
    pub port: String,
    pub(super) user: String,
    pub(super) password: String,
    /// Whether it is dropped at the end; else it goes with its server.
    pub(super) is_dropped: bool,
}

impl Database {
    /// Makes an empty database on the shared server.
    pub fn new(label: &str) -> Self {
        let database = Self {
            name: unique(label),
            host: service("PG_DSN__HOST"),
            port: service("PG_DSN__PORT"),
            user: service("PG_DSN__USER"),
            password: service("PG_DSN__PASSWORD"),
            is_dropped: true,
        };
        let name = &database.name;
        database.connect_to("postgres").batch_execute(&format!("create database {name}")).unwrap();
        database.add_what_later_versions_have();
        database
    }

    /// PostgreSQL 12 has `gen_random_uuid()` in an extension only.
    fn add_what_later_versions_have(&self) {
        let mut client = self.connect();
        let version = client.query_one("select current_setting('server_version_num')::int", &[]).unwrap();
        if version.get::<_, i32>(0) < 130_000 {
            client.batch_execute("create extension if not exists pgcrypto").unwrap();
        }
    }

    /// A database with the movies schema and `film_count` generated films.
    pub fn with_films(label: &str, film_count: u32) -> Self {
        let database = Self::new(label);
        database.fill_with_films(film_count);
        database
    }

    /// Fills it with the movies schema and `film_count` generated films.
    pub fn fill_with_films(&self, film_count: u32) {
        self.run_sql_file(&Self::sample(), &[("films", &film_count.to_string())]);
    }

    /// The script that makes the movies tables with generated films.
    pub fn sample() -> PathBuf {
        project_path("dev/sample.sql")
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        self.connect_to(&self.name)
    }

    /// The same where the server may be away.
    pub fn try_connect(&self) -> Result<Client, postgres::Error> {
        Client::connect(&self.dsn(&self.name, &self.user, &self.password), NoTls)
    }

    /// Runs statements on a connection of their own.
    pub fn execute(&self, sql: &str) {
        self.connect().batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs a file of statements with psql.
    pub fn run_sql_file(&self, path: &Path, variables: &[(&str, &str)]) {
        let mut psql = self.psql();
        for (name, value) in variables {
            psql.args(["-v", &format!("{name}={value}")]);
        }
        let output = psql.arg("-f").arg(path).output().unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a gzipped dump with psql.
    pub fn run_gzipped(&self, path: &Path) {
        let unpacked = Command::new("gunzip").arg("-c").arg(path).output().unwrap();
        assert!(unpacked.status.success(), "cannot unpack {}", path.display());
        let mut psql = self.psql().stdin(Stdio::piped()).spawn().unwrap();
        psql.stdin.take().unwrap().write_all(&unpacked.stdout).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }

    /// The settings by which the program reaches this database.
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("PG_DSN__HOST", &self.host),
            ("PG_DSN__PORT", &self.port),
            ("PG_DSN__USER", &self.user),
            ("PG_DSN__PASSWORD", &self.password),
            ("PG_DSN__DBNAME", &self.name),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .into()
    }

    /// Drops the database now (and lets `Drop` find nothing).
    pub fn drop_now(&self) {
        self.try_drop().unwrap();
    }

    /// Drops it, whoever is connected to it; before PostgreSQL 13 there is no `with (force)`.
    fn try_drop(&self) -> Result<(), postgres::Error> {
        let name = &self.name;
        let mut client = Client::connect(&self.dsn("postgres", &self.user, &self.password), NoTls)?;
        let forced = client.batch_execute(&format!("drop database if exists {name} with (force)"));
        if forced.as_ref().is_err_and(|error| error.code() == Some(&SqlState::SYNTAX_ERROR)) {
            client.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
                &[name],
            )?;
            return client.batch_execute(&format!("drop database if exists {name}"));
        }
        forced
    }

    /// Makes the database anew, empty, under the same name.
    pub fn create_again(&self) {
        self.connect_to("postgres").batch_execute(&format!("create database {}", self.name)).unwrap();
        self.add_what_later_versions_have();
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &self.host,
            "-p",
            &self.port,
            "-U",
            &self.user,
        ])
        .args(["-d", &self.name])
        .env("PGPASSWORD", &self.password)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
        psql
    }

    fn connect_to(&self, name: &str) -> Client {
        Client::connect(&self.dsn(name, &self.user, &self.password), NoTls).unwrap()
    }

    fn dsn(&self, name: &str, user: &str, password: &str) -> String {
        format!("host={} port={} user={user} password={password} dbname={name}", self.host, self.port)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_dropped {
            return;
        }
        if let Err(error) = self.try_drop() {
            eprintln!("database {} stays behind: {error}", self.name);
        }
    }
}

/// A file of the project.
pub(super) fn project_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A dump of the movies database that is not part of the project, or nothing (said so) where it is missing.
pub fn shared_movies(file: &str) -> Option<PathBuf> {
    let path = match std::env::var_os("PGSLUICE_MOVIES") {
        Some(folder) => PathBuf::from(folder).join(file),
        None => project_path("../shared/movies").join(file),
    };
    if !path.exists() {
        eprintln!("skipped: {file} is not here (PGSLUICE_MOVIES names the folder of the movies dumps)");
        return None;
    }
    Some(path)
}

/// The movies schema without rows.
pub fn film_schema(database: &Database) {
    database.run_sql_file(&project_path("dev/sample.sql"), &[("films", "0")]);
}
