//! The variables that settings are read from: the process environment and a `.env` beside it.
//!
//! The environment goes before `.env`, and neither is ever changed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::settings::table::{SETTINGS, known_names};
use crate::suggestion::nearest;

/// Names and values, as they were written.
pub type Variables = BTreeMap<String, String>;

/// Reads the process environment, and the file `dotenv` where it exists for what the environment does not say.
pub(super) fn read(
    environment: impl Iterator<Item = (OsString, OsString)>,
    dotenv: &Path,
) -> Result<Variables> {
    let mut variables = Variables::new();
    let mut unreadable = Vec::new();
    for (name, value) in environment {
        // A name that is no UTF-8 cannot be one of ours.
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(variables.insert(name, value)),
            Err(_) if known_names().any(|known| known == name) => unreadable.push(name),
            Err(_) => {}
        }
    }
    if !unreadable.is_empty() {
        return Err(Error::wrong(format!("the value of {} is not UTF-8", unreadable.join(" and of "))));
    }
    for (name, value) in read_dotenv(dotenv)? {
        if !is_said(&variables, &name) {
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

/// Whether the environment gives `name`, or its secret in the other of its two ways.
fn is_said(environment: &Variables, name: &str) -> bool {
    let secret = name.strip_suffix("_FILE").unwrap_or(name);
    let has_two_ways = SETTINGS.iter().any(|setting| setting.is_secret && setting.name == secret);
    let other = if secret == name { format!("{name}_FILE") } else { secret.to_owned() };
    environment.contains_key(name) || (has_two_ways && environment.contains_key(&other))
}

/// Reads a `.env`; no file is no entries. The text of a wrong line stays out of the error: it may hold a secret.
fn read_dotenv(path: &Path) -> Result<Vec<(String, String)>> {
    let name = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::wrong(format!("cannot read {name}")).because(error)),
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        Error::wrong(format!("line {line} of {name} is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line_count = Rc::new(Cell::new(0));
    let mut entries = Vec::new();
    for entry in dotenvy::from_read_iter(Lines {
        text: format!("{text}\n").into(),
        at: 0,
        count: Rc::clone(&line_count),
    }) {
        entries.push(entry.map_err(|error| {
            // An unclosed quote is noticed at the end of the file: the entry began as many lines before.
            let extra = match &error {
                dotenvy::Error::LineParse(entry, _) => entry.trim_end().matches('\n').count(),
                _ => 0,
            };
            let line = line_count.get().min(text.lines().count()).saturating_sub(extra).max(1);
            Error::wrong(format!("line {line} of {name} is no NAME=value"))
                .hint("put a value with spaces, $ or # in single quotes")
        })?);
    }
    Ok(entries)
}

/// Hands out a text line by line and counts the lines, since the parser does not say where it stands.
struct Lines {
    text: Box<str>,
    at: usize,
    count: Rc<Cell<usize>>,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        let length = line.min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        if length > 0 && length == line {
            self.count.set(self.count.get() + 1);
        }
        Ok(length)
    }
}

/// Remarks on variables that are none of ours but look as if they were meant to be.
pub(super) fn near_misses(variables: &Variables) -> Vec<String> {
    let known: Vec<String> = known_names().collect();
    let mut notices = Vec::new();
    for name in variables.keys() {
        if known.contains(name) || is_others(name) {
            continue;
        }
        let upper = name.to_uppercase();
        let has_our_prefix = upper.starts_with("PG_DSN") || upper.starts_with("ELASTIC_");
        let near = nearest(&upper, known.iter().map(String::as_str))
            .filter(|near| has_our_prefix || is_slip(&upper, near));
        match near {
            Some(near) => notices.push(format!("{name} is no setting and is not read, did you mean {near}?")),
            None if has_our_prefix => notices.push(format!("{name} is no setting and is not read")),
            None => {}
        }
    }
    notices
}

/// Whether one name is a slip of the hand for the other: the environment is full of other programs' short names
/// (`PG_BIN`), so it takes more likeness than where only ours are written.
fn is_slip(written: &str, near: &str) -> bool {
    let allowed = if written.len() <= 8 { 1 } else { 2 };
    strsim::damerau_levenshtein(written, near) <= allowed
}

/// Whether the name is one that Kubernetes and Docker links give for a service called `elastic`, or a setting of
/// Elastic's own tracing agents.
fn is_others(name: &str) -> bool {
    name.starts_with("ELASTIC_SERVICE_")
        || name == "ELASTIC_PORT"
        || name.starts_with("ELASTIC_PORT_")
        || name.starts_with("ELASTIC_APM_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn dotenv(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    fn os(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let (_directory, path) = dotenv(
            b"\xef\xbb\xbfCHUNK_SIZE=5 # rows\nexport LOOKBACK='9'\nPG_DSN__PASSWORD_FILE=/x\nELASTIC_USER=a \n",
        );
        let environment = os(&[("CHUNK_SIZE", "7"), ("PG_DSN__PASSWORD", "p")]);
        let variables = read(environment.into_iter(), &path).unwrap();
        let expected =
            [("CHUNK_SIZE", "7"), ("ELASTIC_USER", "a"), ("LOOKBACK", "9"), ("PG_DSN__PASSWORD", "p")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn no_file_is_no_entries() {
        assert!(read(std::iter::empty(), Path::new("/nowhere/.env")).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line_and_without_its_text() {
        for (text, message) in [
            (&b"A=1\n\n# x\nsecret word\nB=2\n"[..], "line 4 of .env is no NAME=value"),
            (b"A=1\nB=two words\n", "line 2 of .env is no NAME=value"),
            (b"A=1\nB='open\nC=3\nD=4", "line 2 of .env is no NAME=value"),
            (b"A=1\nB=\xff\n", "line 2 of .env is not UTF-8"),
        ] {
            let (directory, path) = dotenv(text);
            let error = read(std::iter::empty(), &path).unwrap_err();
            assert_eq!(error.to_string().replace(&format!("{}/", directory.path().display()), ""), message);
        }
    }

    #[test]
    fn a_value_that_is_no_utf8_is_named_if_it_is_ours() {
        let bad = || OsString::from_vec(vec![0xff]);
        let environment =
            vec![("OTHER".into(), bad()), ("CHUNK_SIZE".into(), bad()), ("PG_DSN_FILE".into(), bad())];
        let error = read(environment.into_iter(), Path::new("/nowhere/.env")).unwrap_err();
        assert_eq!(error.to_string(), "the value of CHUNK_SIZE and of PG_DSN_FILE is not UTF-8");
    }

    #[test]
    fn near_misses_are_remarked_on_and_others_are_not() {
        let names = [
            "PG_DSN__PASSWROD",
            "PG_DSN_HOST",
            "ELASTIC_VERSION",
            "CHUNKSIZE",
            "chunk_size",
            "PATH",
            "HOME",
            "INDEX",
            "ELASTIC_SERVICE_HOST",
            "ELASTIC_PORT_9200_TCP",
            "ELASTIC_APM_SERVER_URL",
            "POSTGRES_PASSWORD",
            "PG_BIN",
            "PG_RUN_AS",
            "PG_DB",
            "PG_HOST",
            "PGHOST",
            "PGPORT",
            "PGUSER",
            "PGPASSWORD",
            "PGDATABASE",
            "PGSSLMODE",
            "PG_DNS",
            "DEFINITIONS",
        ];
        let variables = names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        assert_eq!(
            near_misses(&variables),
            [
                "CHUNKSIZE is no setting and is not read, did you mean CHUNK_SIZE?",
                "DEFINITIONS is no setting and is not read, did you mean DEFINITION?",
                "ELASTIC_VERSION is no setting and is not read",
                "PG_DNS is no setting and is not read, did you mean PG_DSN?",
                "PG_DSN_HOST is no setting and is not read, did you mean PG_DSN__HOST?",
                "PG_DSN__PASSWROD is no setting and is not read, did you mean PG_DSN__PASSWORD?",
                "chunk_size is no setting and is not read, did you mean CHUNK_SIZE?",
            ]
        );
    }
}
