//! The shipped definitions of films, genres and persons, synced by one process.

use std::time::Duration;

use postgres::Client;

use crate::harness::{
    Database, Documents, Index, Program, Server, assert_same, classic_documents, documents, movies_documents,
    shared_movies,
};

const SOON: Duration = Duration::from_secs(30);

/// A program with the three definitions, each for an index of the test's own.
struct Trio {
    indices: [Index; 3],
    program: Program,
}

impl Trio {
    /// `files` are definitions, `times` how the columns of creation and change are called.
    fn new(database: &Database, server: Server, label: &str, files: [&str; 3], times: [&str; 2]) -> Self {
        let indices =
            ["movies", "genres", "persons"].map(|name| Index::on(server, &format!("{label}_{name}")));
        let mut program = Program::new(database, &indices[0]);
        program.unset("ELASTIC_INDEX");
        for (file, index) in files.iter().zip(&indices) {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/definitions");
            let text = std::fs::read_to_string(format!("{folder}/{file}.toml")).unwrap();
            let (first, rest) = text.split_once("\nindex   = \"").unwrap();
            let (_, rest) = rest.split_once('"').unwrap();
            let text = format!("{first}\nindex   = \"{}\"{rest}", index.alias)
                .replace("mapping = \"", &format!("mapping = \"{folder}/"))
                .replace("\"created\"", &format!("\"{}\"", times[0]))
                .replace("\"modified\"", &format!("\"{}\"", times[1]));
            program.write(&format!("{file}.toml"), &text);
        }
        program.set("DEFINITION", &files.map(|file| format!("{file}.toml")).join(","));
        Self { indices, program }
    }

    fn assert_same(&self, expected: &[Documents; 3]) {
        for (index, expected) in self.indices.iter().zip(expected) {
            assert_same(&index.documents(), expected);
        }
    }
}

fn genres_and_persons(client: &mut Client) -> [Documents; 2] {
    [
        "select g.id::text, json_build_object('id', g.id, 'name', g.name, 'description', g.description,
                'films_count', (select count(*) from content.genre_film_work l where l.genre_id = g.id))::text
           from content.genre g",
        "select p.id::text, json_build_object('id', p.id, 'full_name', p.full_name,
                'films_count', (select count(distinct f.id) from content.person_film_work l
                                  join content.film_work f on f.id = l.film_work_id where l.person_id = p.id),
                'films', coalesce((
                    select json_agg(json_build_object('id', f.id, 'title', f.title, 'imdb_rating', f.rating,
                                                      'role', l.role)
                                    order by f.title collate \"C\", f.id, f.rating, l.role collate \"C\")
                      from content.film_work f
                      join (select distinct film_work_id, person_id, role from content.person_film_work) l
                        on l.film_work_id = f.id
                     where l.person_id = p.id), '[]'))::text
           from content.person p",
    ]
    .map(|query| documents(client, query))
}

fn expected(client: &mut Client) -> [Documents; 3] {
    let movies = movies_documents(client);
    let [genres, persons] = genres_and_persons(client);
    [movies, genres, persons]
}

fn the_three_follow_on(server: Server) {
    let database = Database::with_films("shipped", 500);
    let trio =
        Trio::new(&database, server, "shipped", ["movies", "genres", "persons"], ["created", "modified"]);
    let mut client = database.connect();
    let checked = trio.program.command(&["check"]);
    assert!(checked.output.ends_with("everything is as it should be\n"), "{}", checked.output);
    trio.program.once();
    trio.assert_same(&expected(&mut client));
    assert!(trio.indices[2].documents().values().any(|person| {
        person["films_count"].as_u64().unwrap() < person["films"].as_array().unwrap().len() as u64
    }));
    let running = trio.program.run();
    for change in [
        "update content.film_work set title = title || '!', rating = 1.5, modified = now()
          where id in (select film_work_id from content.person_film_work order by id limit 5)",
        "update content.genre set name = 'Noir', modified = now()
          where id = (select genre_id from content.genre_film_work order by id limit 1)",
        "update content.person set full_name = 'Ann', modified = now()
          where id in (select person_id from content.person_film_work order by id limit 3)",
        "insert into content.film_work (id, title, type) values
            ('11111111-0000-0000-0000-000000000001', 'New', 'movie'),
            ('11111111-0000-0000-0000-000000000002', 'Newer', 'movie');
         insert into content.genre_film_work (id, film_work_id, genre_id)
         select gen_random_uuid(), f.id, g.id
           from content.film_work f, (select id from content.genre order by id limit 3) g
          where f.title like 'New%';
         insert into content.person_film_work (id, film_work_id, person_id, role)
         select gen_random_uuid(), f.id, p.id, role
           from content.film_work f, (select id from content.person order by id limit 3) p,
                unnest(array['actor', 'director']) role
          where f.title like 'New%'",
    ] {
        client.batch_execute(change).unwrap();
        for place in 0..3 {
            trio.indices[place].wait_for(SOON, || expected(&mut client)[place].clone());
        }
    }
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    // Links and rows that are gone are found by comparing.
    client
        .batch_execute(
            "delete from content.genre_film_work where id in (
                select id from content.genre_film_work order by id limit 3);
             delete from content.film_work where title = 'Newer'",
        )
        .unwrap();
    let verified = trio.program.command(&["verify", "--repair"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    trio.assert_same(&expected(&mut client));
}

#[test]
fn films_genres_and_persons_are_synced_by_one_process_on_elasticsearch() {
    the_three_follow_on(Server::Elasticsearch);
}

#[test]
fn films_genres_and_persons_are_synced_by_one_process_on_opensearch() {
    the_three_follow_on(Server::OpenSearch);
}

/// The definitions for tables whose time columns have the older names.
fn are_right_with_older_names(database: &Database, label: &str) {
    let trio = Trio::new(
        database,
        Server::Elasticsearch,
        label,
        ["movies-classic", "genres", "persons"],
        ["created_at", "updated_at"],
    );
    let mut client = database.connect();
    let expected = |client: &mut Client| {
        let [genres, persons] = genres_and_persons(client);
        [classic_documents(client), genres, persons]
    };
    trio.program.once();
    trio.assert_same(&expected(&mut client));
    client
        .batch_execute(
            "update content.person set full_name = full_name || ', Jr.', updated_at = now()
              where id in (select id from content.person order by id limit 10);
             update content.genre set name = name || '!', updated_at = now()
              where id in (select id from content.genre order by id limit 2);
             update content.film_work set title = title || '?', updated_at = now()
              where id in (select id from content.film_work order by id limit 10)",
        )
        .unwrap();
    trio.program.once();
    trio.assert_same(&expected(&mut client));
}

#[test]
fn they_fit_the_older_tables_too() {
    let database = Database::with_films("shipped_older", 200);
    for table in ["film_work", "genre", "person", "genre_film_work", "person_film_work"] {
        database.execute(&format!("alter table content.{table} rename column created to created_at"));
        if !table.ends_with("_film_work") {
            database.execute(&format!("alter table content.{table} rename column modified to updated_at"));
        }
    }
    are_right_with_older_names(&database, "shipped_older");
    if let Some(path) = shared_movies("movies-seed.sql.gz") {
        let database = Database::new("shipped_seed");
        database.run_gzipped(&path);
        are_right_with_older_names(&database, "shipped_seed");
    }
}
