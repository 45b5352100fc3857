//! Changes that a time column does not tell of in time, or not at all, and how many of them never reach the index.

use std::time::{Duration, Instant};

use postgres::Client;

use crate::servers::films::Films;
use crate::servers::index::Index;
use crate::servers::program::{Place, Running, command};
use crate::servers::table::print_markdown;
use crate::{Bench, OWN, PATIENCE, POLLING};

/// Films of each kind of change.
const COUNT: usize = 50;

/// For how long documents are waited for: sixty polls of one a second.
const WAIT: Duration = Duration::from_secs(60);

/// What was done to a film.
const KINDS: [&str; 3] = ["changed and committed", "committed after a later change", "a link removed"];

impl Bench<'_> {
    /// By the programs that poll, into a real index server: pgsluice compares with the index what no poll can see.
    pub fn losses(&self) {
        let Some((server, url)) = self.settings.servers.first() else {
            println!("no index server: what never arrives is not counted");
            return;
        };
        let mut lines = Vec::new();
        for name in [OWN, POLLING] {
            if !self.settings.wants(name) {
                continue;
            }
            let index = Index::named(url);
            let state = tempfile::tempdir().unwrap();
            let database = &self.films.database;
            let place = Place { database, url, index_name: &index.name, state: state.path() };
            let mut command = match name {
                OWN => command(self.settings, None, "run", place),
                _ => self.script("polling.py", place),
            };
            // As it is by default: here are documents to compare with.
            command.env_remove("VERIFY_INTERVAL");
            let mut program = Running::start(command);
            program.wait_until("loaded all films", PATIENCE, || index.count() >= self.films.count);
            let mut line = vec![format!("{name}, {server}")];
            line.extend(missing(self.films, &index, &mut program).map(|count| format!("{count} of {COUNT}")));
            lines.push(line);
        }
        let heads: Vec<&str> = ["never arrived"].into_iter().chain(KINDS).collect();
        print_markdown(&heads, &lines);
        println!("\nnever arrived: not within {} seconds.\n", WAIT.as_secs());
    }
}

/// Changes films in each of the ways; returns how many documents of each are not as they should be in the end.
fn missing(films: &Films, index: &Index<'_>, program: &mut Running) -> [usize; KINDS.len()] {
    let keys = films.scattered_keys((COUNT * KINDS.len() + 1) as u64);
    let (witness, keys) = keys.split_first().unwrap();
    let kinds: Vec<&[String]> = keys.chunks(COUNT).collect();
    let rename = "update content.film_work
                     set title = title || ' ' || gen_random_uuid(), modified = now()
                   where id = any($1::text[]::uuid[])";
    let mut client = films.connect();
    client.execute(rename, &[&kinds[0]]).unwrap();

    let mut late = films.connect();
    let mut transaction = late.transaction().unwrap();
    transaction.execute(rename, &[&kinds[1]]).unwrap();
    client.execute(rename, &[&vec![witness.clone()]]).unwrap();
    program.wait_until("delivered the later change", PATIENCE, || is_right(&mut client, index, witness));
    transaction.commit().unwrap();

    let remove = "delete from content.person_film_work
                   where id in (select distinct on (film_work_id) id
                                  from content.person_film_work
                                 where film_work_id = any($1::text[]::uuid[]))";
    client.execute(remove, &[&kinds[2]]).unwrap();

    let began = Instant::now();
    loop {
        let mut wrong =
            |keys: &[String]| keys.iter().filter(|key| !is_right(&mut client, index, key)).count();
        let counts = [wrong(kinds[0]), wrong(kinds[1]), wrong(kinds[2])];
        if counts == [0; KINDS.len()] || began.elapsed() > WAIT {
            return counts;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Whether a film's document has its title and as many persons as it has links.
fn is_right(client: &mut Client, index: &Index<'_>, key: &str) -> bool {
    let row = client.query_one(
        "select title, (select count(*) from content.person_film_work l where l.film_work_id = f.id)
           from content.film_work f
          where id = $1::text::uuid",
        &[&key],
    );
    let row = row.unwrap();
    let document = index.document(key);
    let persons =
        ["directors", "writers", "actors"].map(|role| document[role].as_array().map_or(0, Vec::len));
    document["title"] == row.get::<_, String>(0)
        && persons.iter().sum::<usize>() as i64 == row.get::<_, i64>(1)
}
