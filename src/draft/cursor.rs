//! Finds the column of a table that tells when a row was last written, by its name and type.

use crate::form::Form;
use crate::postgres::{SurveyedColumn, SurveyedTable};

/// Names, without case and underscores, of a column that is set by every write.
const WRITTEN: &[&str] = &[
    "updatedat",
    "modifiedat",
    "modified",
    "lastupdate",
    "lastupdated",
    "lastmodified",
    "changedat",
    "changed",
    "updated",
    "lastchanged",
    "lastchange",
    "updatetime",
    "modifiedon",
    "updatedon",
    "changedon",
    "dateupdated",
    "datemodified",
    "updatedate",
    "modifieddate",
    "lastmodifieddate",
    "modifytime",
    "modificationtime",
    "mtime",
];

/// Names of a column that is set when the row is made.
const MADE: &[&str] = &[
    "createdat",
    "created",
    "createdon",
    "datecreated",
    "creationtime",
    "createtime",
    "insertedat",
    "addedat",
    "ctime",
];

/// Parts of longer names that say the same as [`WRITTEN`].
const PARTS: &[&str] = &["updated", "modified", "changed", "lastupdate"];

/// The likely cursor of a table, and what there is to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) column: String,
    /// What the operator should know of it.
    pub(super) doubt: Option<String>,
    /// Whether it has no time zone.
    pub(super) is_zoneless: bool,
}

/// How far a column is from the best cursor: by name, whether it may be NULL, by type, by its place among the names.
type Rank = (usize, bool, usize, usize);

/// The likely cursor; rows of a link table are rarely updated, so there the time of their making will do.
pub(super) fn cursor(table: &SurveyedTable, is_link: bool) -> Option<Cursor> {
    let mut best: Option<(Rank, &SurveyedColumn)> = None;
    for column in &table.columns {
        let Some(type_rank) = type_rank(column) else { continue };
        let plain: String =
            column.name.to_lowercase().chars().filter(|character| character.is_alphanumeric()).collect();
        let written = WRITTEN.iter().position(|name| *name == plain);
        let (class, place) = match written {
            Some(place) => (0, place),
            None if PARTS.iter().any(|part| plain.contains(part)) => (1, 0),
            None => match MADE.iter().position(|name| *name == plain) {
                Some(place) if is_link => (2, place),
                _ => continue,
            },
        };
        let rank = (class, !column.not_null, type_rank, place);
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, column));
        }
    }
    let ((class, ..), column) = best?;
    let mut doubts = Vec::new();
    if class == 1 {
        doubts.push("is taken for its cursor by a part of its name");
    }
    if class == 2 {
        doubts.push("is set when a link is made: an update of a link is seen by verify only");
    }
    if !column.not_null {
        doubts.push("may be NULL, and polling does not see such rows");
    }
    if *column.form == Form::Date {
        doubts.push("is a date, so every poll reads the rows of two days");
    }
    Some(Cursor {
        column: column.name.clone(),
        doubt: (!doubts.is_empty()).then(|| doubts.join("; it ")),
        is_zoneless: *column.form != Form::Timestamptz,
    })
}

/// Whether rows look soft-deleted: a time that is NULL until then.
pub(super) fn soft_deletion(table: &SurveyedTable) -> Option<&str> {
    table
        .columns
        .iter()
        .find(|column| {
            let name = column.name.to_lowercase().replace('_', "");
            !column.not_null
                && type_rank(column).is_some()
                && matches!(name.as_str(), "deletedat" | "deleted" | "deletedon" | "removedat" | "archivedat")
        })
        .map(|column| column.name.as_str())
}

fn type_rank(column: &SurveyedColumn) -> Option<usize> {
    [Form::Timestamptz, Form::Timestamp, Form::Date].iter().position(|form| form == column.form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str, bool)]) -> SurveyedTable {
        let columns = columns.iter().map(|(name, type_name, not_null)| SurveyedColumn {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
            form: match *type_name {
                "timestamptz" => &Form::Timestamptz,
                "timestamp" => &Form::Timestamp,
                _ => &Form::Text,
            },
            not_null: *not_null,
            most_rows_of_a_value: None,
        });
        SurveyedTable { columns: columns.collect(), ..SurveyedTable::default() }
    }

    #[test]
    fn the_column_that_every_write_sets_is_found_by_name_and_type() {
        let found = |columns: &[(&str, &str, bool)], is_link| {
            cursor(&table(columns), is_link).map(|cursor| cursor.column)
        };
        let created = ("created", "timestamptz", true);
        assert_eq!(found(&[created, ("modified", "timestamptz", true)], false).as_deref(), Some("modified"));
        assert_eq!(
            found(&[created, ("Last_Update", "timestamp", true)], false).as_deref(),
            Some("Last_Update")
        );
        assert_eq!(found(&[("updatedAt", "timestamptz", false)], false).as_deref(), Some("updatedAt"));
        // NOT NULL goes before the better name and type.
        let two = [("updated_at", "timestamptz", false), ("changed", "timestamp", true)];
        assert_eq!(found(&two, false).as_deref(), Some("changed"));
        assert_eq!(found(&[created], false), None);
        assert_eq!(found(&[created], true).as_deref(), Some("created"));
        assert_eq!(found(&[("modified", "text", true), ("updated", "int4", true)], false), None);
        assert!(cursor(&table(&two[..1]), false).unwrap().doubt.unwrap().contains("may be NULL"));
        assert_eq!(soft_deletion(&table(&[("deleted_at", "timestamptz", false)])), Some("deleted_at"));
    }
}
