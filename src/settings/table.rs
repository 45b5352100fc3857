//! The table of all settings: what `.env.example` and the README list.

/// One setting as an operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name of the environment variable.
    pub name: &'static str,
    /// Its default as it would be written; empty where there is none.
    pub default: &'static str,
    /// The unit of its value; empty where there is none.
    pub unit: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// Whether its value is never shown and may also come from the file that `<name>_FILE` names.
    pub is_secret: bool,
}

impl Setting {
    /// Its meaning with its unit and, for a secret, the other way to give it, in one line.
    pub fn explanation(&self) -> String {
        let mut line = self.meaning.to_owned();
        if !self.unit.is_empty() {
            line.push_str(&format!(" ({})", self.unit));
        }
        if self.is_secret {
            line.push_str(&format!("; or {}_FILE, a file that holds it", self.name));
        }
        line
    }
}

const fn plain(
    name: &'static str,
    default: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, default, unit, meaning, is_secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default: "", unit: "", meaning, is_secret: true }
}

/// Every setting, in the order in which they are listed.
pub const SETTINGS: &[Setting] = &[
    secret(
        "PG_DSN",
        "The source, as postgresql://user:password@host:5432/dbname or in libpq's key=value form",
    ),
    plain(
        "PG_DSN__HOST",
        "",
        "",
        "Host of the source, or the directory of its socket; the parts override PG_DSN",
    ),
    plain("PG_DSN__PORT", "", "", "Port of the source; PostgreSQL's own default is 5432"),
    plain("PG_DSN__DBNAME", "", "", "Database of the source; PostgreSQL's own default is the user's name"),
    plain("PG_DSN__USER", "", "", "User who reads the source"),
    secret("PG_DSN__PASSWORD", "Password of that user"),
    plain("PG_DSN__SSLMODE", "", "", "disable, prefer, require, verify-ca or verify-full; unset: prefer"),
    plain(
        "PG_DSN__SSLROOTCERT",
        "",
        "",
        "File of certificates that the source's own is verified by, or system",
    ),
    plain("PG_DSN__SSLCERT", "", "", "File of a certificate by which the source knows us"),
    plain("PG_DSN__SSLKEY", "", "", "File of its private key; unset: it is in the same file"),
    plain(
        "ELASTIC_URL",
        "",
        "",
        "Nodes of Elasticsearch or OpenSearch, as http://host:9200, separated by commas",
    ),
    plain("ELASTIC_INDEX", "", "", "Alias of the index; unset: as the definition says"),
    plain("ELASTIC_USER", "", "", "User at the index server"),
    secret("ELASTIC_PASSWORD", "Password of that user"),
    secret("ELASTIC_API_KEY", "API key for the index server, in place of user and password"),
    secret(
        "ELASTIC_BEARER_TOKEN",
        "Bearer token for the index server, in place of user and password or API key",
    ),
    plain(
        "ELASTIC_CA",
        "",
        "",
        "File of certificates that the index server's own is verified by; unset: the system's",
    ),
    plain("ELASTIC_CLIENT_CERT", "", "", "File of a certificate by which the index server knows us"),
    plain("ELASTIC_CLIENT_KEY", "", "", "File of its private key; unset: it is in the same file"),
    plain("ELASTIC_TIMEOUT", "60", "seconds", "How long one request to the index server may take"),
    plain(
        "ELASTIC_GZIP",
        "off",
        "",
        "Bodies are compressed on the way to the index server, on or off; it pays where the network is slow or costs money",
    ),
    plain(
        "DEFINITION",
        "",
        "",
        "Definition files, separated by commas (definitions/ has movies, genres and persons); unset: the built-in movies",
    ),
    plain("STORAGE_SUBDIR", "state", "", "Directory of the state"),
    plain("CHUNK_SIZE", "4000", "rows", "The most root rows of a batch"),
    plain("BATCH_BYTES", "16MiB", "bytes", "The most bytes of the rows of a batch"),
    plain(
        "RELATED_CACHE_MB",
        "48",
        "MiB",
        "Memory for rows of related tables during a full load; 0 reads them anew for every batch",
    ),
    plain("BULK_BYTES", "5MiB", "bytes", "The most bytes of a bulk request, unless one document needs more"),
    plain(
        "LOADERS",
        "4",
        "requests",
        "The most bulk requests at once; fewer where more gain nothing or are refused",
    ),
    plain("DOCUMENT_MAX_BYTES", "50MiB", "bytes", "A larger document becomes a dead letter"),
    plain("CHANNEL_CAPACITY", "1", "batches", "How many batches may wait before each stage of the pipeline"),
    plain("REQUEST_INTERVAL", "1", "seconds", "Between the beginnings of two rounds of polling"),
    plain(
        "CURSOR_SKEW",
        "10",
        "seconds",
        "How much older than its transaction's start a written cursor may be; never 0",
    ),
    plain("LOOKBACK", "900", "seconds", "How far polls look back where running transactions cannot be seen"),
    plain("RETRY_DEADLINE", "300", "seconds", "How long `once` waits for a server that is away"),
    plain("STATEMENT_TIMEOUT", "300", "seconds", "How long one statement on the source may take"),
    plain("SEEN_MAX", "200000", "rows", "How many delivered rows a cursor feed remembers, to save work"),
    plain("STALE_KEYS_MAX", "1000000", "keys", "How many stale keys are kept; polling pauses at this number"),
    plain("DEAD_LETTER_MAX", "10000", "documents", "How many dead letters are kept with their documents"),
    plain("DEAD_LETTER_STOP", "1000", "documents", "How many refusals in a row stop the pipeline"),
    plain(
        "VERIFY_INTERVAL",
        "86400",
        "seconds",
        "In which `run` and `once` compare all of the index with the database, by and by; 0: never",
    ),
    plain("VERIFY_SLICE", "30", "seconds", "How long `once` verifies what is due"),
    plain(
        "VERIFY_MAX_DELETE_PERCENT",
        "10",
        "percent",
        "More documents without a row than this share, and than 100, are not deleted",
    ),
    plain(
        "INITIAL_TIMESTAMP",
        "",
        "",
        "The first load takes rows at or after it: RFC 3339 or epoch seconds; unset: all",
    ),
    plain(
        "ON_INDEX_MISSING",
        "stop",
        "",
        "What to do when the index or its alias was deleted: stop with an error, or rebuild it with a full load",
    ),
    plain("LOG_FORMAT", "text", "", "text or json"),
];

