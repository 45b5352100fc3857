//! The disk of the state fills up while the program runs. Needs root, for a small file system of the test's own.

use std::time::Duration;

use crate::harness::{Database, Index, Program, SmallDisk, movies_documents, wait_until};

#[test]
fn a_full_disk_in_the_middle_of_a_load_is_waited_for_and_loses_nothing() {
    let database = Database::with_films("disk", 3_000);
    let index = Index::new("disk");
    let mut program = Program::new(&database, &index);
    let Some(disk) = SmallDisk::mounted_at(&program.folder().join("disk")) else {
        eprintln!("left out: a file system cannot be mounted here");
        return;
    };
    program.set("STORAGE_SUBDIR", "disk/state").set("CHUNK_SIZE", "10");
    program.set("RUST_LOG", "info,pgsluice=debug");
    let running = program.start(&["run"]);
    wait_until(Duration::from_secs(60), "some batches are acknowledged", || {
        running.log().matches(" acknowledged").count() >= 5
    });
    disk.fill();
    // Batches were in flight, so the loader cannot acknowledge and the pipeline begins again, several times.
    wait_until(Duration::from_secs(60), "it keeps trying", || {
        let log = running.log();
        assert!(!log.contains("ERROR"), "{log}");
        log.matches("free space on its disk").count() >= 4
    });
    disk.make_room();
    index.wait_for(Duration::from_secs(60), || movies_documents(&mut database.connect()));
    assert_eq!(running.terminate().code, 0);
}
