//! `dead-letters list | show | retry | drop`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Index, Program, assert_same, things_database, things_documents, things_mapping, things_program,
};

fn output(program: &Program, arguments: &[&str]) -> String {
    let finished = program.command(&[&["dead-letters"], arguments].concat());
    assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.log);
    finished.output
}

fn listed(program: &Program) -> Vec<Value> {
    output(program, &["list", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn they_are_listed_shown_retried_and_dropped() {
    let database = things_database("letters", 20);
    database.execute("update thing set day = 'never' where number in (3, 5, 8, 13)");
    let index = Index::new("letters");
    let program = things_program(&database, &index, &things_mapping());
    // Before there is a state.
    assert!(output(&program, &["list"]).contains("no dead letters"));
    assert!(!program.state().exists(), "listing makes no state");
    program.command(&["dead-letters", "show", "1"]).assert_failed(2, "there is no dead letter 1");
    assert_eq!(program.command(&["once"]).code, 1);
    let letters = listed(&program);
    assert_eq!(letters.len(), 4);
    let id = |key: &str| -> String {
        letters.iter().find(|letter| letter["key"] == key).unwrap()["id"].to_string()
    };
    // For people: a line each, and how many there are beyond the limit.
    let text = output(&program, &["list", "--limit", "2"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("t00003") || text.contains("t00013"), "{text}");
    assert!(text.contains("2 of 4 dead letters"), "{text}");
    // Shown with the document as it was sent.
    let shown = output(&program, &["show", &id("t00005")]);
    assert!(shown.contains("[day]") && shown.contains(&index.generation()), "{shown}");
    let document: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(document, things_documents(&mut database.connect())["t00005"]);
    // Dropped: forgotten, and nothing else.
    output(&program, &["drop", &id("t00013")]);
    assert_eq!(listed(&program).len(), 3);
    program.once();
    assert_eq!((listed(&program).len(), index.count()), (3, 16));
    // Retried: one that is still bad stays, with one attempt more.
    output(&program, &["retry", &id("t00003")]);
    assert_eq!(program.command(&["once"]).code, 1);
    let letter = listed(&program).into_iter().find(|letter| letter["key"] == "t00003").unwrap();
    assert_eq!((letter["id"].to_string(), &letter["attempts"]), (id("t00003"), &Value::from(2)));
    // Corrected without touching the cursor: only a retry brings it.
    database.execute("update thing set day = '2024-03-03'");
    program.once();
    assert_eq!(listed(&program).len(), 3);
    output(&program, &["retry", "--all"]);
    program.once();
    assert!(listed(&program).is_empty());
    let mut expected = things_documents(&mut database.connect());
    expected.remove("t00013");
    let mut found = index.documents();
    expected.retain(|key, _| ["t00003", "t00005", "t00008"].contains(&key.as_str()));
    found.retain(|key, _| expected.contains_key(key));
    assert_same(&found, &expected);
    // All at once.
    database.execute("update thing set day = 'never', changed = now() where number < 10");
    assert_eq!(program.command(&["once"]).code, 1);
    assert!(output(&program, &["drop", "--all"]).contains("9 dead letters dropped"));
    assert!(output(&program, &["list"]).contains("no dead letters"));
    for arguments in [["retry", "77"], ["drop", "77"], ["show", "77"]] {
        program
            .command(&[&["dead-letters"], &arguments[..]].concat())
            .assert_failed(2, "there is no dead letter 77");
    }
    for arguments in [&["dead-letters", "retry"][..], &["dead-letters", "drop", "1", "--all"]] {
        assert_eq!(program.command(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn they_work_beside_a_run() {
    let database = things_database("beside", 50);
    database.execute("update thing set day = 'never' where number <= 10");
    let index = Index::new("beside");
    let program = things_program(&database, &index, &things_mapping());
    let running = program.run();
    assert_eq!(listed(&program).len(), 10);
    // The cursor does not move, so the run sees it by the retry alone.
    database.execute("update thing set day = '2024-05-05' where number <= 5");
    output(&program, &["retry", "--all"]);
    let mut client = database.connect();
    index.wait_for(Duration::from_secs(20), || {
        let mut expected = things_documents(&mut client);
        expected.retain(|_, document| document["day"] != "never");
        expected
    });
    crate::harness::wait_until(Duration::from_secs(10), "five letters are left", || {
        listed(&program).len() == 5
    });
    output(&program, &["drop", "--all"]);
    assert!(listed(&program).is_empty());
    // The run knows of it: one that comes now is kept and counted.
    database.execute("update thing set day = 'never', changed = now() where number = 20");
    crate::harness::wait_until(Duration::from_secs(10), "the new letter is kept", || {
        listed(&program).iter().any(|letter| letter["key"] == "t00020")
    });
    let status: Value = serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap();
    assert_eq!(status["dead_letters"], listed(&program).len() as u64, "{status}");
    database.execute("update thing set day = '2024-06-06', changed = now() where number = 20");
    crate::harness::wait_until(Duration::from_secs(10), "the letter is cleared", || {
        listed(&program).is_empty()
    });
    assert_eq!(running.terminate().code, 1);
}

#[test]
fn only_the_newest_keep_their_documents_and_none_is_lost() {
    let database = things_database("newest", 30);
    database.execute("update thing set day = 'never'");
    let index = Index::new("newest");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("DEAD_LETTER_MAX", "10");
    let finished = program.command(&["once"]);
    assert_eq!(finished.code, 1);
    assert!(finished.log.contains("more dead letters than DEAD_LETTER_MAX = 10"), "{}", finished.log);
    let letters = listed(&program);
    assert_eq!(letters.len(), 30);
    assert_eq!(letters.iter().filter(|letter| !letter["document_bytes"].is_null()).count(), 10);
}

#[test]
fn thousands_of_them_neither_slow_the_start_nor_take_memory() {
    let count = if crate::harness::is_full() { 200_000 } else { 20_000 };
    let database = things_database("many", 50);
    database.execute("update thing set day = 'never' where number <= 3");
    let index = Index::new("many");
    let program = things_program(&database, &index, &things_mapping());
    assert_eq!(program.command(&["once"]).code, 1);
    database.execute("update thing set day = '2024-01-01' where number <= 3");
    let figures = || {
        let began = Instant::now();
        let running = program.run();
        let start = began.elapsed();
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        running.terminate();
        (start, peak)
    };
    let (start_before, peak_before) = figures();
    // Copies of the first, of which only so many keep their document, as the program itself would leave them.
    rusqlite::Connection::open(program.state().join("pgsluice.sqlite3"))
        .unwrap()
        .execute(
            "insert into dead_letters
                    (generation, key, error_type, reason, document, attempts, first_at, last_at)
             with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ?1)
             select generation, 'copy' || n, error_type, reason, case when n > ?1 - 9000 then document end,
                    1, first_at, last_at
               from numbers, (select * from dead_letters order by id limit 1)",
            [count],
        )
        .unwrap();
    let (start_after, peak_after) = figures();
    eprintln!(
        "{count} dead letters: start {start_before:?}, then {start_after:?}; {peak_before} kB, then {peak_after} kB"
    );
    assert!(start_after < start_before + Duration::from_secs(2), "{start_before:?}, then {start_after:?}");
    assert!(peak_after < peak_before + 16_000, "{peak_before} kB, then {peak_after} kB");
    // The commands are as quick, and what is applied is cleared among them.
    let began = Instant::now();
    assert_eq!(output(&program, &["list", "--limit", "5", "--json"]).lines().count(), 5);
    let status =
        || -> Value { serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap() };
    assert_eq!(status()["dead_letters"], count + 3);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    database.execute("update thing set changed = now() where number <= 3");
    program.once();
    assert_eq!(status()["dead_letters"], count);
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}