/// Every name that is read, the `_FILE` ones of secrets too.
pub(super) fn known_names() -> impl Iterator<Item = String> {
    SETTINGS.iter().flat_map(|setting| {
        let file = setting.is_secret.then(|| format!("{}_FILE", setting.name));
        std::iter::once(setting.name.to_owned()).chain(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_example() -> String {
        let mut text = String::from(
            "# The settings of pgsluice with their defaults. Copy this file to .env and fill in the source and ELASTIC_URL.\n\
             # The environment goes before .env, and an empty value is as good as none. Put a value with $ # or spaces\n\
             # in single quotes. Sizes may be written as 512KiB, 5MiB or 1GiB.\n",
        );
        for setting in SETTINGS {
            text.push_str(&format!("\n# {}\n{}={}\n", setting.explanation(), setting.name, setting.default));
        }
        text
    }

    #[test]
    fn the_example_file_lists_every_setting_with_its_default() {
        let example = include_str!("../../.env.example");
        if example != env_example() {
            panic!(".env.example disagrees with the table of settings, it should be:\n{}", env_example());
        }
    }

    fn readme_table() -> String {
        let mut text = String::from("| setting | default | meaning |\n| --- | --- | --- |\n");
        for setting in SETTINGS {
            let default =
                if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
            text.push_str(&format!("| `{}` | {default} | {} |\n", setting.name, setting.explanation()));
        }
        text
    }

    #[test]
    fn the_readme_lists_every_setting_with_its_default() {
        let readme = include_str!("../../README.md");
        if !readme.contains(&readme_table()) {
            panic!(
                "the README disagrees with the table of settings, its table should be:\n{}",
                readme_table()
            );
        }
    }

    #[test]
    fn the_example_file_is_read_back_as_the_defaults() {
        let read: Vec<(String, String)> =
            dotenvy::from_read_iter(include_str!("../../.env.example").as_bytes())
                .map(|entry| entry.unwrap())
                .collect();
        let table: Vec<(String, String)> =
            SETTINGS.iter().map(|setting| (setting.name.to_owned(), setting.default.to_owned())).collect();
        assert_eq!(read, table);
    }

    #[test]
    fn an_explanation_is_one_line() {
        for setting in SETTINGS {
            let line = setting.explanation();
            assert!(line.len() <= 140 && !line.contains('\n'), "{}: {line}", setting.name);
        }
    }
}
