//! How the source is reached: a connection string, and parts that override its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tokio_postgres::Config;

use crate::client_certificate::ClientCertificateFiles;
use crate::settings::connection::{Given, build};
use crate::settings::dsn;
use crate::settings::value::{Problems, given};
use crate::suggestion::did_you_mean;

/// How far the connection is protected, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS without verification if the server has it, else none.
    Prefer,
    /// TLS; the certificate is verified only if a root certificate is given.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority for this host.
    VerifyFull,
}

/// How the source is reached.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The connection but for TLS, of which it only knows whether there is any.
    pub config: Config,
    /// How far the connection is protected.
    pub ssl_mode: SslMode,
    /// The file of certificates that the server's own is verified by; the system's if none.
    pub ssl_root_cert: Option<PathBuf>,
    /// A certificate of ours to be shown in the TLS handshake.
    pub client_certificate: Option<ClientCertificateFiles>,
}

/// What was written as a whole.
#[derive(Deserialize)]
pub(super) struct RawSource {
    pg_dsn: Option<String>,
    pg_dsn_file: Option<String>,
}

/// What was written as parts.
#[derive(Deserialize)]
pub(super) struct RawParts {
    host: Option<String>,
    port: Option<String>,
    dbname: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    sslcert: Option<String>,
    sslkey: Option<String>,
}

/// The parameters that are taken from a connection string.
const KNOWN: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Further parameters of libpq, which may be named in a message since they cannot be a piece of a password.
const UNSUPPORTED: &[&str] = &[
    "passfile",
    "require_auth",
    "client_encoding",
    "fallback_application_name",
    "replication",
    "gssencmode",
    "requiressl",
    "sslnegotiation",
    "sslcompression",
    "sslkeylogfile",
    "sslpassword",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "service",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
];

/// Checks what was written.
pub(super) fn check(whole: RawSource, parts: RawParts, problems: &mut Problems) -> SourceSettings {
    let RawSource { pg_dsn, pg_dsn_file } = whole;
    let RawParts { host, port, dbname, user, password, password_file, sslmode, sslrootcert, sslcert, sslkey } =
        parts;
    let has_dsn = given(pg_dsn.clone()).or(given(pg_dsn_file.clone())).is_some();
    let dsn = problems.secret("PG_DSN", pg_dsn, pg_dsn_file);
    let mut is_dsn_right = !has_dsn || dsn.is_some();
    let mut parameters: BTreeMap<String, Given> = BTreeMap::new();
    if let Some(dsn) = dsn {
        match dsn::parse(dsn.expose()) {
            Ok(written) => {
                let is_url = dsn.expose().contains("://");
                for (position, (name, value)) in written.into_iter().enumerate() {
                    if is_known(&name, position, is_url, problems) {
                        parameters.insert(name, Given { value, part: None });
                    }
                }
            }
            Err(problem) => {
                is_dsn_right = false;
                problems.say(format!("PG_DSN {problem}"));
            }
        }
    }
    // A host in place of the string's own must not keep the addresses of that one.
    if given(host.clone()).is_some() {
        parameters.remove("hostaddr");
    }
    let password = problems.secret("PG_DSN__PASSWORD", password, password_file);
    for (name, setting, value) in [
        ("host", "PG_DSN__HOST", host),
        ("port", "PG_DSN__PORT", port),
        ("dbname", "PG_DSN__DBNAME", dbname),
        ("user", "PG_DSN__USER", user),
        ("password", "PG_DSN__PASSWORD", password.map(|password| password.expose().to_owned())),
        ("sslmode", "PG_DSN__SSLMODE", sslmode),
        ("sslrootcert", "PG_DSN__SSLROOTCERT", sslrootcert),
        ("sslcert", "PG_DSN__SSLCERT", sslcert),
        ("sslkey", "PG_DSN__SSLKEY", sslkey),
    ] {
        if let Some(value) = given(value) {
            parameters.insert(name.to_owned(), Given { value, part: Some(setting) });
        }
    }
    if is_dsn_right && !parameters.contains_key("host") && !parameters.contains_key("hostaddr") {
        problems.say(if has_dsn {
            "PG_DSN names no host, write it there or in PG_DSN__HOST"
        } else {
            "neither PG_DSN nor PG_DSN__HOST is set, write PG_DSN=postgresql://user@host:5432/dbname"
        });
    }
    build(parameters, problems)
}

