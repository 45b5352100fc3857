//! The rules for the name of an index alias, as Elasticsearch and OpenSearch check them.

/// The longest name of an index in bytes (Elasticsearch, "Create index API", path parameters).
const INDEX_NAME_MAX_BYTES: usize = 255;

/// What is kept free for the suffixes of a generation and of its write alias: `-20261123t101500-write`, and some more.
const SUFFIX_BYTES: usize = 32;

/// The longest alias in bytes that leaves room for the names of its generations.
const ALIAS_MAX_BYTES: usize = INDEX_NAME_MAX_BYTES - SUFFIX_BYTES;

/// Characters that an index or alias name must not hold.
const FORBIDDEN: &str = "\\/*?\"<>| ,#:";

/// Says what is wrong with `alias` as the name of an index alias, and what would be right; nothing if it is right.
pub(crate) fn problem_with(alias: &str) -> Option<String> {
    if alias.is_empty() {
        return Some("an index name is not empty".to_owned());
    }
    if alias.starts_with(['-', '_', '+', '.']) {
        return Some("an index name does not start with - _ + or .".to_owned());
    }
    if alias.chars().any(char::is_uppercase) {
        return Some(format!("an index name is lower case, write {:?}", alias.to_lowercase()));
    }
    let forbidden = |character: &char| FORBIDDEN.contains(*character) || character.is_control();
    if let Some(character) = alias.chars().find(forbidden) {
        return Some(format!("an index name holds no {character:?}"));
    }
    if alias.len() > ALIAS_MAX_BYTES {
        return Some(format!(
            "an index name has at most {ALIAS_MAX_BYTES} bytes here, so that {INDEX_NAME_MAX_BYTES} hold it with its generation, this one has {}",
            alias.len()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_server_would_refuse_are_refused_with_the_reason() {
        for (alias, part) in [
            ("", "not empty"),
            ("_movies", "does not start with"),
            ("-movies", "does not start with"),
            (".movies", "does not start with"),
            ("Movies", "write \"movies\""),
            ("a b", "no ' '"),
            ("a:b", "no ':'"),
            ("a#b", "no '#'"),
            ("a,b", "no ','"),
            ("a*", "no '*'"),
            (&"m".repeat(224), "this one has 224"),
        ] {
            let problem = problem_with(alias).unwrap_or_else(|| panic!("{alias} was taken"));
            assert!(problem.contains(part), "{alias}: {problem}");
        }
        for alias in ["movies", "movies-classic_2.0", "фильмы", &"m".repeat(223)] {
            assert_eq!(problem_with(alias), None, "{alias}");
        }
    }
}
