//! How the index server is reached.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use crate::client_certificate::ClientCertificateFiles;
use crate::settings::dsn::percent_decoded;
use crate::settings::secret::Secret;
use crate::settings::value::{Problems, given, seconds};

/// How long one request may take: a bulk of 5 MiB takes a second, a server in trouble queues it for tens.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest request timeout.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How we show who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Not at all.
    None,
    /// By user and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By an API key in its encoded form.
    ApiKey(Secret),
    /// By a bearer token: of a service account, of an identity provider, a JWT.
    Bearer(Secret),
}

/// How the index server is reached.
#[derive(Clone, Debug)]
pub struct ElasticSettings {
    /// The nodes, with any path prefix, without a user and without a slash at the end; at least one.
    pub nodes: Vec<String>,
    /// How we show who we are.
    pub credentials: Credentials,
    /// The file of certificates that the server's own is verified by; the system's if none.
    pub ca: Option<PathBuf>,
    /// A certificate of ours to be shown in the TLS handshake.
    pub client_certificate: Option<ClientCertificateFiles>,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Whether bodies are compressed on their way.
    pub gzip: bool,
}

/// What was written.
#[derive(Deserialize)]
pub(super) struct RawElastic {
    url: Option<String>,
    pub(super) index: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
    api_key: Option<String>,
    api_key_file: Option<String>,
    bearer_token: Option<String>,
    bearer_token_file: Option<String>,
    ca: Option<String>,
    client_cert: Option<String>,
    client_key: Option<String>,
    timeout: Option<String>,
    gzip: Option<String>,
}

/// Checks what was written.
pub(super) fn check(raw: RawElastic, problems: &mut Problems, notices: &mut Vec<String>) -> ElasticSettings {
    let RawElastic {
        url,
        index: _,
        user,
        password,
        password_file,
        api_key,
        api_key_file,
        bearer_token,
        bearer_token_file,
        ca,
        client_cert,
        client_key,
        timeout,
        gzip,
    } = raw;
    let (nodes, url_user) = match given(url) {
        Some(url) => nodes(&url, problems),
        None => {
            problems.say("ELASTIC_URL is not set, write ELASTIC_URL=http://host:9200");
            (Vec::new(), None)
        }
    };
    let user = given(user);
    let has_password = given(password.clone()).or(given(password_file.clone())).is_some();
    let password = problems.secret("ELASTIC_PASSWORD", password, password_file);
    let has_api_key = given(api_key.clone()).or(given(api_key_file.clone())).is_some();
    let api_key = problems.secret("ELASTIC_API_KEY", api_key, api_key_file);
    let has_token = given(bearer_token.clone()).or(given(bearer_token_file.clone())).is_some();
    let token = problems.secret("ELASTIC_BEARER_TOKEN", bearer_token, bearer_token_file);
    if url_user.is_some() && (user.is_some() || has_password) {
        problems.say("both ELASTIC_URL and ELASTIC_USER or ELASTIC_PASSWORD give a user, keep one");
    }
    if has_api_key && (url_user.is_some() || user.is_some() || has_password) {
        problems.say("both ELASTIC_API_KEY and a user or password are set, keep one");
    }
    if has_token && (has_api_key || url_user.is_some() || user.is_some() || has_password) {
        problems.say("both ELASTIC_BEARER_TOKEN and an API key, a user or a password are set, keep one");
    }
    match (&user, has_password) {
        (Some(_), false) => problems.say("ELASTIC_USER is set without ELASTIC_PASSWORD"),
        (None, true) => problems.say("ELASTIC_PASSWORD is set without ELASTIC_USER"),
        _ => {}
    }
    let credentials = match (api_key, token, user.zip(password).or(url_user)) {
        (Some(key), ..) => Credentials::ApiKey(key),
        (None, Some(token), _) => Credentials::Bearer(token),
        (None, None, Some((user, password))) => Credentials::Basic { user, password },
        (None, None, None) => Credentials::None,
    };
    let client_certificate =
        problems.client_certificate(["ELASTIC_CLIENT_CERT", "ELASTIC_CLIENT_KEY"], [client_cert, client_key]);
    if client_certificate.is_some()
        && !nodes.is_empty()
        && !nodes.iter().any(|node| node.starts_with("https:"))
    {
        problems.say("ELASTIC_CLIENT_CERT is set, and no node of ELASTIC_URL is written https://, where alone it is shown");
    }
    if !matches!(credentials, Credentials::None)
        && let Some(node) = nodes.iter().find(|node| is_open_and_remote(node))
    {
        notices.push(format!("the credentials go unencrypted to {node}, prefer https"));
    }
    ElasticSettings {
        nodes,
        credentials,
        ca: problems.file("ELASTIC_CA", ca),
        client_certificate,
        request_timeout: problems.take(
            "ELASTIC_TIMEOUT",
            timeout,
            DEFAULT_REQUEST_TIMEOUT,
            seconds(Duration::from_millis(1)..=REQUEST_TIMEOUT_MAX),
        ),
        gzip: problems.take("ELASTIC_GZIP", gzip, false, on_or_off),
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

type User = (String, Secret);

/// Takes the comma list apart; the user that the nodes share, if any, goes out of them.
fn nodes(list: &str, problems: &mut Problems) -> (Vec<String>, Option<User>) {
    let mut nodes = Vec::new();
    let mut users: Vec<Option<User>> = Vec::new();
    for (position, text) in list.split(',').map(str::trim).enumerate() {
        match node(text) {
            Ok((node, user)) => {
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
                users.push(user);
            }
            // The text may hold a password, so only its place is told then.
            Err(problem) if text.contains('@') => {
                problems.say(format!("node {} of ELASTIC_URL {problem}", position + 1));
            }
            Err(problem) => problems.wrong("ELASTIC_URL", text, format!("which {problem}")),
        }
    }
    if users.iter().any(|user| *user != users[0]) {
        problems.say(
            "the nodes of ELASTIC_URL do not all have the same user and password, which are for all of them",
        );
    }
    (nodes, users.into_iter().next().flatten())
}

fn node(text: &str) -> Result<(String, Option<User>), &'static str> {
    const SCHEME: &str = "has to begin with http:// or https://";
    if text.is_empty() {
        return Err("is empty, separate nodes by single commas");
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(SCHEME);
    }
    let mut url = Url::parse(text).map_err(
        |_| "is no URL such as http://host:9200, and in a password / ? # @ , % have to be percent-encoded",
    )?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a ? or # part, and in a password / ? # @ , % have to be percent-encoded");
    }
    let user = if url.username().is_empty() && url.password().is_none() {
        None
    } else {
        const ENCODING: &str = "has a user or password that is not well percent-encoded";
        let user = percent_decoded(url.username()).ok_or(ENCODING)?;
        let password = percent_decoded(url.password().unwrap_or_default()).ok_or(ENCODING)?;
        if user.is_empty() || password.is_empty() {
            return Err("has a user without a password or a password without a user");
        }
        Some((user, Secret::new(password)))
    };
    // An http URL has a host, so these cannot fail.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((url.as_str().trim_end_matches('/').to_owned(), user))
}

