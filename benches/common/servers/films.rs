//! The database of films, and the limits of reading it: plain COPY, and the extraction's own statements by range and by keys.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{ToSql, Type};
use postgres::{Client, NoTls};

use super::settings::Settings;

/// Columns that documents are made of, in the order in which `definitions/movies.toml` has them.
pub const TABLES: [&str; 5] = ["film_work", "genre", "person", "genre_film_work", "person_film_work"];

/// The rows of a batch by default (`CHUNK_SIZE`).
const PAGE: i64 = 4_000;

/// Told to a lock of PostgreSQL: two benchmarks do not make the same database at once.
const MAKING: i64 = 0x66_69_6c_6d_73;

pub struct Films {
    pub database: String,
    pub count: u64,
    settings: Settings,
    /// Whether the database goes with this value.
    is_own: bool,
}

impl Films {
    /// The database of that many films; made by `dev/sample.sql` if it is not there, and left there: only for reading.
    pub fn find_or_make(settings: &Settings, count: u64) -> Self {
        let database = format!("pgsluice_bench_{count}");
        let films = Self { database, count, settings: settings.clone(), is_own: false };
        let mut server = films.connect_to(&settings.database);
        server.execute("select pg_advisory_lock($1)", &[&MAKING]).unwrap();
        if !films.is_there(&mut server) || !films.has_all() {
            println!("making {count} films in the database {} (once)", films.database);
            films.make(&mut server);
        }
        films
    }

    /// A database of that many films for one benchmark to write to; dropped with the value.
    pub fn own(settings: &Settings, count: u64) -> Self {
        drop(Self::find_or_make(settings, count));
        let database = format!("pgsluice_bench_{}_{}", settings.bench, std::process::id());
        let films = Self { database, count, settings: settings.clone(), is_own: true };
        let mut server = films.connect_to(&settings.database);
        // A copy is quicker than making it anew, but takes a moment in which nobody else reads the kept one.
        let copy = format!("create database {} template pgsluice_bench_{count}", films.database);
        let began = Instant::now();
        while let Err(error) = server.batch_execute(&copy) {
            assert!(error.code().is_some_and(|code| code.code() == "55006"), "{copy}: {error}");
            if began.elapsed() > Duration::from_secs(60) {
                println!("pgsluice_bench_{count} is in use: making {count} films for this run");
                films.make(&mut server);
                break;
            }
        }
        films
    }

    fn make(&self, server: &mut Client) {
        let Self { database: name, count, settings, .. } = self;
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
    }

    fn is_there(&self, server: &mut Client) -> bool {
        let found = server.query("select 1 from pg_database where datname = $1", &[&self.database]);
        !found.unwrap().is_empty()
    }

    /// Whether a run that made it came to its end.
    fn has_all(&self) -> bool {
        let counted = self.connect().query_one("select count(*) from content.film_work", &[]);
        counted.is_ok_and(|row| row.get::<_, i64>(0) == self.count as i64)
    }

    pub fn connect(&self) -> Client {
        self.connect_to(&self.database)
    }

    fn connect_to(&self, database: &str) -> Client {
        let Settings { host, port, user, password, .. } = &self.settings;
        let dsn = format!("host={host} port={port} user={user} password={password} dbname={database}");
        Client::connect(&dsn, NoTls)
            .unwrap_or_else(|error| panic!("cannot connect to {host}:{port}: {error}"))
    }

