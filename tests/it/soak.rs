//! Random changes under random faults, and the independent oracle at the end. `dev/soak` runs it for longer.
//!
//! The seed gives every writer its operations and the chaos its faults, in their order; how the two meet in time is
//! the machine's.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use postgres::Client;
use serde_json::json;

use crate::harness::{
    Alone, Cluster, Database, Deed, Index, Program, Proxy, Running, Server, assert_same, is_full,
    movies_documents,
};

/// Minutes of `dev/soak --minutes`, and its seed.
const MINUTES: &str = "PGSLUICE_SOAK_MINUTES";
const SEED: &str = "PGSLUICE_SOAK_SEED";

const WRITERS: u64 = 6;
const FILMS: u32 = 2_000;

/// From so many minutes on the index server is really stopped now and then: its start takes long.
const MINUTES_WITH_STOPS: f64 = 3.0;

#[test]
fn random_changes_under_random_faults_lose_nothing() {
    let minutes = setting(MINUTES).unwrap_or(if is_full() { 10.0 } else { 1.0 });
    let seed = setting(SEED).unwrap_or(1.0) as u64;
    eprintln!("soak: seed {seed}, {minutes} minutes");
    let cluster = Cluster::new(&[]);
    let database = cluster.database("soak");
    database.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", &FILMS.to_string())],
    );
    let alone = (minutes >= MINUTES_WITH_STOPS).then(|| Alone::with(Server::OpenSearch));
    let index =
        alone.as_ref().map_or_else(|| Index::on(Server::OpenSearch, "soak"), |alone| alone.index("soak"));
    let proxy = Proxy::passing(Server::OpenSearch);
    let mut program = Program::new(&database, &index);
    program
        .set("ELASTIC_URL", &proxy.url())
        .set("ELASTIC_TIMEOUT", "2")
        .set("REQUEST_INTERVAL", "0.1")
        .set("CHUNK_SIZE", "100");

    let is_over = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    let faults = Mutex::new(std::collections::BTreeMap::<&str, u32>::new());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (database, is_over, changes) = (&database, &is_over, &changes);
            scope.spawn(move || write(database, Rng::with_seed(seed ^ (writer + 1) << 32), is_over, changes));
        }
        let mut chaos = Chaos {
            rng: Rng::with_seed(seed),
            cluster: &cluster,
            database: &database,
            index: &index,
            alone: alone.as_ref(),
            proxy: &proxy,
            program: &program,
            running: Some(program.start(&["run"])),
        };
        // A panic in here must end the writers too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
            while Instant::now() < until {
                let fault = chaos.inject();
                *faults.lock().unwrap().entry(fault).or_default() += 1;
            }
        }));
        is_over.store(true, Ordering::SeqCst);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        let finished = chaos.running.take().unwrap().terminate();
        assert_eq!(finished.code, 0, "{}", finished.log);
    });

    program.once();
    // What a cursor cannot see (deleted and re-parented rows, changed keys) is found by comparing.
    let repaired = program.command(&["verify", "--repair"]);
    assert!(matches!(repaired.code, 0 | 1), "{}{}", repaired.log, repaired.output);
    let verified = program.command(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    let expected = movies_documents(&mut database.connect());
    assert_same(&index.documents(), &expected);
    let letters = program.command(&["dead-letters", "list", "--json"]);
    assert_eq!(letters.output, "");
    let faults = faults.lock().unwrap();
    eprintln!(
        "soak: seed {seed}: {} transactions committed, {} faults {faults:?}, {} documents compared, lost = 0",
        changes.load(Ordering::SeqCst),
        faults.values().sum::<u32>(),
        expected.len()
    );
}

fn setting(name: &str) -> Option<f64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// Commits random transactions until it is over; a cut connection is made anew.
fn write(database: &Database, mut rng: Rng, is_over: &AtomicBool, changes: &AtomicU64) {
    let mut client: Option<Client> = None;
    while !is_over.load(Ordering::SeqCst) {
        if client.is_none() {
            client = database.try_connect().ok();
        }
        let Some(connected) = &mut client else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let result = transaction(connected, &mut rng);
        match result {
            Ok(()) => drop(changes.fetch_add(1, Ordering::SeqCst)),
            Err(error) if error.as_db_error().is_some() => drop(connected.batch_execute("rollback")),
            Err(_) => client = None,
        }
        std::thread::sleep(Duration::from_millis(rng.u64(5..60)));
    }
}

/// One transaction of one to four changes, sometimes held open, rolled back, or in part.
fn transaction(client: &mut Client, rng: &mut Rng) -> Result<(), postgres::Error> {
    client.batch_execute("begin")?;
    for _ in 0..rng.u32(1..=4) {
        client.batch_execute(&change(rng))?;
        // Commits late: others begin after this one and commit before it.
        if rng.u32(0..12) == 0 {
            std::thread::sleep(Duration::from_millis(rng.u64(200..4_000)));
        }
        if rng.u32(0..6) == 0 {
            client.batch_execute(&format!("savepoint s; {}; rollback to s", change(rng)))?;
        }
    }
    client.batch_execute(if rng.u32(0..10) == 0 { "rollback" } else { "commit" })
}

