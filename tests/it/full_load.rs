//! The first load: every document equal to what the oracle says, on both servers, from every make of the schema.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Database, Index, Program, Server, assert_same, classic_documents, film_schema, movies_documents,
    shared_movies, wait_until,
};

#[test]
fn a_first_load_makes_every_document_on_elasticsearch() {
    full_load_is_equal(Server::Elasticsearch);
}

#[test]
fn a_first_load_makes_every_document_on_opensearch() {
    full_load_is_equal(Server::OpenSearch);
}

fn full_load_is_equal(server: Server) {
    let database = Database::with_films("load", 3_000);
    let index = Index::on(server, "load");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "500");
    let finished = program.once();
    assert!(finished.log.contains("caught up"), "{}", finished.log);
    let expected = movies_documents(&mut database.connect());
    assert_eq!(expected.len(), 3_000);
    assert_same(&index.documents(), &expected);
    // A second run has nothing to do and says so.
    let again = program.once();
    assert!(again.log.contains("0 documents written"), "{}", again.log);
}

#[test]
fn the_index_is_made_as_the_mapping_file_says() {
    let database = Database::with_films("made", 10);
    let index = Index::new("made");
    Program::new(&database, &index).once();
    let generation = index.generation();
    assert_ne!(generation, index.alias);
    let (_, made) = index.call("GET", &generation, &json!(null));
    let mappings = &made[&generation]["mappings"];
    assert_eq!(mappings["dynamic"], "strict");
    assert_eq!(mappings["properties"]["title"]["fields"]["raw"]["type"], "keyword");
    assert_eq!(mappings["properties"]["actors"]["dynamic"], "strict");
    assert!(mappings["_meta"]["pgsluice"]["definition_hash"].is_string(), "{mappings}");
    assert_eq!(made[&generation]["settings"]["index"]["refresh_interval"], "1s");
    assert!(made[&generation]["aliases"].as_object().unwrap().contains_key(&format!("{generation}-write")));
}

#[test]
fn a_search_finds_russian_and_english_word_forms() {
    let database = Database::new("search");
    film_schema(&database);
    database.execute(
        "insert into content.film_work (id, title, description, type, created, modified) values
           ('00000000-0000-4000-8000-000000000001', 'Хорошие книги', 'о звёздных кораблях', 'movie', now(), now()),
           ('00000000-0000-4000-8000-000000000002', 'Running ships', 'a film', 'movie', now(), now())",
    );
    let index = Index::new("search");
    Program::new(&database, &index).once();
    let found = |text: &str| {
        index.search(&json!({"multi_match": {"query": text, "fields": ["title", "description"]}}))
    };
    assert_eq!(found("книга"), ["00000000-0000-4000-8000-000000000001"]);
    assert_eq!(found("корабль"), ["00000000-0000-4000-8000-000000000001"]);
    assert_eq!(found("ship"), ["00000000-0000-4000-8000-000000000002"]);
    assert_eq!(found("runs"), ["00000000-0000-4000-8000-000000000002"]);
}

#[test]
fn a_film_without_genres_or_persons_has_empty_lists() {
    let database = Database::new("empty_lists");
    film_schema(&database);
    let index = Index::new("empty_lists");
    let program = Program::new(&database, &index);
    // Nothing at all at the first start.
    program.once();
    assert!(index.documents().is_empty());
    let id = "00000000-0000-4000-8000-00000000000a";
    database.execute(&format!(
        "insert into content.film_work (id, title, type, created, modified)
         values ('{id}', 'Alone', 'movie', now(), now())"
    ));
    program.once();
    let expected = json!({
        "id": id, "imdb_rating": null, "genres": [], "title": "Alone", "description": null,
        "directors_names": [], "actors_names": [], "writers_names": [], "directors": [], "actors": [], "writers": []
    });
    assert_eq!(index.document(id).unwrap(), expected);
    // The order of the fields is the definition's.
    let (_, answer) = index.call("GET", &format!("{}/_doc/{id}", index.alias), &json!(null));
    let text = answer["_source"].to_string();
    assert_eq!(text, expected.to_string());
}

#[test]
fn the_movies_database_is_loaded_document_by_document() {
    for file in ["movies.sql.gz", "movies-notz.sql.gz", "movies-ties.sql.gz"] {
        let Some(path) = shared_movies(file) else { continue };
        let database = Database::new("movies");
        database.run_gzipped(&path);
        let expected = movies_documents(&mut database.connect());
        assert_eq!(expected.len(), 999);
        let page_sizes: &[&str] =
            if file.contains("ties") { &["1", "100", "499", "500", "501"] } else { &["1000"] };
        for page_size in page_sizes {
            let index = Index::new("movies");
            let mut program = Program::new(&database, &index);
            program.set("CHUNK_SIZE", page_size);
            program.once();
            assert_same(&index.documents(), &expected);
        }
    }
}

