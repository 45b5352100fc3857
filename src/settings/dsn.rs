//! Takes a connection string apart, in both forms that libpq knows: a URL and `key=value` pairs.
//!
//! We do it ourselves, since the client library knows neither `sslmode=verify-full` nor `sslrootcert`, and its errors
//! can quote pieces of a password. Ours never show any part of the string but the names of known parameters.

/// The parameters of a connection string in the order written; several hosts and ports are joined with commas.
pub(super) type Parameters = Vec<(String, String)>;

/// Takes a connection string apart, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Parameters, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        return parse_url(rest);
    }
    let scheme_end = text.find("://").unwrap_or(usize::MAX);
    if scheme_end < text.find('=').unwrap_or(text.len()) {
        return Err("has to begin with postgresql://".to_owned());
    }
    parse_pairs(text)
}

const ENCODING: &str = "in a user or password / ? # @ : % have to be percent-encoded";

fn parse_url(rest: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let mut push = |name: &str, value: String| {
        if !value.is_empty() {
            parameters.push((name.to_owned(), value));
        }
    };
    let decode =
        |part: &str| percent_decoded(part).ok_or_else(|| format!("is not well percent-encoded, {ENCODING}"));

    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    if rest.contains('@') && !authority.contains('@') && authority.contains(':') {
        return Err(format!("has an @ behind its / or ?, {ENCODING} (also in a parameter)"));
    }
    let hosts = match authority.split_once('@') {
        None => authority,
        Some((_, hosts)) if hosts.contains('@') => return Err(format!("has two @, {ENCODING}")),
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            push("user", decode(user)?);
            push("password", decode(password)?);
            hosts
        }
    };
    if !hosts.is_empty() {
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) =
                host_and_port(host).ok_or("has a host that is not written as name:port or [address]:port")?;
            names.push(decode(name)?);
            ports.push(decode(port)?);
        }
        push("host", names.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            push("port", ports.join(","));
        }
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    push("dbname", decode(path.strip_prefix('/').unwrap_or(path))?);
    for (position, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("has no = in parameter {} behind its ?", position + 1))?;
        push(&decode(name)?, decode(value)?);
    }
    Ok(parameters)
}

fn host_and_port(text: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        return if rest.is_empty() { Some((address, "")) } else { Some((address, rest.strip_prefix(':')?)) };
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    (!port.contains(':')).then_some((name, port))
}

fn parse_pairs(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let place = parameters.len() + 1;
        let form = || {
            format!(
                "is neither a URL nor key=value pairs (pair {place} is wrong, a value with spaces goes in single quotes)"
            )
        };
        let (name, after) = rest.split_once('=').ok_or_else(form)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('\'') {
            return Err(form());
        }
        let (value, after) = pair_value(after.trim_start()).ok_or_else(form)?;
        parameters.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    // An empty value means the default.
    parameters.retain(|(_, value)| !value.is_empty());
    Ok(parameters)
}

/// Reads a value and returns what is behind it; a backslash takes the next character as it is.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let is_quoted = text.starts_with('\'');
    let text = text.strip_prefix('\'').unwrap_or(text);
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            other if other.is_whitespace() && !is_quoted => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!is_quoted).then_some((value, ""))
}

/// Decodes `%41`; nothing if a `%` is not followed by two hex digits, or the result is no UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> String {
        let pairs: Vec<String> =
            parse(text).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn both_forms_are_taken_apart() {
        for (text, parts) in [
            (
                "postgresql://u:p%40%2F@h:5433/db?sslmode=verify-full&sslrootcert=%2Fca.pem",
                "user=u password=p@/ host=h port=5433 dbname=db sslmode=verify-full sslrootcert=/ca.pem",
            ),
            ("postgres://h", "host=h"),
            ("postgres://u@a,b:2,[::1]:3/db", "user=u host=a,b,::1 port=,2,3 dbname=db"),
            ("postgresql://%2Fvar%2Frun%2Fpostgresql/db", "host=/var/run/postgresql dbname=db"),
            ("postgresql:///db?host=/tmp&port=6000", "dbname=db host=/tmp port=6000"),
            ("host=h user = u password='it\\'s a' dbname=d\\ b", "host=h user=u password=it's a dbname=d b"),
            ("host=h password='' port=5", "host=h port=5"),
            ("host=h options='-c a=b://c'", "host=h options=-c a=b://c"),
        ] {
            assert_eq!(joined(text), parts, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_the_string() {
        for (text, problem) in [
            ("mysql://u:hunter@h/d", "has to begin with postgresql://"),
            (
                "postgres://u:hun@ter@h/d",
                "has two @, in a user or password / ? # @ : % have to be percent-encoded",
            ),
            (
                "postgres://u:hun/ter@h/d",
                "has an @ behind its / or ?, in a user or password / ? # @ : % have to be percent-encoded (also in a parameter)",
            ),
            (
                "postgres://u:hunter%@h/d",
                "is not well percent-encoded, in a user or password / ? # @ : % have to be percent-encoded",
            ),
            ("postgres://hunter:1:2/d", "has a host that is not written as name:port or [address]:port"),
            ("postgres://h/d?hunter", "has no = in parameter 1 behind its ?"),
            (
                "hunter",
                "is neither a URL nor key=value pairs (pair 1 is wrong, a value with spaces goes in single quotes)",
            ),
            (
                "host=h password=hun ter x=1",
                "is neither a URL nor key=value pairs (pair 3 is wrong, a value with spaces goes in single quotes)",
            ),
            (
                "host=h password='hunter",
                "is neither a URL nor key=value pairs (pair 2 is wrong, a value with spaces goes in single quotes)",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), problem, "{text}");
        }
    }
}