fn is_open_and_remote(node: &str) -> bool {
    let Ok(url) = Url::parse(node) else { return false };
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    };
    url.scheme() == "http" && !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::variables;
    use crate::settings::{Settings, read_raw};

    fn checked(pairs: &[(&str, &str)]) -> (ElasticSettings, Vec<String>, Vec<String>) {
        let (mut problems, mut notices) = (Problems::default(), Vec::new());
        let raw = read_raw(&variables(pairs), "ELASTIC_").unwrap();
        (check(raw, &mut problems, &mut notices), problems.0, notices)
    }

    #[test]
    fn nodes_keep_their_path_and_lose_their_user() {
        let list = "https://u:p%40ss@a:9200/search/, https://u:p%40ss@b:9200,https://u:p%40ss@b:9200/";
        let (settings, problems, _) = checked(&[("ELASTIC_URL", list)]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.nodes, ["https://a:9200/search", "https://b:9200"]);
        let Credentials::Basic { user, password } = settings.credentials else { panic!("no user") };
        assert_eq!((user.as_str(), password.expose()), ("u", "p@ss"));
    }

    #[test]
    fn each_wrong_combination_is_named() {
        let url = ("ELASTIC_URL", "http://localhost:9200");
        let with_user = ("ELASTIC_URL", "http://u:p@localhost:9200");
        for (pairs, problem) in [
            (
                &[("ELASTIC_URL", "localhost:9200")][..],
                "ELASTIC_URL is \"localhost:9200\", which has to begin with http:// or https://",
            ),
            (
                &[("ELASTIC_URL", "ftp://h")],
                "ELASTIC_URL is \"ftp://h\", which has to begin with http:// or https://",
            ),
            (
                &[("ELASTIC_URL", "http://h,")],
                "ELASTIC_URL is \"\", which is empty, separate nodes by single commas",
            ),
            (
                &[("ELASTIC_URL", "http://h?x=1")],
                "ELASTIC_URL is \"http://h?x=1\", which must not have a ? or # part, and in a password / ? # @ , % have to be percent-encoded",
            ),
            (
                &[("ELASTIC_URL", "http://u:sec#ret@h")],
                "node 1 of ELASTIC_URL is no URL such as http://host:9200, and in a password / ? # @ , % have to be percent-encoded",
            ),
            (
                &[("ELASTIC_URL", "http://u@h")],
                "node 1 of ELASTIC_URL has a user without a password or a password without a user",
            ),
            (
                &[("ELASTIC_URL", "http://u:p@a,http://b")],
                "the nodes of ELASTIC_URL do not all have the same user and password, which are for all of them",
            ),
            (&[url, ("ELASTIC_USER", "u")], "ELASTIC_USER is set without ELASTIC_PASSWORD"),
            (&[url, ("ELASTIC_PASSWORD", "p")], "ELASTIC_PASSWORD is set without ELASTIC_USER"),
            (
                &[with_user, ("ELASTIC_API_KEY", "k")],
                "both ELASTIC_API_KEY and a user or password are set, keep one",
            ),
            (
                &[with_user, ("ELASTIC_USER", "u"), ("ELASTIC_PASSWORD", "p")],
                "both ELASTIC_URL and ELASTIC_USER or ELASTIC_PASSWORD give a user, keep one",
            ),
            (
                &[with_user, ("ELASTIC_BEARER_TOKEN", "t")],
                "both ELASTIC_BEARER_TOKEN and an API key, a user or a password are set, keep one",
            ),
            (
                &[url, ("ELASTIC_API_KEY", "k"), ("ELASTIC_BEARER_TOKEN", "t")],
                "both ELASTIC_BEARER_TOKEN and an API key, a user or a password are set, keep one",
            ),
            (
                &[url, ("ELASTIC_CLIENT_KEY", "/dev/null")],
                "ELASTIC_CLIENT_KEY is set without ELASTIC_CLIENT_CERT",
            ),
            (
                &[url, ("ELASTIC_CLIENT_CERT", "/dev/null")],
                "ELASTIC_CLIENT_CERT is set, and no node of ELASTIC_URL is written https://, where alone it is shown",
            ),
            (
                &[("ELASTIC_URL", "https://h"), ("ELASTIC_CLIENT_CERT", "/nowhere/me.pem")],
                "ELASTIC_CLIENT_CERT is \"/nowhere/me.pem\", which cannot be read: No such file or directory (os error 2)",
            ),
            (
                &[url, ("ELASTIC_API_KEY", "k"), ("ELASTIC_API_KEY_FILE", "/k")],
                "ELASTIC_API_KEY and ELASTIC_API_KEY_FILE are both set, keep one",
            ),
            (
                &[url, ("ELASTIC_CA", "/nowhere/ca.pem")],
                "ELASTIC_CA is \"/nowhere/ca.pem\", which cannot be read: No such file or directory (os error 2)",
            ),
            (&[url, ("ELASTIC_GZIP", "yes")], "ELASTIC_GZIP is \"yes\", write on or off"),
            (
                &[url, ("ELASTIC_TIMEOUT", "soon")],
                "ELASTIC_TIMEOUT is \"soon\", write seconds from 0.001 to 86400",
            ),
        ] {
            assert_eq!(checked(pairs).1, [problem], "{pairs:?}");
        }
    }

    #[test]
    fn a_secret_may_come_from_a_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "key with space \r\n").unwrap();
        let path = file.path().to_str().unwrap();
        let (settings, problems, _) =
            checked(&[("ELASTIC_URL", "https://h"), ("ELASTIC_API_KEY_FILE", path)]);
        assert_eq!(problems, [""; 0]);
        assert!(
            matches!(settings.credentials, Credentials::ApiKey(key) if key.expose() == "key with space ")
        );
        std::fs::write(file.path(), "\n").unwrap();
        let (_, problems, _) = checked(&[("ELASTIC_URL", "https://h"), ("ELASTIC_API_KEY_FILE", path)]);
        assert_eq!(problems, [format!("ELASTIC_API_KEY_FILE is {path:?}, which is empty")]);
    }

    #[test]
    fn open_credentials_to_another_machine_are_remarked_on() {
        let of = |url| checked(&[("ELASTIC_URL", url)]).2;
        assert_eq!(
            of("http://u:p@es:9200"),
            ["the credentials go unencrypted to http://es:9200, prefer https"]
        );
        assert!(
            of("http://u:p@127.0.0.1:9200").is_empty()
                && of("https://u:p@es").is_empty()
                && of("http://es").is_empty()
        );
    }

    #[test]
    fn passwords_of_a_wrong_url_are_not_shown() {
        let error = Settings::from_variables(variables(&[(
            "ELASTIC_URL",
            "http://u:hunter2@h:port, http://u:hunter2@:1",
        )]));
        assert!(!format!("{:?}", error.unwrap_err()).contains("hunter2"));
    }
}
