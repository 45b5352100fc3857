//! Polling: whatever changes in any watched table reaches every document it touches.

use std::time::Duration;

use crate::harness::{Database, Index, Program, assert_same, movies_documents, shared_movies};

/// Seconds are plenty: a poll is due every 0.1 s.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_renamed_genre_reaches_every_film() {
    let database = Database::with_films("genre", 2_000);
    let index = Index::new("genre");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "100");
    let running = program.run();
    let mut client = database.connect();
    client
        .batch_execute(
            "update content.genre set name = 'Renamed', modified = now()
              where id = (select genre_id from content.genre_film_work group by 1 order by count(*) desc, 1 limit 1)",
        )
        .unwrap();
    index.wait_for(SOON, || movies_documents(&mut client));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_renamed_person_reaches_every_film_and_role() {
    let database = Database::with_films("person", 500);
    let index = Index::new("person");
    let program = Program::new(&database, &index);
    program.once();
    database.execute(
        "update content.person set full_name = 'Renamed Person', modified = now()
          where id = (select person_id from content.person_film_work group by 1 order by count(*) desc, 1 limit 1)",
    );
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn an_added_link_reaches_its_film() {
    let database = Database::with_films("link", 200);
    let index = Index::new("link");
    let program = Program::new(&database, &index);
    program.once();
    database.execute(
        "insert into content.person (id, full_name, created, modified)
         values ('00000000-0000-4000-8000-0000000000aa', 'Новый актёр', now(), now());
         insert into content.person_film_work (id, film_work_id, person_id, role, created)
         select gen_random_uuid(), f.id, '00000000-0000-4000-8000-0000000000aa', role, now()
           from (select id from content.film_work order by id limit 3) f, unnest(array['actor', 'writer']) role;
         insert into content.genre (id, name, created, modified)
         values ('00000000-0000-4000-8000-0000000000bb', 'New genre', now(), now());
         insert into content.genre_film_work (id, film_work_id, genre_id, created)
         select gen_random_uuid(), id, '00000000-0000-4000-8000-0000000000bb', now()
           from content.film_work order by id desc limit 3",
    );
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn rows_with_the_same_time_are_all_delivered_over_page_boundaries() {
    let database = Database::with_films("ties", 1_203);
    let index = Index::new("ties");
    for page_size in ["1", "100", "1202", "1203", "1204"] {
        let mut program = Program::new(&database, &index);
        program.set("CHUNK_SIZE", page_size);
        if page_size == "1" {
            program.set("CHUNK_SIZE", "7");
        }
        program.set("STORAGE_SUBDIR", &format!("state-{page_size}"));
        program.once();
        database.execute(&format!(
            "update content.film_work set title = 'page {page_size}', modified = '2030-01-01T00:00:00.123456Z'"
        ));
        program.once();
        assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    }
}

#[test]
fn ties_of_the_movies_database_are_polled_at_every_page_size() {
    let Some(path) = shared_movies("movies-ties.sql.gz") else { return };
    let database = Database::new("ties_db");
    database.run_gzipped(&path);
    let index = Index::new("ties_db");
    for page_size in ["100", "499", "500", "501"] {
        let mut program = Program::new(&database, &index);
        program.set("CHUNK_SIZE", page_size).set("STORAGE_SUBDIR", &format!("state-{page_size}"));
        program.once();
        // All rows share each value, and the page boundary falls inside a tie.
        database.execute(&format!(
            "update content.person set full_name = full_name || ' {page_size}', modified = date_trunc('second', now());
             update content.film_work set rating = {page_size}, modified = date_trunc('second', now())"
        ));
        program.once();
        assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    }
}

#[test]
fn times_without_zone_work_under_any_zone_of_server_and_session() {
    for zone in ["Etc/GMT-3", "America/New_York", "Asia/Kathmandu"] {
        let database = Database::with_films("zones", 30);
        database.execute(&format!(
            "alter database {} set timezone = '{zone}';
             alter table content.film_work alter modified type timestamp using modified at time zone '{zone}'",
            database.name
        ));
        let index = Index::new("zones");
        let program = Program::new(&database, &index);
        program.once();
        // The session's own zone is the database's: now() becomes its local time.
        database.execute("update content.film_work set title = 'a', modified = now()");
        database.execute("update content.person set full_name = full_name || ' b', modified = now()");
        let finished = program.once();
        assert_same(&index.documents(), &movies_documents(&mut database.connect()));
        assert!(!finished.log.contains("0 documents written"), "{zone}: {}", finished.log);
        // What was delivered is not delivered again and again.
        program.once();
        let finished = program.once();
        assert!(finished.log.contains(" 0 deleted"), "{}", finished.log);
    }
}

#[test]
fn the_hour_that_comes_twice_in_autumn_is_read_twice() {
    // On a slow machine summer may end too early for the test.
    assert!([6, 30, 150].into_iter().any(follows_the_end_of_summer_in), "summer ended too early");
}

/// The zone's summer ends in so many seconds; returns false if nothing could be shown, for it ended earlier than that.
fn follows_the_end_of_summer_in(seconds: i32) -> bool {
    let database = Database::with_films("autumn", 20);
    let mut client = database.connect();
    // PostgreSQL takes a zone by its rules: summer, an hour ahead of UTC, from the first day of the year until the time
    // given, which is that of the summer.
    let row = client
        .query_one(
            &format!(
                "select 'AAA0BBB,0/0,' || (local::date - date_trunc('year', local)::date) || to_char(local, '/HH24:MI:SS')
                   from (select now() at time zone 'UTC' + interval '1 hour {seconds} seconds' as local) as end_of_summer"
            ),
            &[],
        )
        .unwrap();
    let zone: String = row.get(0);
    database.execute(&format!(
        "alter database {} set timezone = '{zone}';
         alter table content.film_work alter modified type timestamp using modified at time zone '{zone}'",
        database.name
    ));
    let is_summer = || -> bool {
        database.connect().query_one("select to_char(now(), 'TZ') = 'BBB'", &[]).unwrap().get(0)
    };
    let index = Index::new("autumn");
    let mut program = Program::new(&database, &index);
    program.set("CURSOR_SKEW", "0.1");
    program.once();
    database.execute("update content.film_work set title = 'in summer', modified = now()");
    program.once();
    if !is_summer() {
        return false;
    }
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    crate::harness::wait_until(Duration::from_secs(200), "summer ends", || !is_summer());
    database.execute("update content.film_work set title = 'in winter', modified = now()");
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    true
}

#[test]
fn a_year_ahead_infinity_and_null_do_not_stop_the_feed() {
    let database = Database::with_films("odd_times", 20);
    let index = Index::new("odd_times");
    let program = Program::new(&database, &index);
    let running = program.run();
    let mut client = database.connect();
    for time in ["now() + interval '1 year'", "'infinity'", "'2000-01-01 BC'", "null", "now()"] {
        client
            .batch_execute(&format!(
                "alter table content.film_work alter modified drop not null;
                 update content.film_work set title = 'first', modified = now() + interval '1 microsecond';
                 update content.film_work set modified = {time} where id = (select min(id::text)::uuid from content.film_work)"
            ))
            .unwrap();
        // A row that the cursor cannot show is left as it was; all others follow.
        client
            .batch_execute(
                "update content.film_work set title = 'second', modified = now()
                  where id <> (select min(id::text)::uuid from content.film_work)",
            )
            .unwrap();
        let ids: Vec<String> = client
            .query("select id::text from content.film_work order by id::text offset 1", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        crate::harness::wait_until(SOON, "the other rows follow", || {
            let documents = index.documents();
            ids.iter().all(|id| documents.get(id).is_some_and(|document| document["title"] == "second"))
        });
    }
    assert_eq!(running.terminate().code, 0);
}
