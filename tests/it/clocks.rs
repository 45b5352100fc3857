//! The clock of this machine is wrong, and is set while the program runs; the state goes back, or is lost. Versions
//! follow that clock, and no document may be stuck behind one that is higher.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Clock, Database, Index, Program, assert_same, hiding_program, movies_documents, shown_documents,
    things_database, things_documents, things_mapping, things_program,
};

const SOON: Duration = Duration::from_secs(90);

#[test]
fn a_clock_that_is_set_during_a_run_loses_no_change_and_no_deletion() {
    let database = Database::with_films("stepping", 120);
    let index = Index::new("stepping");
    let mut program = Program::new(&database, &index);
    let clock = Clock::of(&mut program);
    let running = program.run();
    let mut client = database.connect();
    for minutes in [10, 0, -10, 525_600, -10, 5] {
        clock.set(minutes);
        // A change, a new link, and rows that go away, which verify finds by the tables' statistics.
        database.execute(&format!(
            "update content.film_work set title = title || ' {minutes}', modified = now()
              where id in (select id from content.film_work order by random() limit 20);
             update content.person set full_name = full_name || ' {minutes}', modified = now()
              where id in (select id from content.person order by random() limit 2);
             delete from content.person_film_work
              where id = (select id from content.person_film_work order by id limit 1);
             delete from content.film_work where id = (select id from content.film_work order by id limit 1)"
        ));
        index.wait_for(SOON, || movies_documents(&mut client));
    }
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.log.contains("never gave"), "{}", finished.log);
}

#[test]
fn with_the_clock_set_back_a_restart_goes_on_above_its_versions() {
    let database = things_database("set_back", 50);
    let index = Index::new("set_back");
    let mut program = things_program(&database, &index, &things_mapping());
    let clock = Clock::of(&mut program);
    let mut client = database.connect();
    for minutes in [10, -10, -525_600, 0] {
        clock.set(minutes);
        database.execute("update thing set number = number + 1, changed = now()");
        let finished = program.once();
        assert!(!finished.log.contains("never gave"), "{}", finished.log);
        assert_same(&index.documents(), &things_documents(&mut client));
        let status: Value = serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap();
        assert_eq!(status["runs"][0]["counts"]["superseded"], 0, "{status}");
    }
}

/// Changes, and a thing that comes and goes by the definition's `where`.
fn change(database: &Database, round: u32) {
    database.execute(&format!(
        "update thing set number = number + 1, changed = now();
         update thing set code = case when code = 'hidden' then 'shown' else 'hidden' end, changed = now()
          where id in ('t0000{round}', 't0000{}')",
        round + 1
    ));
}

#[test]
fn a_lost_state_and_a_clock_set_back_leave_no_document_stuck() {
    let database = things_database("lost_back", 40);
    let index = Index::new("lost_back");
    let mut program = hiding_program(&database, &index, &things_mapping());
    let clock = Clock::of(&mut program);
    let mut client = database.connect();
    clock.set(60);
    program.once();
    for round in 1..4 {
        clock.set(-60 * i64::from(round));
        change(&database, round);
        program.lose_state();
        let finished = program.once();
        assert!(finished.log.contains("a full load begins"), "{}", finished.log);
        assert!(finished.log.contains("which this state never gave"), "{}", finished.log);
        assert_same(&index.documents(), &shown_documents(&mut client));
        // Also what was deleted, which the index remembers with its version.
        change(&database, round);
        program.once();
        assert_same(&index.documents(), &shown_documents(&mut client));
    }
}

#[test]
fn a_state_restored_from_an_older_copy_goes_on_and_no_document_is_stuck() {
    let database = things_database("older", 40);
    let index = Index::new("older");
    let mut program = hiding_program(&database, &index, &things_mapping());
    let clock = Clock::of(&mut program);
    let mut client = database.connect();
    change(&database, 1);
    program.once();
    // A copy of the whole folder, as `docs/operations.md` says.
    let copy = program.folder().join("copy");
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copied(&program.state(), &copy);
    for round in 1..4 {
        clock.set(10);
        change(&database, round);
        program.once();
        change(&database, round + 1);
        // The last is not even begun by a run that is killed.
        program.start(&["run"]).kill();
        copied(&copy, &program.state());
        clock.set(-10);
        let finished = program.once();
        assert!(!finished.log.contains("a full load begins"), "{}", finished.log);
        assert_same(&index.documents(), &shown_documents(&mut client));
        change(&database, round + 2);
        program.once();
        assert_same(&index.documents(), &shown_documents(&mut client));
    }
}
