//! Settings that are wrong: each named with its value and what would be right, all at once, before anything is done.

use crate::harness::{Database, Evidence, Index, Program};

const SECRET: &str = "hunter2-sesame";

fn bench(label: &str) -> (Database, Index, Program) {
    let database = Database::new(label);
    let index = Index::new(label);
    let program = Program::new(&database, &index);
    (database, index, program)
}

#[test]
fn each_wrong_setting_is_named_with_its_value_and_what_would_be_right() {
    let (database, index, mut program) = bench("bad_settings");
    for (name, value, right) in [
        ("CHUNK_SIZE", "0", "write a whole number from 1 to 100000"),
        ("CHUNK_SIZE", "100001", "write a whole number from 1 to 100000"),
        ("CHUNK_SIZE", "many", "write a whole number"),
        ("BATCH_BYTES", "5parsec", "write a size such as 5MiB"),
        ("BULK_BYTES", "-1", "write a size such as 5MiB"),
        ("DOCUMENT_MAX_BYTES", "99999999999999999999", "write a size such as 5MiB"),
        ("REQUEST_INTERVAL", "1min", "write seconds from 0.001"),
        ("REQUEST_INTERVAL", "0", "write seconds from 0.001"),
        ("CURSOR_SKEW", "0", "write more than 0"),
        ("RETRY_DEADLINE", "-1", "write seconds from 0"),
        ("INITIAL_TIMESTAMP", "yesterday", "write an instant"),
        ("INITIAL_TIMESTAMP", "1623874449221", "write an instant"),
        ("LOG_FORMAT", "xml", "write text or json"),
        ("PG_DSN__PORT", "99999", "write a whole number from 1 to 65535"),
        ("PG_DSN__SSLMODE", "maybe", "write disable, prefer, require"),
        ("ELASTIC_URL", "localhost:9200", "has to begin with http:// or https://"),
        ("ELASTIC_URL", "ftp://localhost", "has to begin with http:// or https://"),
        ("ELASTIC_INDEX", "Movies", "lower case"),
        ("ELASTIC_CA", "/nowhere/ca.pem", "cannot be read"),
        ("ELASTIC_TIMEOUT", "soon", "write seconds"),
        ("DEFINITION", "a.toml,,b.toml", "separated by single commas"),
    ] {
        let before = program.setting(name);
        program.set(name, value);
        for command in ["once", "status"] {
            let finished = program.command(&[command]);
            finished.assert_refused(2, &[&format!("{name} is {value:?}"), right, ".env.example"]);
        }
        match before {
            Some(before) => program.set(name, &before),
            None => program.unset(name),
        };
    }
    assert!(Evidence::of(&database, &index, &program).is_nothing_made());
    assert!(!program.state().exists());
}

#[test]
fn everything_wrong_is_said_at_once_and_no_secret_with_it() {
    let (_database, _index, mut program) = bench("all_at_once");
    program.set("CHUNK_SIZE", "0").set("LOG_FORMAT", "xml").set("LOOKBACK", "long");
    program.set("PG_DSN", &format!("postgresql://u:{SECRET}@h:port/db"));
    program.set("PG_DSN__PASSWORD_FILE", "/nowhere/password");
    program.set("ELASTIC_URL", &format!("http://u:{SECRET}@h:port"));
    program.set("ELASTIC_USER", "u").set("ELASTIC_PASSWORD", SECRET).set("ELASTIC_API_KEY", SECRET);
    let finished = program.command(&["check"]);
    finished.assert_refused(
        2,
        &[
            "CHUNK_SIZE is \"0\"",
            "LOG_FORMAT is \"xml\"",
            "LOOKBACK is \"long\"",
            "PG_DSN",
            "PG_DSN__PASSWORD and PG_DSN__PASSWORD_FILE are both set, keep one",
            "ELASTIC_URL",
            "ELASTIC_API_KEY",
        ],
    );
    finished.assert_silent_on(SECRET);
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let (_database, _index, mut program) = bench("exclusive");
    program.set("ELASTIC_USER", "u").set("ELASTIC_PASSWORD", SECRET).set("ELASTIC_API_KEY", SECRET);
    let finished = program.command(&["once"]);
    finished.assert_refused(2, &["both ELASTIC_API_KEY and a user or password are set, keep one"]);
    finished.assert_silent_on(SECRET);
    program.unset("ELASTIC_API_KEY").unset("ELASTIC_PASSWORD");
    program.command(&["once"]).assert_refused(2, &["ELASTIC_USER is set without ELASTIC_PASSWORD"]);
}

