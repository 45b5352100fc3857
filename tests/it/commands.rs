//! What the commands print, and what they end with.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Database, Documents, Evidence, Index, Program, assert_same, movies_documents};

fn bench(label: &str, film_count: u32) -> (Database, Index, Program) {
    let database = Database::with_films(label, film_count);
    let index = Index::new(label);
    let program = Program::new(&database, &index);
    (database, index, program)
}

/// The JSON values that stand one after the other in a text.
fn json_values(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().unwrap()
}

/// A server that takes connections and never answers; it goes with the process.
fn silent_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
        }
    });
    format!("http://{address}")
}

#[test]
fn check_says_that_all_is_well_and_changes_nothing() {
    let (database, index, program) = bench("check", 5);
    let before = Evidence::of(&database, &index, &program);
    let checked = program.command(&["check"]);
    assert_eq!((checked.code, checked.log.as_str()), (0, ""), "{}", checked.output);
    for line in [
        "good     definition: 5 tables, 2 relations",
        "good     PostgreSQL: ",
        "good     content.person_film_work: is watched by its cursor",
        "is made by the first run",
        "everything is as it should be",
    ] {
        assert!(checked.output.contains(line), "no `{line}` in:\n{}", checked.output);
    }
    assert_eq!(Evidence::of(&database, &index, &program), before);
    assert!(!program.state().exists());
    program.once();
    let before = Evidence::of(&database, &index, &program);
    let checked = program.command(&["check", "--json"]);
    assert_eq!(checked.code, 0);
    let found: Value = serde_json::from_str(&checked.output).unwrap();
    assert_eq!(found["level"], "good");
    let findings = found["findings"].as_array().unwrap();
    assert!(findings.len() > 8, "{found}");
    for finding in findings {
        let names: BTreeSet<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["index", "level", "subject", "message", "cure"]));
        assert_eq!(finding["level"], "good", "{finding}");
    }
    assert_eq!(Evidence::of(&database, &index, &program), before);
}

#[test]
fn check_warns_of_what_a_cursor_cannot_see() {
    let (database, _index, program) = bench("check_warns", 5);
    database.execute(
        "alter table content.genre alter column modified drop not null;
         update content.genre set modified = null where id = (select id from content.genre limit 1);
         update content.person set modified = now() + interval '1 day'
          where id = (select id from content.person limit 1)",
    );
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}", checked.output);
    assert!(
        checked.output.contains("warning  content.genre: 1 rows have no cursor value"),
        "{}",
        checked.output
    );
    assert!(checked.output.contains("warning  content.person: 1 rows have a cursor ahead of now"));
    assert!(checked.output.contains("ready to sync, with the warnings above"));
}

#[test]
fn preview_prints_what_would_be_sent_and_writes_nothing() {
    let (database, index, program) = bench("preview", 20);
    let expected = movies_documents(&mut database.connect());
    let before = Evidence::of(&database, &index, &program);
    let keys: Vec<&str> = expected.keys().skip(3).take(4).map(String::as_str).collect();
    let previewed = program.command(&[&["preview"], &keys[..]].concat());
    assert_eq!((previewed.code, previewed.log.as_str()), (0, ""));
    let by_id = |output: &str| -> Documents {
        json_values(output)
            .into_iter()
            .map(|document| (document["id"].as_str().unwrap().to_owned(), document))
            .collect()
    };
    let of = |keys: &[&str]| -> Documents {
        keys.iter().map(|key| ((*key).to_owned(), expected[*key].clone())).collect()
    };
    assert_same(&by_id(&previewed.output), &of(&keys));
    // Without a key: the first three.
    let first: Vec<&str> = expected.keys().take(3).map(String::as_str).collect();
    assert_same(&by_id(&program.command(&["preview"]).output), &of(&first));
    // A key without a row, and what is no key.
    let nobody = "00000000-0000-4000-8000-000000000000";
    let previewed = program.command(&["preview", nobody]);
    assert_eq!(previewed.code, 0);
    assert_eq!(previewed.output, format!("{nobody}: no row, the document would be deleted\n"));
    program
        .command(&["preview", keys[0], "film-1"])
        .assert_refused(2, &["\"film-1\" cannot be a key of content.film_work", "its key is: id uuid"]);
    // How the index differs.
    let missing = program.command(&["preview", "--diff", keys[0]]);
    assert_eq!(missing.code, 1);
    assert!(missing.output.starts_with(&format!("{}: missing in the index", keys[0])), "{}", missing.output);
    assert_eq!(Evidence::of(&database, &index, &program), before);
    program.once();
    let same = program.command(&["preview", "--diff", keys[0]]);
    assert_eq!((same.code, same.output), (0, format!("{}: the same\n", keys[0])));
    database.execute(&format!("update content.film_work set title = 'Another' where id = '{}'", keys[0]));
    database.execute(&format!("delete from content.film_work where id = '{}'", keys[1]));
    let different = program.command(&["preview", "--diff", keys[0], keys[1]]);
    assert_eq!(different.code, 1);
    assert!(different.output.contains("  + title: \"Another\""), "{}", different.output);
    assert!(different.output.contains(&format!("{}: in the index, but there is no row", keys[1])));
}

