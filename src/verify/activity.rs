//! Whether something happened in the database that no poll sees, so that verify is due at once.
//!
//! PostgreSQL counts deleted rows of each table. When a count has moved since the last look, some of what the table's
//! rows were part of is wrong: documents of the root's rows are extra, documents of a relation's rows are different.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::now_micros;
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::postgres::{Source, TableStatistics};
use crate::store::Store;

/// What was seen at the last look, and what has been due since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyActivity {
    /// For each table, what was counted.
    tables: BTreeMap<String, String>,
    /// Since when the pass for documents is due, in microseconds since 1970.
    pub documents_due: Option<i64>,
    /// Since when the pass for extra documents is due.
    pub extras_due: Option<i64>,
}

/// Keeps what is counted before the first row is loaded, unless something was kept before.
pub fn note_first_activity(
    source: &mut Source,
    store: &Store,
    definition: &Definition,
    generation: &str,
) -> Result<()> {
    if store.meta(&place(generation))?.is_some() {
        return Ok(());
    }
    let mut activity = VerifyActivity::default();
    activity.note(&source.statistics(definition)?, 0);
    (activity.documents_due, activity.extras_due) = (None, None);
    keep(store, generation, &activity)
}

/// Looks at what is counted and keeps it with what is due.
pub fn note_activity(
    source: &mut Source,
    store: &Store,
    definition: &Definition,
    generation: &str,
) -> Result<VerifyActivity> {
    let kept = kept_activity(store, generation)?;
    let mut activity = kept.clone();
    activity.note(&source.statistics(definition)?, now_micros());
    if activity != kept {
        keep(store, generation, &activity)?;
    }
    Ok(activity)
}

/// What was seen at the last look.
pub fn kept_activity(store: &Store, generation: &str) -> Result<VerifyActivity> {
    // What cannot be read is as good as nothing seen: everything is then due.
    Ok(store.meta(&place(generation))?.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default())
}

impl VerifyActivity {
    fn note(&mut self, statistics: &[TableStatistics], now: i64) {
        for table in statistics {
            let counted = if table.has_cursor {
                table.deleted.clone()
            } else {
                format!("{} {}", table.deleted, table.changed)
            };
            let known_columns = self.tables.insert(format!("{}: columns", table.name), table.columns.clone());
            if known_columns.is_some_and(|known| known != table.columns) {
                self.documents_due = Some(now);
            }
            if self.tables.get(&table.name) == Some(&counted) {
                continue;
            }
            self.tables.insert(table.name.clone(), counted);
            if table.is_root {
                self.extras_due = Some(now);
            }
            // Without a cursor of the root, changed rows too are found by comparing.
            if table.is_related || !table.has_cursor {
                self.documents_due = Some(now);
            }
        }
    }
}

fn keep(store: &Store, generation: &str, activity: &VerifyActivity) -> Result<()> {
    let text = serde_json::to_string(activity)
        .map_err(|error| Error::wrong("cannot encode what verify has seen").because(error))?;
    store.set_meta(&place(generation), &text)
}

fn place(generation: &str) -> String {
    format!("verify_activity/{generation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, is_root: bool, has_cursor: bool, deleted: u32, changed: u32) -> TableStatistics {
        TableStatistics {
            name: name.to_owned(),
            is_root,
            is_related: !is_root,
            has_cursor,
            deleted: deleted.to_string(),
            changed: changed.to_string(),
            columns: "id 1".to_owned(),
        }
    }

    #[test]
    fn what_is_due_follows_from_the_table_whose_count_moved() {
        let mut activity = VerifyActivity::default();
        let due = |activity: &VerifyActivity| (activity.documents_due, activity.extras_due);
        activity.note(&[table("film", true, true, 0, 0), table("link", false, true, 0, 0)], 1);
        assert_eq!(due(&activity), (Some(1), Some(1)));
        activity.note(&[table("film", true, true, 0, 9), table("link", false, true, 0, 9)], 2);
        assert_eq!(due(&activity), (Some(1), Some(1)));
        activity.note(&[table("film", true, true, 1, 9), table("link", false, true, 0, 9)], 3);
        assert_eq!(due(&activity), (Some(1), Some(3)));
        // Also a count that went down: the server was reset, or a partition is gone.
        activity.note(&[table("film", true, true, 1, 9), table("link", false, true, 5, 9)], 4);
        activity.note(&[table("film", true, true, 1, 9), table("link", false, true, 4, 9)], 5);
        assert_eq!(due(&activity), (Some(5), Some(3)));
        activity.note(&[table("bare", false, false, 0, 1)], 6);
        activity.note(&[table("bare", false, false, 0, 2)], 7);
        assert_eq!(due(&activity), (Some(7), Some(3)));
        // A column of another type.
        let retyped = TableStatistics { columns: "id 2".to_owned(), ..table("film", true, true, 1, 9) };
        activity.note(&[retyped], 8);
        assert_eq!(due(&activity), (Some(8), Some(3)));
    }
}
