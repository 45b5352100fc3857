//! The members of a JSON object, one by one, as they are written.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order; none of anything else.
///
/// A name that stands twice, as `json` allows, counts where it stands last, as in `jsonb`: an index server refuses a
/// document with it.
pub(super) fn members(json: &[u8]) -> Vec<(String, Box<RawValue>)> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    parser.deserialize_any(Members).unwrap_or_default()
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((name, value)) = entries.next_entry::<String, Box<RawValue>>()? {
            match places.get(&name) {
                Some(place) => {
                    let (_, known): &mut (String, Box<RawValue>) = &mut members[*place];
                    *known = value;
                }
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_digits_and_the_last_of_a_name_counts() {
        let found: Vec<(String, String)> =
            members(br#"{"b": 1.50, "a": {"x": [1, 1e400]}, "b": 12345678901234567890}"#)
                .into_iter()
                .map(|(name, value)| (name, value.get().to_owned()))
                .collect();
        let expected = [("b", "12345678901234567890"), ("a", r#"{"x": [1, 1e400]}"#)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for other in ["[1]", "1", "\"x\"", "null", "{}", "true"] {
            assert!(members(other.as_bytes()).is_empty(), "{other}");
        }
    }
}