/// A random change; rows are picked by a hash with a random number, so the seed decides.
fn change(rng: &mut Rng) -> String {
    let number = rng.u32(..);
    let films = |count: u32| {
        format!("(select id from content.film_work order by md5(id::text || '{number}') limit {count})")
    };
    let one = |table: &str| {
        format!("(select id from content.{table} order by md5(id::text || '{number}') limit 1)")
    };
    let role = ["actor", "director", "writer"][rng.usize(0..3)];
    match rng.u32(0..15) {
        0 | 1 => format!("update content.film_work set title = 'T{number}', modified = now() where id in {}", films(1)),
        2 => format!(
            "update content.film_work set rating = {}, modified = now() where id in {}",
            f64::from(number % 100) / 10.0,
            films(rng.u32(20..200))
        ),
        3 | 4 => format!(
            "update content.person set full_name = 'P{number}', modified = now() where id = {}",
            one("person")
        ),
        5 => format!(
            "update content.genre set name = 'G{number}', modified = now() where id = {}",
            one("genre")
        ),
        6 => format!(
            "insert into content.film_work (id, title, description, rating, type, created, modified)
             values (md5('{number}')::uuid, 'N{number}', null, 5, 'movie', now(), now()) on conflict do nothing;
             insert into content.person_film_work (id, film_work_id, person_id, role, created)
             select md5('l{number}')::uuid, f.id, {}, '{role}', now() from content.film_work f
              where f.id = md5('{number}')::uuid on conflict do nothing",
            one("person")
        ),
        7 => format!(
            "insert into content.genre_film_work (id, film_work_id, genre_id, created)
             values (md5('g{number}')::uuid, {}, {}, now()) on conflict do nothing",
            one("film_work"),
            one("genre")
        ),
        8 => format!("delete from content.genre_film_work where id = {}", one("genre_film_work")),
        9 => format!("delete from content.person_film_work where id = {}", one("person_film_work")),
        10 => format!("delete from content.film_work where id in {}", films(rng.u32(1..3))),
        11 => format!("delete from content.person where id = {}", one("person")),
        // The former film of the link is what no cursor shows.
        12 => format!(
            "update content.person_film_work l set film_work_id = f.id, created = now()
               from (select {} as id) f
              where l.id = {} and not exists (select from content.person_film_work o
                 where o.film_work_id = f.id and o.person_id = l.person_id and o.role = l.role)",
            one("film_work"),
            one("person_film_work")
        ),
        13 => format!(
            "insert into content.film_work (id, title, description, rating, type, created, modified)
             values (md5('k{number}')::uuid, 'K{number}', 'a key that changes', 1, 'movie', now(), now())
                 on conflict do nothing;
             update content.film_work set id = md5('m{number}')::uuid, modified = now()
              where id = md5('k{number}')::uuid and not exists (select from content.film_work
                where id = md5('m{number}')::uuid)"
        ),
        _ => format!(
            "update content.film_work set description = null, modified = now() where id in {}",
            films(3)
        ),
    }
}

/// Injects one fault after the other.
struct Chaos<'a> {
    rng: Rng,
    cluster: &'a Cluster,
    database: &'a Database,
    index: &'a Index,
    alone: Option<&'a Alone>,
    proxy: &'a Proxy,
    program: &'a Program,
    running: Option<Running>,
}

impl Chaos<'_> {
    /// Some quiet, then a fault; returns its name. Whatever happens, `run` must not end by itself.
    fn inject(&mut self) -> &'static str {
        let quiet = Duration::from_millis(self.rng.u64(200..2_500));
        std::thread::sleep(quiet);
        let running = self.running.as_mut().unwrap();
        assert!(running.is_running(), "run ended by itself:\n{}", last_lines(&running.log()));
        let pause = Duration::from_millis(self.rng.u64(300..3_000));
        let stops = self.alone.is_some() && self.rng.u32(0..60) == 0;
        if stops && let Some(alone) = self.alone {
            alone.stop();
            std::thread::sleep(pause);
            alone.start();
            return "index server stopped";
        }
        match self.rng.u32(0..13) {
            0..=3 => {
                self.running.take().unwrap().kill();
                self.running = Some(self.program.start(&["run"]));
                "kill -9"
            }
            4 => {
                let mode = ["immediate", "fast"][self.rng.usize(0..2)];
                self.cluster.stop(mode);
                std::thread::sleep(pause);
                self.cluster.start();
                "PostgreSQL stopped"
            }
            5 => {
                self.database.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgsluice'",
                );
                "backends terminated"
            }
            6 => {
                let body = json!({ "index.blocks.read_only_allow_delete": true });
                self.index.call("PUT", &format!("{}/_settings", self.index.alias), &body);
                std::thread::sleep(pause);
                let body = json!({ "index.blocks.read_only_allow_delete": null });
                self.index.call("PUT", &format!("{}/_settings", self.index.alias), &body);
                "index blocked"
            }
            7 => self.befall("hung up", pause, 2, |_| Deed::HangUp),
            8 => self.befall("answers cut", pause, 3, |_| Deed::CutAnswer),
            9 => self.befall("busy", pause, 2, |rng| {
                Deed::answer([429, 502, 503, 504][rng.usize(0..4)], "<html>busy</html>")
            }),
            10 => self.befall("actions lost", pause, 3, |_| Deed::LoseAction),
            // Some of them for longer than the client waits.
            11 => self.befall("held back", pause, 3, |rng| {
                Deed::PassLater(Duration::from_millis(rng.u64(50..4_000)))
            }),
            _ => self.befall("applied, answered with rubbish", pause, 3, |_| {
                Deed::PassAndAnswer(200, "rubbish".to_owned())
            }),
        }
    }

    /// For the time of `pause`, one bulk request in `one_in` meets with the deed.
    fn befall(
        &mut self,
        name: &'static str,
        pause: Duration,
        one_in: u32,
        deed: impl Fn(&mut Rng) -> Deed + Send + 'static,
    ) -> &'static str {
        let mut rng = self.rng.fork();
        self.proxy.set_rule(move |asked| {
            if asked.is_bulk() && rng.u32(0..one_in) == 0 { deed(&mut rng) } else { Deed::Pass }
        });
        std::thread::sleep(pause);
        self.proxy.set_rule(|_| Deed::Pass);
        name
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
