//! What happens to the state under a running process, and a state that nothing can be written to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    Index, Program, Running, SmallDisk, assert_same, hiding_program, shown_documents, things_database,
    things_mapping, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

fn file(program: &Program) -> PathBuf {
    program.state().join("pgsluice.sqlite3")
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Ends by itself, with the one error that says what is wrong.
fn ends_with_a_clear_error(running: Running, text: &str) {
    let mut running = running;
    wait_until(SOON, "the run ends", || !running.is_running());
    running.finish().assert_refused(2, &["pgsluice.sqlite3", text]);
}

/// A state that is taken away under a run, each time in another way; the next start has to lose nothing.
#[test]
fn a_state_that_is_taken_away_under_a_run_ends_it_and_nothing_is_lost() {
    let database = things_database("taken", 60);
    let index = Index::new("taken");
    let program = hiding_program(&database, &index, &things_mapping());
    let mut client = database.connect();
    program.once();
    let older = program.folder().join("older");
    copy(&program.state(), &older);
    let ways: [(&str, &dyn Fn()); 3] = [
        ("replaced by an older copy", &|| {
            let aside = program.folder().join("aside");
            let _ = std::fs::remove_dir_all(&aside);
            std::fs::rename(program.state(), &aside).unwrap();
            copy(&older, &program.state());
        }),
        ("removed", &|| std::fs::remove_dir_all(program.state()).unwrap()),
        ("file removed, its log left", &|| std::fs::remove_file(file(&program)).unwrap()),
    ];
    for (name, take_away) in ways {
        let running = program.run();
        database.execute(
            "update thing set number = number + 1, changed = now() where number % 2 = 0;
             update thing set code = 'hidden', changed = now()
              where id = (select min(id) from thing where code is distinct from 'hidden')",
        );
        index.wait_for(SOON, || shown_documents(&mut client));
        take_away();
        database.execute(
            "update thing set number = number + 2, changed = now() where number % 3 = 0;
             update thing set code = 'hidden', changed = now()
              where id = (select max(id) from thing where code is distinct from 'hidden')",
        );
        ends_with_a_clear_error(running, "removed or replaced while it was in use");
        let finished = program.once();
        let is_loaded_anew = finished.log.contains("a full load begins");
        assert_eq!(is_loaded_anew, name != "replaced by an older copy", "{name}: {}", finished.log);
        assert_same(&index.documents(), &shown_documents(&mut client));
    }
}

#[test]
fn a_state_that_is_cut_or_overwritten_under_a_run_is_never_gone_on_with_silently() {
    let database = things_database("cut", 60);
    let index = Index::new("cut");
    let program = hiding_program(&database, &index, &things_mapping());
    let mut client = database.connect();
    let length = || std::fs::metadata(file(&program)).unwrap().len();
    let ways: [&dyn Fn(); 3] = [
        &|| std::fs::OpenOptions::new().write(true).open(file(&program)).unwrap().set_len(4096).unwrap(),
        &|| std::fs::OpenOptions::new().write(true).open(file(&program)).unwrap().set_len(0).unwrap(),
        &|| {
            let garbage = "garbage ".repeat(usize::try_from(length()).unwrap() / 8);
            std::fs::write(file(&program), garbage).unwrap();
        },
    ];
    for damage in ways {
        program.once();
        let running = program.run();
        damage();
        database.execute("update thing set number = number + 1, changed = now()");
        // What it holds in memory may be all it needs. If it goes on, it must be right; if not, it says why.
        let mut running = running;
        wait_until(SOON, "it has delivered the change, or has ended", || {
            !running.is_running()
                || crate::harness::is_same(&index.documents(), &shown_documents(&mut client))
        });
        if running.is_running() {
            drop(running);
        } else {
            running.finish().assert_refused(2, &["pgsluice.sqlite3", "move it away"]);
        }
        let finished = program.command(&["once"]);
        if finished.code != 0 {
            finished.assert_refused(2, &["pgsluice.sqlite3", "move it away"]);
            program.lose_state();
            assert!(program.once().log.contains("a full load begins"));
        }
        assert_same(&index.documents(), &shown_documents(&mut client));
        program.lose_state();
    }
}

#[test]
fn a_read_only_disk_is_a_clear_error_and_goes_on_when_it_is_writable() {
    let database = things_database("read_only", 20);
    let index = Index::new("read_only");
    let mut program = hiding_program(&database, &index, &things_mapping());
    let folder = program.folder().join("disk");
    let Some(_disk) = SmallDisk::mounted_at(&folder) else {
        eprintln!("left out: a file system cannot be mounted here");
        return;
    };
    program.set("STORAGE_SUBDIR", "disk/state");
    program.once();
    let remount = |mode: &str| {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(&folder).status().unwrap();
        assert!(status.success());
    };
    remount("ro");
    database.execute("update thing set number = number + 1, changed = now()");
    for command in ["once", "run", "resync"] {
        program.command(&[command]).assert_refused(2, &["disk/state", "Read-only file system", "writable"]);
    }
    remount("rw");
    program.once();
    assert_same(&index.documents(), &shown_documents(&mut database.connect()));
}