#[test]
fn what_is_needed_and_missing_is_said_with_an_example() {
    let (_database, _index, mut program) = bench("missing");
    for name in ["HOST", "PORT", "DBNAME", "USER", "PASSWORD"] {
        program.unset(&format!("PG_DSN__{name}"));
    }
    // An empty value is as good as none.
    program.set("PG_DSN", "").set("ELASTIC_URL", "");
    program.command(&["check"]).assert_refused(
        2,
        &["write PG_DSN=postgresql://user@host:5432/dbname", "write ELASTIC_URL=http://host:9200"],
    );
}

#[test]
fn names_of_other_programs_are_no_near_misses() {
    let (_database, _index, mut program) = bench("near_misses");
    for name in ["PG_BIN", "PG_RUN_AS", "PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "POSTGRES_PASSWORD"] {
        program.set(name, SECRET);
    }
    let finished = program.command(&["status"]);
    assert_eq!((finished.code, finished.log.as_str()), (0, ""));
    program.set("CHUNKSIZE", SECRET).set("PG_DSN__PASWORD", SECRET).set("ELASTIC_FOO", SECRET);
    let finished = program.command(&["status"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    for notice in [
        "CHUNKSIZE is no setting and is not read, did you mean CHUNK_SIZE?",
        "PG_DSN__PASWORD is no setting and is not read, did you mean PG_DSN__PASSWORD?",
        "ELASTIC_FOO is no setting and is not read",
    ] {
        assert!(finished.log.contains(notice), "no `{notice}` in:\n{}", finished.log);
    }
    assert_eq!(finished.log.lines().count(), 3, "{}", finished.log);
    finished.assert_silent_on(SECRET);
}

#[test]
fn a_dotenv_file_is_read_and_a_wrong_line_named_by_its_number() {
    let (_database, _index, mut program) = bench("dotenv");
    let url = program.setting("ELASTIC_URL").unwrap();
    program.unset("ELASTIC_URL");
    program.write(".env", &format!("# where\nELASTIC_URL={url}\n\nLOG_FORMAT=text # lines\n"));
    assert_eq!(program.command(&["status"]).code, 0);
    for (text, line) in [
        (format!("A=1\n\nPG_DSN__PASSWORD {SECRET}\n"), 3),
        (format!("PG_DSN__PASSWORD=two {SECRET}\n"), 1),
        (format!("A=1\nPG_DSN__PASSWORD='{SECRET}\nB=2\n"), 2),
    ] {
        program.write(".env", &text);
        let finished = program.command(&["status"]);
        finished.assert_refused(2, &[&format!("line {line} of .env is no NAME=value"), "single quotes"]);
        finished.assert_silent_on(SECRET);
    }
    std::fs::remove_file(program.folder().join(".env")).unwrap();
    std::fs::create_dir(program.folder().join(".env")).unwrap();
    program.command(&["status"]).assert_refused(2, &["cannot read .env"]);
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_tip() {
    let (_database, _index, program) = bench("usage");
    for (arguments, tip) in [
        (&[][..], "Usage: pgsluice"),
        (&["stat"][..], "a similar subcommand exists: 'status'"),
        (&["once", "--adapt"][..], "a similar argument exists: '--adopt'"),
        (&["--log-format", "xml", "status"][..], "[possible values: text, json]"),
        (&["dead-letters", "show", "x"][..], "invalid value 'x'"),
    ] {
        let finished = program.command(arguments);
        assert_eq!(finished.code, 2, "{}", finished.log);
        assert!(finished.log.contains(tip), "no `{tip}` in:\n{}", finished.log);
        assert_eq!(finished.output, "");
    }
}