#[test]
fn the_older_shape_is_made_by_its_own_definition() {
    let Some(path) = shared_movies("movies-seed.sql.gz") else { return };
    let database = Database::new("seed");
    database.run_gzipped(&path);
    let index = Index::new("seed");
    let mut program = Program::new(&database, &index);
    program.set("DEFINITION", concat!(env!("CARGO_MANIFEST_DIR"), "/definitions/movies-classic.toml"));
    program.once();
    assert_same(&index.documents(), &classic_documents(&mut database.connect()));
    // A changed person reaches its films in this shape too.
    database.execute(
        "update content.person set full_name = 'Lucas, G.', updated_at = now() where full_name = 'George Lucas'",
    );
    program.once();
    assert_same(&index.documents(), &classic_documents(&mut database.connect()));
}

#[test]
fn rows_changed_while_the_load_runs_are_right_in_the_end() {
    let database = Database::with_films("moving", 4_000);
    let index = Index::new("moving");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "50");
    let running = program.start(&["run"]);
    running.wait_for_log("a full load begins");
    let mut client = database.connect();
    for round in 0..40 {
        client
            .batch_execute(&format!(
                "update content.person set full_name = full_name || ' {round}', modified = now()
                  where id in (select id from content.person order by random() limit 5);
                 update content.film_work set title = title || ' {round}', modified = now()
                  where id in (select id from content.film_work order by random() limit 5);
                 insert into content.film_work (id, title, type, created, modified)
                 values (gen_random_uuid(), 'new {round}', 'movie', now(), now())"
            ))
            .unwrap();
    }
    running.wait_for_log("caught up");
    index.wait_for(Duration::from_secs(30), || movies_documents(&mut client));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_load_that_is_killed_goes_on_where_it_was() {
    let database = Database::with_films("resumed", 6_000);
    let index = Index::new("resumed");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "50").set("RUST_LOG", "info,pgsluice=debug");
    let mut written = 0;
    for _ in 0..3 {
        let running = program.start(&["run"]);
        wait_until(Duration::from_secs(60), "some batches more are acknowledged", || {
            running.log().matches(" acknowledged").count() >= 15
        });
        written += running.kill().log.matches(" acknowledged").count();
    }
    let finished = program.once();
    assert!(!finished.log.contains("a full load begins"), "{}", finished.log);
    written += finished.log.matches(" acknowledged").count();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    // 120 ranges; each restart reads again what was in flight, and no more than a handful is.
    assert!((120..150).contains(&written), "{written} batches were acknowledged");
}

#[test]
fn initial_timestamp_leaves_older_rows_out_of_the_first_load() {
    let database = Database::with_films("initial", 20);
    database.execute(
        "update content.film_work set modified = '2020-01-01T00:00:00.000001Z'
          where id in (select id from content.film_work order by id limit 15);
         update content.film_work set modified = '2020-01-01T00:00:00.000002Z'
          where id in (select id from content.film_work order by id limit 1)",
    );
    let index = Index::new("initial");
    let mut program = Program::new(&database, &index);
    program.set("INITIAL_TIMESTAMP", "2020-01-01T00:00:00.000002Z");
    program.once();
    assert_eq!(index.count(), 6);
    // An older row that changes now is built like any other.
    database.execute(
        "update content.film_work set modified = now()
          where id = (select id from content.film_work where modified = '2020-01-01T00:00:00.000001Z' limit 1)",
    );
    program.once();
    assert_eq!(index.count(), 7);
}

#[test]
fn compressed_bodies_are_taken_by_elasticsearch() {
    compressed_bodies_are_taken(Server::Elasticsearch);
}

#[test]
fn compressed_bodies_are_taken_by_opensearch() {
    compressed_bodies_are_taken(Server::OpenSearch);
}

fn compressed_bodies_are_taken(server: Server) {
    let database = Database::with_films("gzip", 200);
    let index = Index::on(server, "gzip");
    let mut program = Program::new(&database, &index);
    program.set("ELASTIC_GZIP", "on");
    program.once();
    let mut client = database.connect();
    client.batch_execute("update content.film_work set title = title || '!', modified = now()").unwrap();
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut client));
    assert_eq!(program.command(&["verify"]).code, 0);
}
