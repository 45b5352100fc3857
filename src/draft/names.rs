//! Names for what a draft makes: fields, relations, the index.

use std::collections::HashSet;

use crate::alias;

/// An alias made of a table's name; `documents` where nothing of it is left.
pub(super) fn index_name(table: &str) -> String {
    let mut name: String = table
        .to_lowercase()
        .chars()
        .map(|character| if character.is_alphanumeric() || character == '_' { character } else { '-' })
        .collect();
    name = name.trim_start_matches(['-', '_']).trim_end_matches('-').to_owned();
    if alias::problem_with(&name).is_some() { "documents".to_owned() } else { name }
}

/// A name that a field or relation can have: what has a meaning in field names, or cannot be seen, becomes `_`.
pub(super) fn plain(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(
            |character| if character.is_alphanumeric() || "_-".contains(character) { character } else { '_' },
        )
        .collect();
    if plain.chars().all(|character| character == '_') { "field".to_owned() } else { plain }
}

/// What a column that refers to a row calls that row: `language` for `language_id`; nothing where that is not said.
pub(super) fn referred(column: &str) -> Option<&str> {
    for suffix in ["_id", "_uuid", "_fk", "_no", "_key", "_code", "Id", "ID"] {
        if let Some(stem) = column.strip_suffix(suffix)
            && !stem.is_empty()
        {
            return Some(stem);
        }
    }
    ["id_", "fk_"].into_iter().find_map(|prefix| column.strip_prefix(prefix)).filter(|stem| !stem.is_empty())
}

/// Names that were given; each is given once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The first of the wishes that is free, else the first with a number.
    pub(super) fn give(&mut self, wishes: &[String]) -> String {
        let first = wishes.first().map_or("field", String::as_str);
        let numbered = (2..).map(|number| format!("{first}_{number}"));
        for name in wishes.iter().cloned().chain(numbered) {
            if self.0.insert(name.clone()) {
                return name;
            }
        }
        first.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_gives_a_name_that_an_index_can_have() {
        for (table, index) in [
            ("film", "film"),
            ("Film Work", "film-work"),
            ("_t", "t"),
            ("a\"b.c", "a-b-c"),
            ("Фильмы", "фильмы"),
            ("!!!", "documents"),
        ] {
            assert_eq!(index_name(table), index);
        }
        let mut names = Names::default();
        assert_eq!(names.give(&["a".to_owned()]), "a");
        assert_eq!(names.give(&["a".to_owned(), "b".to_owned()]), "b");
        assert_eq!(names.give(&["a".to_owned(), "b".to_owned()]), "a_2");
        assert_eq!(referred("original_language_id"), Some("original_language"));
        assert_eq!((referred("id"), referred("_id")), (None, None));
        assert_eq!((plain("a.b*"), plain(".")), ("a_b_".to_owned(), "field".to_owned()));
    }
}
