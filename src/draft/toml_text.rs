//! Writes names and texts as TOML.

use crate::definition::TableName;

/// A key: bare where TOML allows it.
pub(super) fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
    if is_bare { name.to_owned() } else { text(name) }
}

/// A text in double quotes.
pub(super) fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            other if other.is_control() => quoted.push_str(&format!("\\u{:04X}", other as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Several texts as an array.
pub(super) fn texts(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
}

/// Pairs of columns as an inline table.
pub(super) fn join(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(column, nearer)| format!("{} = {}", key(column), text(nearer))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A table's name as a definition takes it, within the text: parts that are not plain go in double quotes.
pub(super) fn table_name(table: &TableName) -> String {
    let part = |part: &str| {
        let is_plain =
            !part.is_empty() && part.chars().all(|character| character.is_alphanumeric() || character == '_');
        if is_plain { part.to_owned() } else { format!("\"{}\"", part.replace('"', "\"\"")) }
    };
    format!("{}.{}", part(&table.schema), part(&table.name))
}

/// A comment, in which nothing can end the line.
pub(super) fn comment(words: &str) -> String {
    let line: String =
        words.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    format!("# {line}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_read_back_as_they_were() {
        for name in ["id", "Group By", "a.b", "a\"b\\c", "größe", "", "new\nline", "\u{7f}\u{1}", "'", "#"]
        {
            let written = format!("{} = {}\n", key(name), text(name));
            let read: toml::Table = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(read.get(name).and_then(|value| value.as_str()), Some(name), "{written}");
        }
        let table = TableName { schema: "my shop".to_owned(), name: "a\"b.c".to_owned() };
        assert_eq!(table_name(&table), r#""my shop"."a""b.c""#);
        assert_eq!(comment("a\nb"), "# a b");
    }
}
