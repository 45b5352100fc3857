//! Several definitions, each with an index of its own, synced by one process.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Database, Index, Several, assert_same, wait_until};

const SOON: Duration = Duration::from_secs(30);

fn assert_all_same(several: &Several) {
    let expected = several.expected(&mut several.database.connect());
    for (index, expected) in several.indices().into_iter().zip(&expected) {
        assert_same(&index.documents(), expected);
    }
}

fn wait_for_all(several: &Several) {
    let mut client = several.database.connect();
    for place in 0..3 {
        several.indices()[place].wait_for(SOON, || several.expected(&mut client)[place].clone());
    }
}

fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The lines of a log that are about an index.
fn lines_of<'a>(log: &'a str, index: &Index, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(&format!("{}: ", index.alias)) && line.contains(text)).collect()
}

#[test]
fn all_are_loaded_followed_and_drained_together() {
    let several = Several::new("several", 300);
    let finished = several.program.once();
    for index in several.indices() {
        assert_eq!(lines_of(&finished.log, index, "caught up").len(), 1, "{}", finished.log);
    }
    assert_all_same(&several);
    let running = several.program.start(&["run"]);
    let mut client = several.database.connect();
    wait_until(SOON, "all have caught up", || running.log().matches("caught up").count() == 3);
    for round in 0..5 {
        Several::change(&mut client, &round.to_string());
    }
    wait_for_all(&several);
    Several::change(&mut client, "last");
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    several.program.once();
    assert_all_same(&several);
}

#[test]
fn killed_at_random_moments_nothing_is_lost_in_any() {
    let several = Several::new("several_kills", 400);
    let mut client = several.database.connect();
    for round in 0..12u64 {
        let running = several.program.start(&["run"]);
        for _ in 0..3 {
            Several::change(&mut client, &round.to_string());
            std::thread::sleep(Duration::from_millis(17 * (round % 7)));
        }
        running.kill();
    }
    several.program.once();
    assert_all_same(&several);
}

