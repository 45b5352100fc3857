//! Tells keys that can be a key of the root table from those that cannot, such as ids that someone else wrote into
//! an index: one of them in a statement would make all of it fail.

use crate::error::Result;
use crate::key::Key;
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::sql::Parameters;

/// What this process can say by itself of a text that is to be cast to a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Castable,
    NotCastable,
    AskServer,
}

impl Source {
    /// Splits keys into those that PostgreSQL can cast to the root key's types and the others, which have no row.
    pub(super) fn split_castable(&mut self, keys: Vec<Key>) -> Result<(Vec<Key>, Vec<Key>)> {
        let plan = std::sync::Arc::clone(&self.plan);
        let types = plan.root.key_types();
        let mut castable = Vec::with_capacity(keys.len());
        let mut others = Vec::new();
        let mut to_ask = Vec::new();
        for key in keys {
            match verdict(&key, &types) {
                Verdict::Castable => castable.push(key),
                Verdict::NotCastable => others.push(key),
                Verdict::AskServer => to_ask.push(key),
            }
        }
        let mut pieces = vec![to_ask];
        while let Some(mut piece) = pieces.pop() {
            if piece.is_empty() {
                continue;
            }
            if self.are_castable(&piece, &types)? {
                castable.append(&mut piece);
            } else if piece.len() == 1 {
                others.append(&mut piece);
            } else {
                pieces.push(piece.split_off(piece.len() / 2));
                pieces.push(piece);
            }
        }
        Ok((castable, others))
    }

    /// Those of the keys that cannot be keys of the root table, whatever rows it has.
    pub fn impossible_keys(&mut self, keys: &[Key]) -> Result<Vec<Key>> {
        Ok(self.split_castable(keys.to_vec())?.1)
    }

    /// The root key as its columns' names and types, for messages: `id uuid`, or `a integer | b text`.
    pub fn root_key_description(&self) -> String {
        let columns = self.plan.root.key.iter().map(|key| &key.column);
        columns.map(|column| format!("{} {}", column.name, column.type_name)).collect::<Vec<_>>().join(" | ")
    }

    fn are_castable(&mut self, keys: &[Key], types: &[&str]) -> Result<bool> {
        let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); types.len()];
        for key in keys {
            for (column, text) in columns.iter_mut().zip(key.columns(types.len()).unwrap_or_default()) {
                column.push(text);
            }
        }
        let mut parameters = Parameters::default();
        let mut casts = Vec::new();
        for (place, (column, type_name)) in columns.into_iter().zip(types).enumerate() {
            casts.push(if type_name.ends_with("[]") {
                // There is no array of arrays; each text is cast when it is counted.
                format!("(select count(x.k::{type_name}) from unnest(${}::text[]) as x(k))", place + 1)
            } else {
                format!("${}::text[]::{type_name}[] is not null", place + 1)
            });
            parameters.texts(column);
        }
        match self.client.query_typed(&format!("select {}", casts.join(", ")), &parameters.as_values()) {
            Ok(_) => Ok(true),
            // Class 22 is "data exception": a text that its type does not take. 23 is a domain's check.
            Err(error) if error.code().is_some_and(|code| matches!(&code.code()[..2], "22" | "23")) => {
                Ok(false)
            }
            Err(error) => Err(classify(&error, "cannot read keys of the root table".to_owned())),
        }
    }
}

/// Whether no row of the root table can have this key, as far as that is known without asking.
pub(super) fn is_surely_no_key(key: &Key, types: &[&str]) -> bool {
    verdict(key, types) == Verdict::NotCastable
}

fn verdict(key: &Key, types: &[&str]) -> Verdict {
    let Some(columns) = key.columns(types.len()) else { return Verdict::NotCastable };
    let mut verdict = Verdict::Castable;
    for (text, type_name) in columns.iter().zip(types) {
        // PostgreSQL's text holds no NUL.
        let is_castable = !text.contains('\0')
            && match *type_name {
                "smallint" => text.parse::<i16>().is_ok(),
                "integer" => text.parse::<i32>().is_ok(),
                "bigint" => text.parse::<i64>().is_ok(),
                "uuid" => uuid::Uuid::try_parse(text).is_ok(),
                "text" | "character varying" => true,
                _ => {
                    verdict = Verdict::AskServer;
                    true
                }
            };
        if !is_castable {
            return Verdict::NotCastable;
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_key_of_the_table_is_known_without_asking() {
        let key = |text: &str| Key::from_encoded(text);
        assert_eq!(verdict(&key("7"), &["bigint"]), Verdict::Castable);
        assert_eq!(verdict(&key("seven"), &["bigint"]), Verdict::NotCastable);
        assert_eq!(verdict(&key("40000"), &["smallint"]), Verdict::NotCastable);
        assert_eq!(verdict(&key("x"), &["uuid"]), Verdict::NotCastable);
        assert_eq!(verdict(&key("a\0"), &["text"]), Verdict::NotCastable);
        assert_eq!(verdict(&key("1"), &["integer", "text"]), Verdict::NotCastable);
        assert_eq!(verdict(&key("1|b"), &["integer", "text"]), Verdict::Castable);
        assert_eq!(verdict(&key("1|2024-01-01"), &["integer", "date"]), Verdict::AskServer);
    }
}
