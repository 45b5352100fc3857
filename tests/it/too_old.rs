//! Servers that are older than what pgsluice knows. Such a server is not at hand in an ordinary run: `dev/matrix` starts
//! one.

use crate::harness::{Database, Index, Program};

#[test]
#[ignore = "needs a PostgreSQL before 12, which dev/matrix starts"]
fn a_postgresql_before_12_is_refused_by_every_command() {
    let database = Database::new("too_old");
    let index = Index::new("too_old");
    let program = Program::new(&database, &index);
    for arguments in [&["check"][..], &["once"], &["run"], &["resync"], &["preview"]] {
        let finished = program.command(arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.log);
        let told = format!("{}{}", finished.output, finished.log);
        assert!(told.contains("PostgreSQL 1") && told.contains("is too old"), "{arguments:?}: {told}");
        assert!(told.contains("to 12 or later"), "{arguments:?}: {told}");
    }
    let (_, found) = index.call("GET", &format!("{}*", index.alias), &serde_json::Value::Null);
    assert_eq!(found, serde_json::json!({}), "no index is made");
}