#[test]
fn every_command_works_for_all_or_for_the_one_that_is_named() {
    let several = Several::new("several_commands", 60);
    let program = &several.program;
    let aliases = several.indices().map(|index| index.alias.clone());
    let genres = aliases[1].as_str();
    // Before anything is loaded.
    let checked = program.command(&["check", "--json"]);
    assert_eq!(checked.code, 0, "{}", checked.output);
    let findings = as_json(&checked.output)["findings"].as_array().unwrap().clone();
    let of = |alias: &Value, subject: &str| {
        findings.iter().filter(|found| found["index"] == *alias && found["subject"] == subject).count()
    };
    assert_eq!((of(&Value::Null, "PostgreSQL"), of(&json!(genres), "PostgreSQL")), (1, 0), "{findings:?}");
    for alias in &aliases {
        assert_eq!(of(&json!(alias), &format!("index {alias}")), 1, "{findings:?}");
    }
    let status = as_json(&program.command(&["status", "--json"]).output);
    assert_eq!(status["indices"].as_array().unwrap().len(), 3);
    assert_eq!(as_json(&program.command(&["status", "--json", "--index", genres]).output)["index"], genres);
    // Only the one that is named is loaded.
    let finished = program.command(&["once", "--index", genres]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(lines_of(&finished.log, &several.films, "").is_empty(), "{}", finished.log);
    program.command(&["verify"]).assert_failed(2, "nothing was loaded yet");
    program.once();
    assert_all_same(&several);
    let status = as_json(&program.command(&["status", "--json"]).output);
    assert_eq!(status["status"], "green");
    let counts =
        status["indices"].as_array().unwrap().iter().map(|index| index["documents"].as_u64().unwrap());
    assert_eq!(counts.collect::<Vec<_>>(), several.indices().map(Index::count));
    assert_eq!(status["runs"][0]["counts"]["indices"][&aliases[2]]["indexed"], several.persons.count());
    let text = program.command(&["status"]).output;
    assert!(aliases.iter().all(|alias| text.contains(&format!("index        {alias} "))), "{text}");
    // One index alone looks as it always did.
    let status = as_json(&program.command(&["--index", genres, "status", "--json"]).output);
    assert_eq!((&status["index"], &status["documents"]), (&json!(genres), &json!(30)));
    assert!(status["runs"][0]["command"] == "once" && status.get("indices").is_none(), "{status}");

    let previewed = program.command(&["preview", "--diff"]);
    assert_eq!(previewed.code, 0, "{}", previewed.output);
    assert!(previewed.output.contains(&format!("{genres}:\n")), "{}", previewed.output);
    program.command(&["preview", "some key"]).assert_refused(2, &["--index", genres]);
    let id: String =
        several.database.connect().query_one("select min(id::text) from content.genre", &[]).unwrap().get(0);
    let previewed = program.command(&["preview", &id, "--index", genres]);
    assert_eq!(as_json(&previewed.output)["id"], id);

    // Differences are found in the one index and repaired in it.
    several.genres.call("DELETE", &format!("{genres}/_doc/{id}"), &Value::Null);
    let verified = program.command(&["verify", "--json"]);
    assert_eq!(verified.code, 1, "{}", verified.log);
    let found = as_json(&verified.output);
    let missing: Vec<u64> =
        found["indices"].as_array().unwrap().iter().map(|index| index["missing"].as_u64().unwrap()).collect();
    assert_eq!(missing, [0, 1, 0]);
    let verified = program.command(&["verify", "--repair"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    assert_all_same(&several);

    let films = several.films.generation();
    let finished = program.command(&["resync", "--index", genres]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(lines_of(&finished.log, &several.films, "").is_empty(), "{}", finished.log);
    assert!(finished.log.contains("a full load begins"), "{}", finished.log);
    assert_eq!(several.films.generation(), films);
    program
        .command(&["once", "--index", &genres[1..]])
        .assert_refused(2, &["no definition has the index", genres]);
    assert_all_same(&several);
}

#[test]
fn what_is_refused_in_one_is_no_matter_of_the_others() {
    let several = Several::new("several_letters", 40);
    let program = &several.program;
    let mapping = json!({"mappings": {"dynamic": "strict", "properties": {
        "id": {"type": "keyword"}, "name": {"type": "date"}
    }}});
    program.write("dated.json", &mapping.to_string());
    let text = std::fs::read_to_string(program.folder().join("persons.toml")).unwrap();
    program.write("persons.toml", &text.replace("named.json", "dated.json"));
    several.database.execute(
        "update content.person set full_name = '2024-01-01' where id not in (
        select id from content.person order by id limit 3)",
    );
    assert_eq!(program.command(&["once"]).code, 1);
    let expected = several.expected(&mut several.database.connect());
    assert_same(&several.films.documents(), &expected[0]);
    assert_same(&several.genres.documents(), &expected[1]);
    assert_eq!(several.persons.count(), expected[2].len() as u64 - 3);
    let listed = |arguments: &[&str]| {
        program.command(&[&["dead-letters", "list", "--json"], arguments].concat()).output.lines().count()
    };
    let (persons, genres) = (several.persons.alias.as_str(), several.genres.alias.as_str());
    assert_eq!((listed(&[]), listed(&["--index", persons]), listed(&["--index", genres])), (3, 3, 0));
    // Put right without moving the cursor, so that only the retry brings them.
    several.database.execute("update content.person set full_name = '2024-01-02'");
    let retried = program.command(&["dead-letters", "retry", "--all", "--index", genres]);
    assert!(retried.output.starts_with("0 keys"), "{}", retried.output);
    let retried = program.command(&["dead-letters", "retry", "--all"]);
    assert!(retried.output.starts_with("3 keys"), "{}", retried.output);
    program.once();
    assert_eq!((listed(&[]), several.persons.count()), (0, expected[2].len() as u64));
}

#[test]
fn one_that_is_wrong_ends_a_run_in_order_and_is_named() {
    let several = Several::new("several_wrong", 300);
    several.program.once();
    let running = several.program.run();
    wait_until(SOON, "all have caught up", || running.log().matches("caught up").count() == 3);
    let mut client = several.database.connect();
    Several::change(&mut client, "a");
    // Deleted under the run: wrong until someone acts.
    let generation = several.genres.generation();
    several.genres.call("DELETE", &generation, &Value::Null);
    Several::change(&mut client, "b");
    let finished = running.finish();
    finished.assert_failed(2, "its pipeline has ended, so the others finish");
    let errors: Vec<&str> = finished.log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.len() == 1 && errors[0].contains(&several.genres.alias), "{errors:?}");
    // `once` serves those that it can, and says what the worst was.
    Several::change(&mut client, "c");
    let finished = several.program.command(&["once"]);
    finished.assert_failed(2, &several.genres.alias);
    let expected = several.expected(&mut client);
    assert_same(&several.films.documents(), &expected[0]);
    assert_same(&several.persons.documents(), &expected[2]);
    let outcome = &as_json(&several.program.command(&["status", "--json"]).output)["runs"][0]["outcome"];
    assert!(outcome.as_str().unwrap().starts_with(&several.genres.alias), "{outcome}");
    let cured = several.program.command(&["resync", "--index", &several.genres.alias]);
    assert_eq!(cured.code, 0, "{}", cured.log);
    several.program.once();
    assert_all_same(&several);
}

#[test]
fn an_index_that_was_loaded_anew_says_nothing_of_the_others_database() {
    let several = Several::new("several_identity", 50);
    several.program.once();
    // As after a restore: the log of the same database is behind what was read.
    rusqlite::Connection::open(several.program.state().join("pgsluice.sqlite3"))
        .unwrap()
        .execute(
            "update meta set value = json_set(value, '$.wal_position', 1 << 60) where key like 'source_identity%'",
            [],
        )
        .unwrap();
    let finished = several.program.command(&["once"]);
    finished.assert_failed(2, "the database went back in time");
    for index in several.indices() {
        assert_eq!(lines_of(&finished.log, index, "ERROR").len(), 1, "{}", finished.log);
    }
    let genres = several.genres.alias.as_str();
    assert_eq!(several.program.command(&["resync", "--index", genres]).code, 0);
    let finished = several.program.command(&["once"]);
    finished.assert_failed(2, "the database went back in time");
    assert!(lines_of(&finished.log, &several.genres, "ERROR").is_empty(), "{}", finished.log);
    assert_eq!(lines_of(&finished.log, &several.films, "ERROR").len(), 1, "{}", finished.log);
    assert_eq!(several.program.command(&["resync"]).code, 0);
    several.program.once();
    assert_all_same(&several);
}

#[test]
fn definitions_that_do_not_go_together_are_refused_with_the_cure() {
    let database = Database::new("several_refused");
    let mut several = Several::of(database, "several_refused");
    let alias = several.films.alias.clone();
    several.program.set("ELASTIC_INDEX", &alias);
    several.program.command(&["check"]).assert_refused(2, &["ELASTIC_INDEX", "set `index` in each"]);
    several.program.unset("ELASTIC_INDEX");
    several.write_definition("persons", &alias);
    several.program.command(&["run"]).assert_refused(
        2,
        &["films.toml and persons.toml have the same index", &alias, "give each an `index` of its own"],
    );
    several.program.write("films.toml", "version = 1");
    several.program.write("persons.toml", "version = 2");
    several.program.command(&["once"]).assert_refused(2, &["films.toml is wrong", "persons.toml is wrong"]);
    several.program.set("DEFINITION", ".");
    several.program.command(&["once"]).assert_refused(2, &["is a directory", "separated by commas"]);
}

#[test]
fn definitions_are_added_and_taken_away_between_runs() {
    let mut several = Several::new("several_added", 50);
    several.program.set("DEFINITION", "films.toml");
    several.program.once();
    several.program.set("DEFINITION", "films.toml,genres.toml,persons.toml");
    let finished = several.program.once();
    assert!(lines_of(&finished.log, &several.films, "a full load begins").is_empty(), "{}", finished.log);
    assert_all_same(&several);
    let mut client = several.database.connect();
    several.program.set("DEFINITION", "persons.toml,genres.toml");
    Several::change(&mut client, "x");
    several.program.once();
    // What was left out goes on from where it was.
    several.program.set("DEFINITION", "films.toml,genres.toml,persons.toml");
    let finished = several.program.once();
    assert!(!finished.log.contains("a full load begins"), "{}", finished.log);
    assert_all_same(&several);
}
