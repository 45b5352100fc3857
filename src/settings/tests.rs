//! What the settings as a whole answer.

use super::*;

pub(super) fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with(pairs: &[(&str, &str)]) -> Result<Settings> {
    let mut all =
        variables(&[("PG_DSN", "postgresql://u:pg-secret@h/db"), ("ELASTIC_URL", "http://localhost:9200")]);
    all.extend(variables(pairs));
    Settings::from_variables(all)
}

#[test]
fn the_listed_defaults_are_the_real_ones() {
    let listed: Vec<(&str, &str)> = SETTINGS
        .iter()
        .filter(|setting| !["PG_DSN", "ELASTIC_URL"].contains(&setting.name))
        .map(|setting| (setting.name, setting.default))
        .collect();
    assert_eq!(format!("{:?}", with(&listed).unwrap()), format!("{:?}", with(&[]).unwrap()));
}

#[test]
fn every_listed_setting_is_read() {
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        let error = with(&[(setting.name, "?")]);
        if setting.name != "STORAGE_SUBDIR" {
            assert!(error.unwrap_err().to_string().contains(&format!("{} is \"?\"", setting.name)));
        }
    }
    let settings = with(&[
        ("DEFINITION", "a.toml, b.toml"),
        ("STORAGE_SUBDIR", "/var/lib/pgsluice"),
        ("CHUNK_SIZE", "500"),
        ("BULK_BYTES", "512k"),
        ("REQUEST_INTERVAL", "0.1"),
        ("INITIAL_TIMESTAMP", "2021-06-16T20:14:09.221855Z"),
        ("LOG_FORMAT", "json"),
    ])
    .unwrap();
    assert_eq!(settings.definitions, [PathBuf::from("a.toml"), PathBuf::from("b.toml")]);
    assert_eq!(settings.storage_dir, Path::new("/var/lib/pgsluice"));
    assert_eq!((settings.chunk_size, settings.bulk_bytes), (500, 512 << 10));
    assert_eq!(settings.request_interval, Duration::from_millis(100));
    assert_eq!(settings.initial_timestamp, Some(1_623_874_449_221_855));
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(with(&[("ELASTIC_INDEX", "films")]).unwrap().index.as_deref(), Some("films"));
}

#[test]
fn each_wrong_value_is_named_with_what_would_be_right() {
    for (name, value, problem) in [
        ("CHUNK_SIZE", "many", "CHUNK_SIZE is \"many\", write a whole number from 1 to 100000"),
        ("CHUNK_SIZE", "0", "CHUNK_SIZE is \"0\", write a whole number from 1 to 100000"),
        (
            "BULK_BYTES",
            "5TB",
            "BULK_BYTES is \"5TB\", write a size such as 5MiB, from 1024 to 1073741824 bytes",
        ),
        ("REQUEST_INTERVAL", "1s", "REQUEST_INTERVAL is \"1s\", write seconds from 0.001 to 2592000"),
        (
            "CURSOR_SKEW",
            "0.0",
            "CURSOR_SKEW is \"0.0\", which would lose rows whose cursor was set a moment before their transaction began; write more than 0",
        ),
        ("DEAD_LETTER_STOP", "-1", "DEAD_LETTER_STOP is \"-1\", write a whole number from 1 to 1000000000"),
        (
            "INITIAL_TIMESTAMP",
            "yesterday",
            "INITIAL_TIMESTAMP is \"yesterday\", write an instant in the years 1 to 9999 as 2021-06-16T20:14:09Z or in seconds since 1970, with at most six digits behind the second",
        ),
        ("ON_INDEX_MISSING", "create", "ON_INDEX_MISSING is \"create\", write stop or rebuild"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is \"xml\", write text or json"),
        ("DEFINITION", "a,,b", "DEFINITION is \"a,,b\", write files separated by single commas"),
        ("DEFINITION", "a,a", "DEFINITION is \"a,a\", which names a file twice"),
        (
            "ELASTIC_INDEX",
            "Movies",
            "ELASTIC_INDEX is \"Movies\", an index name is lower case, write \"movies\"",
        ),
    ] {
        let error = with(&[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("the settings are wrong: {problem}"));
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = Settings::from_variables(variables(&[("CHUNK_SIZE", "x"), ("LOG_FORMAT", "y")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the settings are wrong: neither PG_DSN nor PG_DSN__HOST is set, write PG_DSN=postgresql://user@host:5432/dbname; \
         ELASTIC_URL is not set, write ELASTIC_URL=http://host:9200; \
         CHUNK_SIZE is \"x\", write a whole number from 1 to 100000; LOG_FORMAT is \"y\", write text or json"
    );
}

#[test]
fn one_index_cannot_serve_two_definitions() {
    let error = with(&[("ELASTIC_INDEX", "films"), ("DEFINITION", "a,b")]).unwrap_err();
    assert!(error.to_string().contains("cannot be the index of several definitions"), "{error}");
}

#[test]
fn a_name_that_is_nearly_ours_is_remarked_on() {
    let settings = with(&[("CHUNK_SIZES", "1")]).unwrap();
    assert_eq!(settings.notices, ["CHUNK_SIZES is no setting and is not read, did you mean CHUNK_SIZE?"]);
}

#[test]
fn no_secret_is_shown() {
    let settings = with(&[("ELASTIC_USER", "u"), ("ELASTIC_PASSWORD", "es-secret")]).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
