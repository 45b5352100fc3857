//! Looks root keys up: which have a row, whose hash is an id of the index, some at random.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::key::{HASHED_ID_PREFIX, ID_MAX_BYTES, Key};
use crate::plan::PlannedColumn;
use crate::postgres::Source;
use crate::postgres::plan::RootPlan;
use crate::postgres::poll::row_key;
use crate::postgres::ranges::{initial_condition, match_keys};
use crate::postgres::select::for_key;
use crate::postgres::source::stream;
use crate::postgres::sql::Parameters;

/// A sample is drawn from pages that hold about this many times as many rows.
const SAMPLE_SURPLUS: u64 = 10;

/// Types of which no text is long or empty.
const SHORT_TYPES: [&str; 4] = ["smallint", "integer", "bigint", "uuid"];

impl Source {
    /// Which of the given root keys have a row that the definition makes a document of.
    pub fn existing_keys(&mut self, keys: &[Key]) -> Result<HashSet<Key>> {
        self.matching_keys(keys, None)
    }

    /// Which of them a full load with `INITIAL_TIMESTAMP` (microseconds since 1970) takes.
    pub fn loaded_keys(&mut self, keys: &[Key], initial_timestamp: i64) -> Result<HashSet<Key>> {
        self.matching_keys(keys, Some(initial_timestamp))
    }

    fn matching_keys(&mut self, keys: &[Key], initial: Option<i64>) -> Result<HashSet<Key>> {
        let (keys, _) = self.split_castable(keys.to_vec())?;
        let plan = Arc::clone(&self.plan);
        let mut parameters = Parameters::default();
        let (from, mut conditions) = match_keys(&plan.root, &keys, &mut parameters);
        if let (Some(initial), Some((cursor, kind))) = (initial, &plan.root.cursor) {
            conditions.push(initial_condition(cursor, *kind, initial, &self.timezone));
        }
        let mut existing = HashSet::new();
        self.begin()?;
        self.read_keys(&plan.root, &from, conditions, "", parameters, &mut |key| {
            existing.insert(key);
        })?;
        self.commit()?;
        Ok(existing)
    }

    /// Which of the given hashed ids are those of rows that have a document.
    ///
    /// The hash says nothing of its row, so the table is read once, and the hash made of each key that is long enough.
    pub fn hashed_ids_with_row(&mut self, ids: &HashSet<String>) -> Result<HashSet<String>> {
        self.begin()?;
        let found = self.hashed_ids_in_snapshot(ids)?;
        self.commit()?;
        Ok(found)
    }

    pub(super) fn hashed_ids_in_snapshot(&mut self, ids: &HashSet<String>) -> Result<HashSet<String>> {
        let mut found = HashSet::new();
        let plan = Arc::clone(&self.plan);
        if ids.is_empty() || plan.root.key_types().iter().all(|kind| SHORT_TYPES.contains(kind)) {
            return Ok(found);
        }
        let conditions = vec![long_key_condition(&plan.root)];
        let from = format!("{} as t", plan.root.table);
        self.read_keys(&plan.root, &from, conditions, "", Parameters::default(), &mut |key| {
            let id = key.document_id();
            if ids.contains(id.as_ref()) {
                found.insert(id.into_owned());
            }
        })?;
        Ok(found)
    }

    /// Returns up to `count` keys of rows that have a document, chosen at random.
    pub fn random_keys(&mut self, count: usize) -> Result<Vec<Key>> {
        let plan = Arc::clone(&self.plan);
        let wanted = (count as u64).saturating_mul(SAMPLE_SURPLUS);
        // Pages of a large table are chosen first: sorting all of it at random would read all of it.
        let sample = match plan.root.row_estimate {
            Some(rows) if plan.root.has_pages && rows / 4 > wanted => {
                format!(" tablesample system ({:.6})", 100.0 * wanted as f64 / rows as f64)
            }
            _ => String::new(),
        };
        let from = format!("{} as t{sample}", plan.root.table);
        let order = format!(" order by random() limit {count}");
        let mut keys = Vec::new();
        self.begin()?;
        self.read_keys(&plan.root, &from, Vec::new(), &order, Parameters::default(), &mut |key| {
            keys.push(key);
        })?;
        self.commit()?;
        Ok(keys)
    }

    /// Reads, in the open snapshot, the keys of the root rows that meet the conditions and the definition's own.
    fn read_keys(
        &mut self,
        root: &RootPlan,
        from: &str,
        mut conditions: Vec<String>,
        order: &str,
        parameters: Parameters,
        take: &mut dyn FnMut(Key),
    ) -> Result<()> {
        let mut expressions = Vec::new();
        let mut columns = Vec::new();
        for (position, key) in root.key.iter().enumerate() {
            let (expression, format) = for_key("t", &key.column);
            expressions.push(expression);
            columns.push(PlannedColumn { position, format });
        }
        conditions.extend(root.condition.iter().map(|condition| format!("({condition}\n)")));
        if conditions.is_empty() {
            conditions.push("true".to_owned());
        }
        let statement = format!(
            "select {} from {from} where {}{order}",
            expressions.join(", "),
            conditions.join(" and ")
        );
        let formats: Vec<_> = columns.iter().map(|column| column.format).collect();
        stream(
            &mut self.client,
            &statement,
            parameters,
            &formats,
            &format!("keys of {}", root.name),
            &mut |row| {
                if let Some(key) = row_key(row, &columns) {
                    take(key);
                }
                Ok(true)
            },
        )
    }
}

/// Whether an id is made by hashing a key.
pub fn is_hashed_id(id: &str) -> bool {
    id.strip_prefix(HASHED_ID_PREFIX).is_some_and(|hash| {
        hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Holds for every key whose id is hashed, and for some others: a character has up to four bytes, and in a key of
/// several columns it may be escaped.
fn long_key_condition(root: &RootPlan) -> String {
    let texts: Vec<String> = root.key.iter().map(|key| format!("{}::text", key.quoted)).collect();
    if let [text] = texts.as_slice() {
        return format!("(char_length({text}) > {} or {text} = '')", ID_MAX_BYTES / 4);
    }
    let lengths: Vec<String> = texts.iter().map(|text| format!("char_length({text})")).collect();
    format!("{} > {}", lengths.join(" + "), ID_MAX_BYTES.saturating_sub(texts.len()) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hashed_id_is_known_by_its_form() {
        assert!(is_hashed_id(&Key::from_encoded("x".repeat(600)).document_id()));
        assert!(!is_hashed_id("sha256:") && !is_hashed_id("sha256:xyz") && !is_hashed_id("x"));
        assert!(!is_hashed_id(&format!("sha256:{}", "A".repeat(64))));
    }
}
