//! Names of tables and columns as a definition writes them.
//!
//! A name is taken exactly as it is written, case included: nothing is folded as unquoted names in SQL are. A table is
//! `name` (in the schema `public`) or `schema.name`; a part with a dot, a space or a quote goes in double quotes,
//! where `""` is one quote: `"my schema"."t"`.

use crate::definition::TableName;

/// PostgreSQL cuts longer names off (`NAMEDATALEN - 1`).
const NAME_MAX_BYTES: usize = 63;

/// The schema of tables that name none.
const DEFAULT_SCHEMA: &str = "public";

/// Reads a table's name, or says what would be right.
pub(super) fn parse_table(text: &str) -> Result<TableName, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = parse_part(rest)?;
        if let Some(problem) = problem_with(&part) {
            return Err(problem);
        }
        parts.push(part);
        if after.is_empty() {
            break;
        }
        rest = after.strip_prefix('.').ok_or("write schema.table, with a dot between the quoted parts")?;
    }
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok(TableName { schema, name }),
        Err(mut parts) if parts.len() == 1 => {
            Ok(TableName { schema: DEFAULT_SCHEMA.to_owned(), name: parts.remove(0) })
        }
        Err(parts) => Err(format!(
            "a table has a schema and a name at most, these are {} parts; put a part with a dot in double quotes",
            parts.len()
        )),
    }
}

fn parse_part(text: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut part = String::new();
        let mut rest = quoted;
        loop {
            let (piece, after) = rest.split_once('"').ok_or("the closing double quote is missing")?;
            part.push_str(piece);
            match after.strip_prefix('"') {
                Some(after) => {
                    part.push('"');
                    rest = after;
                }
                None => return Ok((part, after)),
            }
        }
    }
    let (part, _) = text.split_once('.').unwrap_or((text, ""));
    if let Some(odd) =
        part.chars().find(|character| character.is_whitespace() || "\"'`;,()[]".contains(*character))
    {
        return Err(format!("put the part with {odd:?} in double quotes, as in \"my schema\".\"my table\""));
    }
    Ok((part.to_owned(), &text[part.len()..]))
}

/// Says what is wrong with the name of a column or a part of a table's name; nothing if it is right.
pub(super) fn problem_with(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name is not empty".to_owned());
    }
    if name.contains('\0') {
        return Some("a name holds no zero byte".to_owned());
    }
    if name.len() > NAME_MAX_BYTES {
        return Some(format!(
            "a name has at most {NAME_MAX_BYTES} bytes in PostgreSQL, this one has {}",
            name.len()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_written() {
        for (text, schema, name) in [
            ("film_work", "public", "film_work"),
            ("content.film_work", "content", "film_work"),
            ("Content.Film", "Content", "Film"),
            ("\"my schema\".\"t\"", "my schema", "t"),
            ("\"a.b\".\"c\"\"d\"", "a.b", "c\"d"),
            ("s.\"T 1\"", "s", "T 1"),
            ("\"only\"", "public", "only"),
            ("схема.таблица", "схема", "таблица"),
        ] {
            let expected = TableName { schema: schema.to_owned(), name: name.to_owned() };
            assert_eq!(parse_table(text), Ok(expected), "{text}");
        }
        for text in
            ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a b", "a\"b\"", "a;b", &"x".repeat(64), "\"\".a"]
        {
            assert!(parse_table(text).is_err(), "{text}");
        }
    }
}
