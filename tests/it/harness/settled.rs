//! The state that everything must come to when things are quiet.

use std::time::{Duration, Instant};

use super::oracle::differences;
use super::{Database, Documents, Index, Program, Running, assert_same, movies_documents};

const SOON: Duration = Duration::from_secs(40);

/// Fails unless index, dead letters and verify say the same as the database does.
pub fn assert_settled(program: &Program, index: &Index, database: &Database) {
    let mut client = database.connect();
    // Deletions are found by what PostgreSQL counts, and it counts a moment later.
    let began = Instant::now();
    loop {
        program.once();
        let expected = movies_documents(&mut client);
        if differences(&index.documents(), &expected).is_empty() {
            break;
        }
        give_up_after(began, index, &expected, "");
    }
    assert_verified(program);
}

/// The same while `run` is at work: it is waited for, and must still be there.
pub fn assert_settled_beside(running: &mut Running, program: &Program, index: &Index, database: &Database) {
    let mut client = database.connect();
    let began = Instant::now();
    loop {
        let expected = movies_documents(&mut client);
        if differences(&index.documents(), &expected).is_empty() {
            break;
        }
        assert!(running.is_running(), "{}", running.log());
        give_up_after(began, index, &expected, &running.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_verified(program);
    assert!(running.is_running(), "{}", running.log());
    assert!(!running.log().contains("panicked"), "{}", running.log());
}

fn give_up_after(began: Instant, index: &Index, expected: &Documents, log: &str) {
    if began.elapsed() > SOON {
        eprintln!("{log}");
        assert_same(&index.documents(), expected);
    }
}

fn assert_verified(program: &Program) {
    let verified = program.command(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    let listed = program.command(&["dead-letters", "list"]);
    assert!(listed.output.contains("no dead letters"), "{}", listed.output);
}
