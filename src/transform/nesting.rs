//! How deep a document is nested: one that is too deep is refused here, since not every index server survives it.
//!
//! Elasticsearch 7.17 has no limit of its own and ends with a stack overflow; Elasticsearch from 8 refuses more than
//! [`NESTING_MAX`] levels; OpenSearch 2 takes objects of any depth and fails in searches that read them.

use crate::plan::PlannedField;

/// The most objects and lists within one another, the document being the first: what Elasticsearch 8 and later take.
const NESTING_MAX: usize = 1_000;

/// What is wrong with a document that is nested too deep; nothing if it is not.
///
/// All of the document counts, whatever gave it: JSON columns, alone or in arrays and composites, SQL, constants, and
/// relations below relations.
pub(super) fn too_deep(document: &[u8], fields: &[PlannedField]) -> Option<String> {
    // Each level takes two bytes at least, and nearly all documents have far fewer levels than brackets: only what is
    // long and full of them is looked at closely.
    if document.len() <= 2 * NESTING_MAX || bracket_count(document) <= NESTING_MAX {
        return None;
    }
    let nesting = Nesting::of(document);
    if nesting.depth <= NESTING_MAX {
        return None;
    }
    // The members of a flattened column are no fields of ours, and their names are data.
    let is_known = |field: &&PlannedField| field.label.strip_suffix(b":") == Some(nesting.deepest_member);
    let field = fields.iter().find(is_known).map(PlannedField::name);
    let place = field.map_or(String::new(), |name| format!(" in the field {name}"));
    Some(format!(
        "the document is nested {} levels deep{place}, index servers take {NESTING_MAX} (objects and lists count alike)",
        nesting.depth
    ))
}

/// How many objects and lists begin in the document, and brackets of its strings.
fn bracket_count(document: &[u8]) -> usize {
    // `[` and `{` differ in one bit.
    document.iter().filter(|byte| **byte | 0x20 == b'{').count()
}

struct Nesting<'d> {
    depth: usize,
    /// The quoted name of the document's member that goes deepest.
    deepest_member: &'d [u8],
}

impl<'d> Nesting<'d> {
    fn of(document: &'d [u8]) -> Self {
        let mut found = Nesting { depth: 0, deepest_member: b"" };
        let mut depth = 0;
        let mut member: &[u8] = b"";
        let mut at = 0;
        while let Some(byte) = document.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'"' => {
                    at = string_end(document, at);
                    if depth == 1 {
                        member = &document[start..at];
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > found.depth {
                        found = Nesting { depth, deepest_member: member };
                    }
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        found
    }
}

/// Where the string ends whose first character is at `at`.
fn string_end(document: &[u8], mut at: usize) -> usize {
    while let Some(byte) = document.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    document.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlannedSource;

    fn fields(names: &[&str]) -> Vec<PlannedField> {
        let source = || PlannedSource::Constant(b"1".to_vec());
        names
            .iter()
            .map(|name| PlannedField { label: format!("{name:?}:").into_bytes(), source: source() })
            .collect()
    }

    /// A document whose member `deep` reaches this depth.
    fn nested(depth: usize, open: &str, close: &str) -> Vec<u8> {
        let value = format!("{}{}", open.repeat(depth - 1), close.repeat(depth - 1));
        format!(r#"{{"id":"[[{{\"","deep":{value},"after":{{"x":[]}}}}"#).into_bytes()
    }

    #[test]
    fn a_document_is_too_deep_from_the_first_level_over_the_limit() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[ {\"]\\\"\": ", "} ]")] {
            let levels = open.matches(['[', '{']).count();
            let depth = 1 + (NESTING_MAX - 1) / levels;
            let deepest_allowed = nested(depth, open, close);
            assert_eq!(too_deep(&deepest_allowed, &fields(&["id", "deep"])), None, "{open}");
            let one_more = nested(depth + 1, open, close);
            let reason = too_deep(&one_more, &fields(&["id", "deep"])).unwrap();
            let depth = 1 + depth * levels;
            assert!(reason.contains(&format!("{depth} levels deep in the field deep,")), "{reason}");
            assert!(too_deep(&one_more, &fields(&["id"])).unwrap().contains(" deep, index servers"));
        }
    }

    #[test]
    fn many_brackets_are_no_depth() {
        let list = format!("{{\"a\":[{}{{}}]}}", "{\"b\":[1]},".repeat(5_000));
        assert_eq!(too_deep(list.as_bytes(), &[]), None);
        let text = format!("{{\"a\":\"{}\\\\\"}}", "[{\\\"".repeat(5_000));
        assert_eq!(too_deep(text.as_bytes(), &[]), None);
        assert_eq!(Nesting::of(text.as_bytes()).depth, 1);
        // What was cut off in a string has an end all the same.
        assert_eq!(Nesting::of(b"{\"a\":\"x\\").depth, 1);
    }
}
