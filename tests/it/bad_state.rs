//! States that cannot be gone on with: each refused with the cure, and left as it is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;

use crate::harness::{
    Database, Evidence, Index, Program, assert_same, film_schema, movies_documents, wait_until,
};

const COMMANDS: [&str; 3] = ["once", "run", "status"];

struct Bench {
    database: Database,
    index: Index,
    program: Program,
}

impl Bench {
    /// With a state that has loaded a few films.
    fn loaded(label: &str) -> Self {
        let database = Database::with_films(label, 5);
        let index = Index::new(label);
        let program = Program::new(&database, &index);
        program.once();
        Self { database, index, program }
    }

    fn file(&self) -> std::path::PathBuf {
        self.program.state().join("pgsluice.sqlite3")
    }

    fn refuses(&self, commands: &[&str], texts: &[&str]) {
        let before = Evidence::of(&self.database, &self.index, &self.program);
        for command in commands {
            let finished = self.program.command(&[command]);
            finished.assert_refused(2, texts);
        }
        let checked = self.program.command(&["check"]);
        assert_eq!(checked.code, 2, "{}{}", checked.log, checked.output);
        assert_eq!(Evidence::of(&self.database, &self.index, &self.program), before);
    }

    /// What the message advises works: the state is moved away, and everything is loaded again.
    fn is_cured_by_moving_away(&self) {
        std::fs::rename(self.program.state(), self.program.folder().join("away")).unwrap();
        self.program.once();
        assert_same(&self.index.documents(), &movies_documents(&mut self.database.connect()));
    }
}

#[test]
fn a_truncated_state_is_refused_and_left() {
    let bench = Bench::loaded("truncated");
    let bytes = std::fs::read(bench.file()).unwrap();
    for length in [100, 4096, bytes.len() / 2] {
        std::fs::write(bench.file(), &bytes[..length]).unwrap();
        bench.refuses(&["once", "run"], &["pgsluice.sqlite3 is damaged", "move it away"]);
        assert_eq!(std::fs::metadata(bench.file()).unwrap().len() as usize, length);
    }
    bench.is_cured_by_moving_away();
}

#[test]
fn garbage_in_the_place_of_the_state_is_refused_and_left() {
    let bench = Bench::loaded("garbage");
    std::fs::write(bench.file(), "this is no database\n".repeat(500)).unwrap();
    bench.refuses(&COMMANDS, &["pgsluice.sqlite3 is damaged or no state of pgsluice", "move it away"]);
    bench.is_cured_by_moving_away();
}

#[test]
fn a_state_of_a_newer_version_or_of_another_program_is_refused_and_left() {
    let bench = Bench::loaded("newer");
    let set = |pragma: &str| Connection::open(bench.file()).unwrap().execute_batch(pragma).unwrap();
    let version: i64 = Connection::open(bench.file())
        .unwrap()
        .query_row("pragma user_version", [], |row| row.get(0))
        .unwrap();
    set("pragma user_version = 99");
    bench.refuses(&COMMANDS, &["pgsluice.sqlite3", "version 99", "newer"]);
    let id: i64 = Connection::open(bench.file())
        .unwrap()
        .query_row("pragma application_id", [], |row| row.get(0))
        .unwrap();
    set(&format!("pragma user_version = {version}; pragma application_id = 7"));
    bench.refuses(&COMMANDS, &["pgsluice.sqlite3", "another program"]);
    set(&format!("pragma application_id = {id}"));
    bench.program.once();
}

#[test]
fn what_is_no_folder_or_no_file_is_refused() {
    let mut bench = Bench::loaded("no_folder");
    // A directory in the place of the file.
    std::fs::remove_dir_all(bench.program.state()).unwrap();
    std::fs::create_dir_all(bench.file()).unwrap();
    bench.refuses(&COMMANDS, &["pgsluice.sqlite3"]);
    std::fs::remove_dir_all(bench.program.state()).unwrap();
    // A file in the place of the folder.
    std::fs::write(bench.program.state(), "x").unwrap();
    bench.refuses(&COMMANDS, &["state", "STORAGE_SUBDIR"]);
    // A place that nobody can write to.
    bench.program.set("STORAGE_SUBDIR", "/proc/pgsluice");
    bench
        .program
        .command(&["once"])
        .assert_refused(2, &["cannot make the folder /proc/pgsluice", "writable"]);
}

#[test]
fn a_folder_without_rights_is_named() {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let bench = Bench::loaded("unwritable");
    let as_user = |command: &str| {
        // To root no folder is forbidden.
        let through: &[&str] =
            if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
        bench.program.start_through(through, &[command]).finish()
    };
    let rights = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    rights(&bench.program.folder(), 0o755);
    let binary = Path::new(env!("CARGO_BIN_EXE_pgsluice"));
    if is_root && as_user("--version").code != 0 {
        eprintln!("skipped: another user cannot run {}", binary.display());
        return;
    }
    if !is_root {
        rights(&bench.program.state(), 0o500);
        rights(&bench.file(), 0o400);
    }
    let before = Evidence::of(&bench.database, &bench.index, &bench.program);
    as_user("once").assert_refused(2, &["pgsluice", "ermission denied", "writable for this user"]);
    if is_root {
        as_user("status").assert_refused(2, &["pgsluice.sqlite3", "ermission denied", "may read"]);
    }
    assert_eq!(Evidence::of(&bench.database, &bench.index, &bench.program), before);
    rights(&bench.program.state(), 0o700);
}

#[test]
fn a_state_of_another_database_is_refused() {
    let mut bench = Bench::loaded("other");
    let other = Database::with_films("another", 3);
    bench.program.set("PG_DSN__DBNAME", &other.name);
    bench.refuses(&["once", "run"], &["another database of this cluster", "object id", "pgsluice resync"]);
    // The cure.
    assert_eq!(bench.program.command(&["resync"]).code, 0);
    assert_same(&bench.index.documents(), &movies_documents(&mut other.connect()));
    bench.program.once();
}

#[test]
fn a_state_of_a_database_that_was_dropped_and_made_anew_is_refused() {
    let bench = Bench::loaded("anew");
    bench.database.drop_now();
    bench.database.create_again();
    film_schema(&bench.database);
    bench.refuses(&["once", "run"], &["before it was dropped and made anew", "pgsluice resync"]);
    assert_eq!(bench.index.count(), 5);
    assert_eq!(bench.program.command(&["resync"]).code, 0);
    wait_until(Duration::from_secs(20), "the documents without a row are gone", || bench.index.count() == 0);
}

#[test]
fn a_changed_definition_is_refused_until_resync() {
    let mut bench = Bench::loaded("changed");
    let movies = include_str!("../../definitions/movies.toml").replace("../es_index.json", "es_index.json");
    bench.program.write("es_index.json", include_str!("../../es_index.json"));
    bench.program.write("films.toml", &movies.replace("description     = \"description\"\n", ""));
    bench.program.set("DEFINITION", "films.toml");
    bench.refuses(&["once", "run"], &["definition", "pgsluice resync"]);
    assert_eq!(bench.program.command(&["resync"]).code, 0);
    bench.program.once();
    assert!(bench.index.documents().values().all(|document| document.get("description").is_none()));
}
