//! Reads the tables that name deleted rows of the root: `[[tombstone]]`.

use crate::definition::parse::read_table;
use crate::definition::relation::read_join;
use crate::definition::section::{Problems, Section, kind};
use crate::definition::{TableName, Tombstone};

pub(super) const FIELDS: &[&str] = &["table", "key", "cursor", "on", "where"];

/// Reads all of them. Whether `on` names the root's key is seen when the key is known.
pub(super) fn read_tombstones(
    top: &Section<'_>,
    root: &TableName,
    problems: &mut Problems<'_>,
) -> Vec<Tombstone> {
    const ADVICE: &str = "write sections as [[tombstone]]";
    let Some(value) = top.get("tombstone") else { return Vec::new() };
    let Some(all) = value.get_ref().as_array() else {
        problems.add(&value.span(), "tombstone", format!("{ADVICE}, this is {}", kind(value)));
        return Vec::new();
    };
    let mut tombstones = Vec::new();
    for value in all {
        let Some(section) = Section::of(value, "tombstone".to_owned(), ADVICE, problems) else { continue };
        section.refuse_unknown(FIELDS, problems);
        let table = read_table(&section, problems);
        section.required_text(
            "cursor",
            "write cursor = \"<the column that says when it was written>\"",
            problems,
        );
        tombstones.push(Tombstone {
            on: read_join(&section, &table, root, problems),
            key: section.columns("key", problems),
            cursor: section.column("cursor", problems).unwrap_or_default(),
            condition: section.text("where", problems).map(|condition| condition.text),
            table,
        });
    }
    tombstones
}

#[cfg(test)]
mod tests {
    use crate::definition::parse;

    #[test]
    fn they_reach_the_checked_definition_in_their_order() {
        let tombstone = "[[tombstone]]\ntable = 'audit'\ncursor = 'at'\non = { b = 'y', a = 'x' }\n";
        let text = format!(
            "version = 1\nindex = 'i'\nmapping = 'm'\n[root]\ntable = 't'\n\
             {tombstone}where = 'c'\nkey = ['n']\n{tombstone}[document]\nx = 'x'\n"
        );
        let definition = parse(&text, "test", &|_| Ok(r#"{"mappings": {}}"#.to_owned())).unwrap();
        let [first, second] = definition.tombstones.as_slice() else { panic!() };
        assert_eq!((first.condition.as_deref(), first.key.as_slice()), (Some("c"), &["n".to_owned()][..]));
        assert_eq!((second.condition.as_deref(), second.cursor.as_str()), (None, "at"));
        let mut pairs: Vec<(&str, &str)> =
            first.on.iter().map(|join| (join.column.as_str(), join.nearer.as_str())).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("a", "x"), ("b", "y")]);
        assert!(definition.tables().iter().any(|table| table.name == "audit"));
    }
}