#[test]
fn status_tells_of_a_run_before_while_and_after() {
    let (database, index, program) = bench("status", 30);
    let said = program.command(&["status"]);
    assert_eq!(said.code, 0);
    assert!(said.output.contains("nothing was loaded yet"), "{}", said.output);
    let said = program.command(&["status", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.output).unwrap()["state"], Value::Null);
    assert!(!program.state().exists());
    let status = || -> Value {
        let said = program.command(&["status", "--json"]);
        assert_eq!((said.code, said.log.as_str()), (0, ""));
        serde_json::from_str(&said.output).unwrap()
    };
    let running = program.run();
    index.count();
    let during = status();
    assert_eq!(during["documents"], 30, "{during}");
    assert_eq!(during["full_load"]["finished"], true);
    assert_eq!(during["stale_keys"], 0);
    assert_eq!(during["dead_letters"], 0);
    assert_eq!(during["runs"][0]["command"], "run");
    assert_eq!(during["runs"][0]["ended_at"], Value::Null);
    let tables: Vec<&str> = during["feeds"][0]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["table"].as_str().unwrap())
        .collect();
    assert_eq!(
        tables,
        [
            "content.film_work",
            "content.genre",
            "content.genre_film_work",
            "content.person",
            "content.person_film_work"
        ]
    );
    assert!(during["feeds"][0]["tables"][0]["lag_seconds"].as_f64().unwrap() < 60.0);
    assert_eq!(running.terminate().code, 0);
    let after = status();
    assert_eq!(after["runs"][0]["outcome"], "done");
    assert_eq!(after["runs"][0]["counts"]["indexed"].as_u64().unwrap(), 30, "{after}");
    let said = program.command(&["status"]);
    for line in ["documents    30", "full load    complete", "stale keys   0", "dead letters 0", "run began"]
    {
        assert!(said.output.contains(line), "no `{line}` in:\n{}", said.output);
    }
    drop(database);
}

#[test]
fn status_answers_within_seconds_without_the_index_server() {
    let (_database, index, mut program) = bench("status_away", 3);
    program.once();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in
        [format!("http://{closed}"), silent_server(), format!("{},{}", silent_server(), silent_server())]
    {
        program.set("ELASTIC_URL", &url);
        let began = Instant::now();
        let said = program.command(&["status"]);
        assert!(began.elapsed() < Duration::from_secs(7), "{url}: {:?}", began.elapsed());
        assert_eq!(said.code, 0, "{}", said.log);
        assert!(said.output.contains("documents    unknown: cannot count"), "{}", said.output);
        assert!(said.output.contains("full load    complete"), "{}", said.output);
        let said = program.command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said.output).unwrap();
        assert_eq!(status["documents"], Value::Null);
        assert!(status["documents_error"].as_str().unwrap().contains("cannot count"), "{status}");
    }
    drop(index);
}