    /// So many keys of films, in an order that has nothing to do with the tables'; the same ones each time.
    pub fn scattered_keys(&self, count: u64) -> Vec<String> {
        let count = count as i64;
        let statement = "select id::text from content.film_work order by md5(id::text) limit $1";
        self.connect().query(statement, &[&count]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Changes these films, in one transaction, and tidies up behind it as autovacuum would at some time.
    pub fn touch(&self, keys: &[String]) {
        let mut client = self.connect();
        client
            .execute(
                "update content.film_work set modified = now() where id = any($1::text[]::uuid[])",
                &[&keys],
            )
            .unwrap();
        client.batch_execute("vacuum (analyze) content.film_work").unwrap();
    }

    /// Adds a genre that so many films have, all of it long ago; returns its key.
    pub fn add_genre(&self, film_count: u64) -> String {
        let mut client = self.connect();
        client
            .batch_execute(&format!(
                "insert into content.genre (id, name, created, modified)
                 values (md5('genre of many')::uuid, 'Genre of many', '2024-01-01', '2024-01-01');
                 insert into content.genre_film_work (id, film_work_id, genre_id, created)
                 select md5('of many ' || id::text)::uuid, id, md5('genre of many')::uuid, '2024-01-01'
                   from (select id from content.film_work order by md5(id::text) limit {film_count}) film"
            ))
            .unwrap();
        client.batch_execute("vacuum (analyze) content.genre, content.genre_film_work").unwrap();
        client.query_one("select md5('genre of many')::uuid::text", &[]).unwrap().get(0)
    }

    /// Renames a genre.
    pub fn rename_genre(&self, key: &str) {
        self.connect()
            .execute(
                "update content.genre set name = name || ' more', modified = now() where id = $1::text::uuid",
                &[&key],
            )
            .unwrap();
    }

    /// Copies all five tables, one after the other, and throws the bytes away; returns how many.
    pub fn copy_tables(&self) -> u64 {
        self.copy_tables_at(f64::INFINITY)
    }

    /// Copies them and takes no more than so many bytes a second.
    pub fn copy_tables_at(&self, bytes_per_second: f64) -> u64 {
        let mut client = self.connect();
        let began = Instant::now();
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
                let due = Duration::from_secs_f64(bytes as f64 / bytes_per_second);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
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
                bytes += drain(&mut client, statement, &[(&low, Type::TEXT), (&end, Type::TEXT)]);
            }
            client.batch_execute("commit").unwrap();
            match high {
                Some(high) => low = high,
                None => return bytes,
            }
        }
    }

    /// Reads films by their keys, a batch at a time, each table by one bare `= any`, and throws the rows away; returns the
    /// bytes. The planner is told what pgsluice tells it, which is the quicker way for as many keys.
    pub fn run_extraction_of(&self, keys: &[String]) -> u64 {
        let mut client = self.connect();
        let mut bytes = 0;
        for keys in keys.chunks(PAGE as usize) {
            client
                .batch_execute(
                    "begin isolation level repeatable read read only; set local jit = off;
                     set local random_page_cost = 1.1; set local enable_mergejoin = off;
                     set local max_parallel_workers_per_gather = 0",
                )
                .unwrap();
            for statement in [
                "select id, rating, title, description from content.film_work where id = any($1::text[]::uuid[])",
                "select c.id, c.name, l.film_work_id
                   from content.genre_film_work l join content.genre c on c.id = l.genre_id
                  where l.film_work_id = any($1::text[]::uuid[])",
                "select c.id, c.full_name, l.role = 'director', l.role = 'actor', l.role = 'writer', l.film_work_id
                   from content.person_film_work l join content.person c on c.id = l.person_id
                  where l.film_work_id = any($1::text[]::uuid[])",
            ] {
                bytes += drain(&mut client, statement, &[(&keys, Type::TEXT_ARRAY)]);
            }
            client.batch_execute("commit").unwrap();
        }
        bytes
    }
}

impl Films {
    /// Replication slots that others have made on it would hold back the server's log for ever.
    fn drop_slots(&self) {
        let slots = "from pg_replication_slots where database = current_database()";
        let attempt = || -> Result<(), postgres::Error> {
            let mut client = self.connect();
            client.execute(&format!("select pg_terminate_backend(active_pid) {slots} and active"), &[])?;
            for _ in 0..50 {
                if client.query(&format!("select 1 {slots} and active"), &[])?.is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            client.execute(&format!("select pg_drop_replication_slot(slot_name) {slots}"), &[])?;
            Ok(())
        };
        if let Err(error) = attempt() {
            println!("a replication slot may be left on {}: {error}", self.database);
        }
    }
}

impl Drop for Films {
    fn drop(&mut self) {
        if self.is_own {
            self.drop_slots();
            let drop = format!("drop database if exists {} with (force)", self.database);
            if let Err(error) = self.connect_to(&self.settings.database).batch_execute(&drop) {
                println!("{drop}: {error}");
            }
        }
    }
}

/// Reads all rows of a statement and throws them away; returns their bytes.
fn drain(client: &mut Client, statement: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> u64 {
    let mut bytes = 0;
    let mut rows = client.query_typed_raw(statement, parameters.iter().cloned()).unwrap();
    while let Some(row) = rows.next().unwrap() {
        bytes += row.raw_size_bytes() as u64;
    }
    bytes
}
