//! The database of films, and the two limits of reading it: plain COPY, and the extraction's own statements.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use postgres::fallible_iterator::FallibleIterator;
use postgres::types::Type;
use postgres::{Client, NoTls};

use crate::environment::Settings;

/// Columns that documents are made of, in the order in which `definitions/movies.toml` has them.
const TABLES: [&str; 5] = ["film_work", "genre", "person", "genre_film_work", "person_film_work"];

/// The rows of a batch by default (`CHUNK_SIZE`).
const PAGE: i64 = 2_000;

pub struct Films {
    pub database: String,
    pub count: u64,
    settings: Settings,
}

impl Films {
    /// The database of that many films; made by `dev/sample.sql` if it is not there, and left there.
    pub fn find_or_make(settings: &Settings, count: u64) -> Self {
        let films = Self { database: format!("pgsluice_bench_{count}"), count, settings: settings.clone() };
        let mut server = films.connect_to(&settings.database);
        let is_there = !server
            .query("select 1 from pg_database where datname = $1", &[&films.database])
            .unwrap()
            .is_empty();
        if is_there && films.has_all() {
            return films;
        }
        println!("making {count} films in the database {} (once)", films.database);
        let name = &films.database;
        server.batch_execute(&format!("drop database if exists {name}")).unwrap();
        server.batch_execute(&format!("create database {name}")).unwrap();
        let status = Command::new("psql")
            .args(["-X", "-q", "-v", &format!("films={count}"), "-d", name, "-f"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("dev/sample.sql"))
            .envs([("PGHOST", &settings.host), ("PGPORT", &settings.port)])
            .envs([("PGUSER", &settings.user), ("PGPASSWORD", &settings.password)])
            .status()
            .expect("psql is needed to make the films");
        assert!(status.success(), "dev/sample.sql failed");
        films
    }

    /// Whether a run that made it came to its end.
    fn has_all(&self) -> bool {
        let counted = self.connect().query_one("select count(*) from content.film_work", &[]);
        counted.is_ok_and(|row| row.get::<_, i64>(0) == self.count as i64)
    }

    fn connect(&self) -> Client {
        self.connect_to(&self.database)
    }

    fn connect_to(&self, database: &str) -> Client {
        let Settings { host, port, user, password, .. } = &self.settings;
        let dsn = format!("host={host} port={port} user={user} password={password} dbname={database}");
        Client::connect(&dsn, NoTls)
            .unwrap_or_else(|error| panic!("cannot connect to {host}:{port}: {error}"))
    }

    /// Copies all five tables, one after the other, and throws the bytes away; returns how many.
    pub fn copy_tables(&self) -> u64 {
        let mut client = self.connect();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        for table in TABLES {
            let mut reader =
                client.copy_out(&format!("copy content.{table} to stdout (format binary)")).unwrap();
            loop {
                let read = reader.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                bytes += read as u64;
            }
        }
        bytes
    }

    /// Reads all pages as the extractor does, statement by statement, and throws the rows away; returns the bytes.
    pub fn run_extraction(&self) -> u64 {
        let mut client = self.connect();
        let mut bytes = 0;
        let mut low = "00000000-0000-0000-0000-000000000000".to_owned();
        loop {
            client
                .batch_execute("begin isolation level repeatable read read only; set local jit = off")
                .unwrap();
            let high: Option<String> = client
                .query_typed(
                    "select id::text from content.film_work where id > $1::text::uuid order by id offset $2 limit 1",
                    &[(&low, Type::TEXT), (&(PAGE - 1), Type::INT8)],
                )
                .unwrap()
                .first()
                .map(|row| row.get(0));
            let end = high.clone().unwrap_or_else(|| "ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned());
            for statement in [
                "select id, rating, title, description from content.film_work
                  where id > $1::text::uuid and id <= $2::text::uuid order by id",
                "select c.id, c.name, l.film_work_id
                   from content.genre_film_work l join content.genre c on c.id = l.genre_id
                  where l.film_work_id > $1::text::uuid and l.film_work_id <= $2::text::uuid",
                "select c.id, c.full_name, l.role = 'director', l.role = 'actor', l.role = 'writer', l.film_work_id
                   from content.person_film_work l join content.person c on c.id = l.person_id
                  where l.film_work_id > $1::text::uuid and l.film_work_id <= $2::text::uuid",
            ] {
                let parameters = [(&low, Type::TEXT), (&end, Type::TEXT)];
                let mut rows = client.query_typed_raw(statement, parameters).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    bytes += row.raw_size_bytes() as u64;
                }
            }
            client.batch_execute("commit").unwrap();
            match high {
                Some(high) => low = high,
                None => return bytes,
            }
        }
    }
}