#[test]
fn resync_mends_whatever_the_index_holds() {
    let (database, index, program) = bench("resync", 20);
    program.once();
    let generation = index.generation();
    let some: Vec<String> = index.documents().into_keys().take(2).collect();
    // What no cursor sees: a document that is gone, one that was changed, one too many, a row that is gone.
    index.call("DELETE", &format!("{generation}/_doc/{}", some[0]), &Value::Null);
    let extra = json!({ "id": "x", "title": "extra" });
    index.call("PUT", &format!("{generation}/_doc/x?refresh"), &extra);
    database.execute(&format!(
        "delete from content.film_work where id = '{}';
         update content.film_work set title = 'silent' where id = (select max(id::text)::uuid from content.film_work)",
        some[1]
    ));
    let resynced = program.command(&["resync"]);
    assert_eq!(resynced.code, 0, "{}", resynced.log);
    assert!(resynced.log.contains("caught up"), "{}", resynced.log);
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    assert_eq!(index.generation(), generation);
}

#[test]
fn help_and_version_need_no_settings() {
    let (_database, _index, mut program) = bench("help", 0);
    for name in ["PG_DSN__HOST", "ELASTIC_URL", "STORAGE_SUBDIR"] {
        program.set(name, "");
    }
    let version = program.command(&["--version"]);
    assert_eq!(
        (version.code, version.output),
        (0, concat!("pgsluice ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
    );
    let help = program.command(&["--help"]);
    for text in [
        "pgsluice check",
        "PG_DSN and ELASTIC_URL",
        "Exit codes: 0 done; 1",
        "4 another process",
        "RUST_LOG",
        "run ",
        "once ",
        "resync ",
        "preview ",
        "status ",
        "dead-letters ",
    ] {
        assert!(help.output.contains(text), "no `{text}` in:\n{}", help.output);
    }
    for command in ["run", "once", "resync", "check", "preview", "status", "dead-letters"] {
        let help = program.command(&[command, "--help"]);
        assert_eq!((help.code, help.log.as_str()), (0, ""));
        assert!(help.output.contains(&format!("Usage: pgsluice {command}")), "{}", help.output);
        // A sentence says what it does, and every option has an explanation.
        assert!(help.output.lines().next().unwrap().split(' ').count() >= 4, "{}", help.output);
    }
}

#[test]
fn json_log_lines_are_objects_with_the_documented_fields() {
    let (_database, _index, mut program) = bench("json_log", 10);
    program.set("CHUNKSIZE", "1");
    let finished = program.command(&["--log-format", "json", "once"]);
    assert_eq!(finished.code, 0);
    assert!(finished.log.lines().count() > 3);
    for line in finished.log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let names: BTreeSet<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["time", "level", "target", "message"]));
        assert!(["warn", "info"].contains(&entry["level"].as_str().unwrap()), "{line}");
        assert!(entry["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert!(finished.log.contains("caught up"));
    // Errors too, by the setting, and those from before the settings are known by the option.
    program.set("LOG_FORMAT", "json").set("PG_DSN__PASSWORD", "wrong");
    let finished = program.command(&["once"]);
    let error: Value = serde_json::from_str(finished.log.lines().last().unwrap()).unwrap();
    assert_eq!((finished.code, &error["level"]), (2, &json!("error")));
    program.set("CHUNK_SIZE", "0");
    let finished = program.command(&["once", "--log-format", "json"]);
    let error: Value = serde_json::from_str(&finished.log).unwrap();
    assert!(error["message"].as_str().unwrap().contains("CHUNK_SIZE is \"0\""), "{error}");
    let finished = program.command(&["once"]);
    serde_json::from_str::<Value>(&finished.log).unwrap();
}

#[test]
fn rust_log_sets_how_much_is_logged() {
    let (_database, _index, mut program) = bench("rust_log", 5);
    program.once();
    let lines = |level: &str, program: &mut Program| {
        program.set("RUST_LOG", level);
        program.once().log
    };
    assert_eq!(lines("warn", &mut program), "");
    assert_eq!(lines("error", &mut program), "");
    let info = lines("info", &mut program);
    assert!(info.contains("INFO") && info.contains("caught up") && !info.contains("DEBUG"), "{info}");
    let debug = lines("debug", &mut program);
    assert!(debug.contains("DEBUG"), "{debug}");
    // A password is in none of them.
    let trace = lines("trace", &mut program);
    let password = program.setting("PG_DSN__PASSWORD").unwrap();
    let user = program.setting("PG_DSN__USER").unwrap();
    assert!(password == user || !trace.contains(&password), "the password is in the trace");
    // A word that is no level is remarked on and harms nothing.
    assert!(lines("loud=very", &mut program).contains("very"));
}

#[test]
fn plain_lines_are_logged_where_there_is_no_terminal_and_a_bar_is_drawn_on_one() {
    let (_database, _index, mut program) = bench("terminal", 3_000);
    let finished = program.once();
    assert!(!finished.log.contains('\u{1b}') && !finished.log.contains('\r'), "{}", finished.log);
    for line in finished.log.lines() {
        assert!(line.starts_with("[20") && line.contains("INFO"), "{line}");
    }
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `script` to make a terminal with");
        return;
    }
    program.set("TERM", "xterm");
    let line = format!("stty cols 120; exec '{}' resync", env!("CARGO_BIN_EXE_pgsluice"));
    // What follows is only the program's name again, which the shell of `script` does not see.
    let drawn = program.start_through(&["sh", "-c", "script -qec \"$0\" /dev/null", &line], &[]).finish();
    assert_eq!(drawn.code, 0, "{}", drawn.output);
    assert!(drawn.output.contains("\u{1b}["), "no bar:\n{}", drawn.output);
    assert!(drawn.output.contains("documents, "), "no bar:\n{}", drawn.output);
    assert!(drawn.output.contains("caught up"), "{}", drawn.output);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (database, _index, program) = bench("pipe", 200);
    program.once();
    let expected = movies_documents(&mut database.connect());
    let keys: Vec<&str> = expected.keys().map(String::as_str).collect();
    for arguments in
        [&["status"][..], &["status", "--json"], &[&["preview"], &keys[..]].concat(), &["--help"]]
    {
        let line = ["bash", "-c", "\"$@\" | head -1; exit ${PIPESTATUS[0]}", "bash"];
        let finished = program.start_through(&line, arguments).finish();
        assert_eq!((finished.code, finished.log.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(finished.output.lines().count(), 1, "{}", finished.output);
    }
}

#[test]
fn the_log_may_go_to_a_reader_that_goes_away() {
    let (_database, index, program) = bench("log_pipe", 20);
    let line = ["bash", "-c", "\"$@\" 2>&1 >/dev/null | head -1; exit ${PIPESTATUS[0]}", "bash"];
    let finished = program.start_through(&line, &["once"]).finish();
    assert_eq!(finished.code, 0, "{}{}", finished.log, finished.output);
    assert_eq!(index.count(), 20);
}

#[test]
fn once_runs_with_the_empty_environment_of_cron() {
    let (database, index, program) = bench("cron", 10);
    let mut settings = String::new();
    for name in ["HOST", "PORT", "DBNAME", "USER", "PASSWORD"] {
        let name = format!("PG_DSN__{name}");
        settings.push_str(&format!("{name}={}\n", program.setting(&name).unwrap()));
    }
    for name in ["ELASTIC_URL", "ELASTIC_INDEX"] {
        settings.push_str(&format!("{name}={}\n", program.setting(name).unwrap()));
    }
    program.write(".env", &settings);
    let output = Command::new("env")
        .args(["-i", "HOME=/nowhere", "PATH=/usr/bin:/bin", env!("CARGO_BIN_EXE_pgsluice"), "once"])
        .current_dir(program.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("caught up"), "{log}");
    assert!(program.folder().join("state/pgsluice.sqlite3").exists());
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn a_second_process_on_the_same_state_is_told_who_holds_it() {
    let (_database, _index, program) = bench("second", 5);
    let running = program.run();
    for command in ["run", "once", "resync"] {
        let refused = program.command(&[command]);
        refused.assert_refused(
            4,
            &[
                &format!("`pgsluice run` (pid {}, since 20", running.pid()),
                "runs the pipeline on the state in",
                "choose another STORAGE_SUBDIR",
            ],
        );
    }
    // What only looks works beside it.
    for command in [&["status"][..], &["check"], &["preview"], &["dead-letters", "list"]] {
        assert_eq!(program.command(command).code, 0, "{command:?}");
    }
    assert_eq!(running.terminate().code, 0);
    program.once();
}
