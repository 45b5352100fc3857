//! Which relations' rows a full load may keep in memory, and how they are then read: the link table by itself, and the
//! related rows by their keys.
//!
//! A row that is kept may be older than the snapshot of the batch. That is harmless only where a poll sees its change:
//! the poll drops the row here and makes every document that it reaches stale. So only tables with a cursor are kept.

use crate::cell::CellFormat;
use crate::definition::{Definition, JoinColumn, Relation};
use crate::plan::PlannedColumn;
use crate::postgres::catalog::{Catalog, Table};
use crate::postgres::plan::{KeyColumn, NearerColumn, RelationPlan, range_key};
use crate::postgres::range_select::RangeSelect;
use crate::postgres::select::{GROUP_NUMBER, SelectList, Side, are_equal_by_bytes, for_key};
use crate::postgres::sql::{LINK, ROW, name, table};

/// How a relation is read whose rows may be kept.
#[derive(Debug)]
pub(super) struct KeptRelation {
    /// The link table by itself; none where the nearer row holds the key of the related row.
    pub(super) link: Option<RelationPlan>,
    /// Where the link's rows have the key of the related row.
    pub(super) link_key: Vec<PlannedColumn>,
    /// The related table, quoted, with its alias.
    pub(super) from: String,
    /// Its key, quoted, with the names of the types.
    pub(super) key: Vec<(String, String)>,
    /// What is selected of it; the key is first.
    pub(super) select: SelectList,
    /// For each cell of the relation's rows, where it comes from.
    pub(super) origins: Vec<CellOrigin>,
    /// The table, quoted, whose changed rows are to be dropped.
    pub(super) table: String,
    /// The planner's guess of its rows; none when never analysed.
    pub(super) row_estimate: Option<u64>,
}

impl KeptRelation {
    /// The cells of the link's row that the relation's rows have, in their order.
    pub(super) fn link_columns(&self) -> impl Iterator<Item = usize> {
        self.origins.iter().filter_map(|origin| match origin {
            CellOrigin::Link(column) => Some(*column),
            CellOrigin::Group | CellOrigin::Related(_) => None,
        })
    }
}

/// Where a cell of a relation's row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellOrigin {
    /// The group's number, which no one reads.
    Group,
    /// A cell of the link's row.
    Link(usize),
    /// A cell of the related row.
    Related(usize),
}

/// Whether a relation's rows can be kept.
pub(super) enum Keeping {
    /// They can.
    Kept(Box<KeptRelation>),
    /// It would help, but cannot be done.
    NotKept(NotKept),
    /// No row is needed twice, or none is known by a key.
    Useless,
}

/// Why the rows of a relation that many documents share cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotKept {
    /// No poll would see their changes.
    NoCursor,
    /// SQL of the definition that may read the link's row as well as the related one.
    ReadsBoth,
}

impl NotKept {
    /// The reason, to stand behind "since".
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoCursor => "the relation has no cursor, so no poll would see that they changed",
            Self::ReadsBoth => "SQL of the definition may read them together with the link table",
        }
    }

    /// What makes it possible, in the relation of this name.
    pub(super) fn cure(self, relation: &str) -> String {
        match self {
            Self::NoCursor => {
                format!("name a time column that every change sets in relation.{relation}.cursor")
            }
            Self::ReadsBoth => {
                format!(
                    "say it by columns, as in `where = {{ through.role = \"…\" }}`, in the fields made of {relation}"
                )
            }
        }
    }
}

/// How the relation can be read with its rows kept.
pub(super) fn kept_relation(
    definition: &Definition,
    catalog: &Catalog,
    relation: &Relation,
    planned: &RelationPlan,
    root_key: &[KeyColumn],
) -> Keeping {
    match plan_kept(definition, catalog, relation, planned, root_key) {
        Ok(Some(kept)) => Keeping::Kept(Box::new(kept)),
        Ok(None) => Keeping::Useless,
        Err(reason) => Keeping::NotKept(reason),
    }
}