fn is_known(name: &str, position: usize, is_url: bool, problems: &mut Problems) -> bool {
    if KNOWN.contains(&name) {
        return true;
    }
    if UNSUPPORTED.contains(&name) {
        problems
            .say(format!("PG_DSN has the parameter {name}, which pgsluice does not support, leave it out"));
    } else if is_url {
        let near = did_you_mean(name, KNOWN.iter().copied());
        problems.say(format!("PG_DSN has the unknown parameter {name}{near}"));
    } else {
        // Behind an unquoted space in a password its rest looks like a name.
        let place = position + 1;
        problems.say(format!(
            "PG_DSN has an unknown name in pair {place}, a value with spaces goes in single quotes"
        ));
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postgres::config::{ChannelBinding, Host, SslMode as ConfigSslMode, TargetSessionAttrs};

    use super::*;
    use crate::settings::connection::CONNECT_TIMEOUT;
    use crate::settings::read_raw;
    use crate::settings::tests::variables;

    fn checked(pairs: &[(&str, &str)]) -> (SourceSettings, Vec<String>) {
        let mut problems = Problems::default();
        let known = variables(pairs);
        let settings =
            check(read_raw(&known, "").unwrap(), read_raw(&known, "PG_DSN__").unwrap(), &mut problems);
        (settings, problems.0)
    }

    fn right(pairs: &[(&str, &str)]) -> SourceSettings {
        let (settings, problems) = checked(pairs);
        assert_eq!(problems, [""; 0], "{pairs:?}");
        settings
    }

    #[test]
    fn parts_override_the_string() {
        let settings = right(&[
            ("PG_DSN", "postgresql://u:p@a:1,b:1/db?sslmode=disable&hostaddr=127.0.0.1,127.0.0.2"),
            ("PG_DSN__HOST", "c"),
            ("PG_DSN__PASSWORD", "q"),
            ("PG_DSN__SSLMODE", "verify-full"),
        ]);
        let config = &settings.config;
        assert_eq!(config.get_hosts(), [Host::Tcp("c".into())]);
        assert!(config.get_hostaddrs().is_empty());
        assert_eq!(config.get_ports(), [1]);
        assert_eq!((config.get_user(), config.get_dbname()), (Some("u"), Some("db")));
        assert_eq!(config.get_password(), Some(&b"q"[..]));
        assert_eq!(settings.ssl_mode, SslMode::VerifyFull);
        assert_eq!(config.get_ssl_mode(), ConfigSslMode::Require);
    }

    #[test]
    fn parts_alone_are_enough_and_what_is_not_said_is_filled_in() {
        let settings = right(&[("PG_DSN__HOST", "/var/run/postgresql"), ("PG_DSN__PORT", "5433")]);
        let config = &settings.config;
        assert_eq!(config.get_hosts(), [Host::Unix("/var/run/postgresql".into())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_application_name(), Some("pgsluice"));
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        assert_eq!(settings.ssl_mode, SslMode::Prefer);
        assert_eq!(settings.ssl_root_cert, None);
    }

    #[test]
    fn every_known_parameter_is_taken() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        let dsn = format!(
            "host=a,b port=1,2 user=u password='p w' dbname=d sslmode=verify-ca sslrootcert={} application_name=x options='-c a=b' \
             connect_timeout=3 tcp_user_timeout=500 keepalives=1 keepalives_idle=4 keepalives_interval=5 keepalives_count=6 \
             target_session_attrs=read-only channel_binding=require load_balance_hosts=random",
            ca.path().display()
        );
        let settings = right(&[("PG_DSN", &dsn)]);
        assert_eq!(settings.ssl_mode, SslMode::VerifyCa);
        assert_eq!(settings.ssl_root_cert.as_deref(), Some(ca.path()));
        let config = settings.config;
        assert_eq!(config.get_ports(), [1, 2]);
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(500)));
        assert_eq!(config.get_keepalives_retries(), Some(6));
        assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadOnly);
        assert_eq!(right(&[("PG_DSN", "postgres://h?sslrootcert=system")]).ssl_mode, SslMode::VerifyFull);
    }

    #[test]
    fn each_wrong_source_is_named_without_its_password() {
        for (pairs, problem) in [
            (
                &[][..],
                "neither PG_DSN nor PG_DSN__HOST is set, write PG_DSN=postgresql://user@host:5432/dbname",
            ),
            (&[("PG_DSN", "postgresql:///d")], "PG_DSN names no host, write it there or in PG_DSN__HOST"),
            (&[("PG_DSN", "http://u:hunter2@h")], "PG_DSN has to begin with postgresql://"),
            (
                &[("PG_DSN", "postgres://h?slmode=require")],
                "PG_DSN has the unknown parameter slmode, did you mean sslmode?",
            ),
            (
                &[("PG_DSN", "postgres://h?sslcrl=k")],
                "PG_DSN has the parameter sslcrl, which pgsluice does not support, leave it out",
            ),
            (
                &[("PG_DSN", "host=h password=a hunter2=x")],
                "PG_DSN has an unknown name in pair 3, a value with spaces goes in single quotes",
            ),
            (
                &[("PG_DSN", "postgres://h?sslmode=allow")],
                "PG_DSN has a wrong sslmode, write disable, prefer, require, verify-ca or verify-full",
            ),
            (
                &[("PG_DSN", "postgres://u:hunter2/x")],
                "PG_DSN has a wrong port, write a whole number from 1 to 65535, and in a user or password / ? # @ : % have to be percent-encoded",
            ),
            (
                &[("PG_DSN", "postgres://h?connect_timeout=0")],
                "PG_DSN has a wrong connect_timeout, write a whole number from 1 to 65535000",
            ),
            (
                &[("PG_DSN", "postgres://h?channel_binding=yes")],
                "PG_DSN has a wrong channel_binding, write one of prefer, require, disable",
            ),
            (
                &[("PG_DSN__HOST", "h"), ("PG_DSN__PORT", "5432a")],
                "PG_DSN__PORT is \"5432a\", write a whole number from 1 to 65535",
            ),
            (
                &[("PG_DSN__HOST", "h"), ("PG_DSN__SSLMODE", "full")],
                "PG_DSN__SSLMODE is \"full\", write disable, prefer, require, verify-ca or verify-full",
            ),
            (
                &[("PG_DSN__HOST", "h"), ("PG_DSN__SSLROOTCERT", "/no/ca")],
                "PG_DSN__SSLROOTCERT is \"/no/ca\", which cannot be read: No such file or directory (os error 2)",
            ),
            (
                &[("PG_DSN", "postgres://a:1,b:2"), ("PG_DSN__HOST", "c")],
                "there are 1 hosts and 2 ports, write one or as many in PG_DSN__PORT",
            ),
            (
                &[("PG_DSN", "hunter2"), ("PG_DSN_FILE", "/f")],
                "PG_DSN and PG_DSN_FILE are both set, keep one",
            ),
            (
                &[("PG_DSN_FILE", "/no/file")],
                "PG_DSN_FILE is \"/no/file\", which cannot be read: No such file or directory (os error 2)",
            ),
        ] {
            let (settings, problems) = checked(pairs);
            assert_eq!(problems, [problem], "{pairs:?}");
            assert!(!format!("{settings:?}{problems:?}").contains("hunter2"));
        }
    }

    #[test]
    fn no_slip_of_the_hand_shows_the_password() {
        for dsn in [
            "postgresql://user:hunter2@host:5432/db?sslmode=require&connect_timeout=5",
            "host=host port=5432 user=user password='hunter2 x' dbname=db sslmode=require",
            "host=host password=hunter2 dbname=db",
        ] {
            for (position, character) in dsn.char_indices() {
                let without = [&dsn[..position], &dsn[position + character.len_utf8()..]].concat();
                let with_space = [&dsn[..position], " ", &dsn[position..]].concat();
                let with_at = [&dsn[..position], "@", &dsn[position..]].concat();
                for wrong in [without, with_space, with_at] {
                    let (_, problems) = checked(&[("PG_DSN", &wrong)]);
                    // A name of a parameter in a URL may be shown, and no slip in these makes the password one.
                    assert!(!format!("{problems:?}").contains("unter"), "{wrong}: {problems:?}");
                }
            }
        }
    }

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        let settings = right(&[("PG_DSN", "postgres://u:hunter2@h/db")]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