fn plan_kept(
    definition: &Definition,
    catalog: &Catalog,
    relation: &Relation,
    planned: &RelationPlan,
    root_key: &[KeyColumn],
) -> Result<Option<KeptRelation>, NotKept> {
    let Some(related) = catalog.get(&relation.table) else { return Ok(None) };
    let nearer = match &relation.through {
        Some(through) => &through.table,
        None => relation.below.map_or(&definition.root.table, |below| &definition.relations[below.0].table),
    };
    let Some(nearer) = catalog.get(nearer) else { return Ok(None) };
    // A row of its own for each row of the root is needed once.
    let is_used_once = relation.through.is_none() && planned.is_by_root_key;
    if is_used_once || !related.has_system_columns() || !is_unique_key(related, nearer, &relation.on) {
        return Ok(None);
    }
    if relation.cursor.is_none() {
        return Err(NotKept::NoCursor);
    }
    let mut link_select = SelectList::default();
    link_select.add((GROUP_NUMBER.to_owned(), CellFormat::Int8));
    let mut select = SelectList::default();
    let mut key = Vec::new();
    for join in &relation.on {
        let Some(column) = related.column(&join.column) else { return Ok(None) };
        select.add(for_key(ROW, column));
        key.push((format!("{ROW}.{}", name(&column.name)), column.type_name.clone()));
    }
    let mut origins = Vec::new();
    for (column, format) in planned.select.columns() {
        let selected = (column.expression.clone(), format);
        origins.push(match column.side {
            _ if column.expression == GROUP_NUMBER => CellOrigin::Group,
            Side::Row => CellOrigin::Related(select.add(selected).position),
            Side::Link => CellOrigin::Link(link_select.add(selected).position),
            Side::Unknown => return Err(NotKept::ReadsBoth),
        });
    }
    let (link, link_key) = match &relation.through {
        None => (None, planned.nearer.iter().map(|nearer| nearer.column).collect()),
        Some(through) => {
            let mut link_key = Vec::new();
            for join in &relation.on {
                let Some(column) = nearer.column(&join.nearer) else { return Ok(None) };
                link_key.push(link_select.add(for_key(LINK, column)));
            }
            (Some(link_plan(planned, &table(&through.table), link_select, &link_key, root_key)), link_key)
        }
    };
    Ok(Some(KeptRelation {
        link,
        link_key,
        from: format!("{} as {ROW}", table(&relation.table)),
        key,
        select,
        origins,
        table: table(&relation.table),
        row_estimate: (related.row_estimate >= 0.0).then_some(related.row_estimate as u64),
    }))
}

/// Whether the join leads to one row at most, and equal keys have equal bytes.
fn is_unique_key(related: &Table, nearer: &Table, on: &[JoinColumn]) -> bool {
    let columns: Vec<String> = on.iter().map(|join| join.column.clone()).collect();
    related.is_known_unique(&columns)
        && on.iter().all(|join| match (related.column(&join.column), nearer.column(&join.nearer)) {
            (Some(column), Some(nearer)) => are_equal_by_bytes(column, nearer),
            _ => false,
        })
}

/// The link table read by itself.
fn link_plan(
    planned: &RelationPlan,
    link_table: &str,
    select: SelectList,
    link_key: &[PlannedColumn],
    root_key: &[KeyColumn],
) -> RelationPlan {
    RelationPlan {
        name: planned.name.clone(),
        table: planned.table.clone(),
        below: planned.below,
        nearer: planned.nearer.iter().map(NearerColumn::clone).collect(),
        range: RangeSelect::new(&select, range_key(planned, root_key), link_key),
        select,
        first_table: format!("{link_table} as {LINK}"),
        joins: String::new(),
        first_columns: planned.first_columns.clone(),
        is_by_root_key: planned.is_by_root_key,
        kept: None,
        not_kept: None,
    }
}
