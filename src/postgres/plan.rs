//! From a definition and the catalogue to the statements that read a batch, and to the plan of its documents.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cell::CellFormat;
use crate::definition::{Definition, Filter, JoinColumn, OnNan, Relation, RelationId, TableName};
use crate::error::{Error, Kind, Result};
use crate::plan::{DocumentPlan, PlannedColumn, PlannedFilter};
use crate::postgres::catalog::{Catalog, Column, Table};
use crate::postgres::plan_document::SelectLists;
use crate::postgres::range_select::RangeSelect;
use crate::postgres::related_plan::{Keeping, KeptRelation, NotKept, kept_relation};
use crate::postgres::select::{
    CursorKind, GROUP_NUMBER, SelectList, Side, are_equal_by_bytes, cursor_kind, for_key, for_key_expression,
};
use crate::postgres::shape::{Shape, UsedColumns};
use crate::postgres::sql::{LINK, ROW, name, row_of, table};
use crate::postgres::watched::{WatchedTable, watched_tables};
use crate::postgres::written::{WrittenCondition, WrittenForms};

/// Everything that is read from PostgreSQL for one definition.
#[derive(Debug)]
pub struct SourcePlan {
    /// How documents are built.
    pub document: Arc<DocumentPlan>,
    /// How the root table is read.
    pub root: RootPlan,
    /// How each relation is read, in the definition's order.
    pub relations: Vec<RelationPlan>,
    /// The watched tables.
    pub watched: Vec<WatchedTable>,
    /// What the operator should know, though it stops nothing.
    pub warnings: Vec<String>,
    /// What the columns that it uses are like.
    pub shape: Shape,
    /// The conditions of filters, for a trial.
    pub(super) conditions: Vec<WrittenCondition>,
}

/// A key column of the root.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    /// The column.
    pub(super) column: Column,
    /// Its quoted name.
    pub(super) quoted: String,
}

/// How the root table is read; its alias is `t`.
#[derive(Debug)]
pub struct RootPlan {
    /// The table, for messages.
    pub name: TableName,
    /// The table, quoted.
    pub table: String,
    /// Its key.
    pub(super) key: Vec<KeyColumn>,
    /// Its cursor column, quoted, and its kind.
    pub cursor: Option<(String, CursorKind)>,
    /// What is selected.
    pub select: SelectList,
    /// A condition that a row must meet to have a document.
    pub condition: Option<String>,
    /// The planner's guess of its rows; none when never analysed.
    pub row_estimate: Option<u64>,
    /// Whether the catalogue guarantees that the key has no NULL and no duplicates.
    pub is_key_unique: bool,
    /// Whether it is a table with pages of its own, which can be sampled.
    pub has_pages: bool,
}

/// How a relation is read.
#[derive(Debug)]
pub struct RelationPlan {
    /// Its name in the definition.
    pub name: String,
    /// Its table, for messages.
    pub table: TableName,
    /// The position of the relation it hangs below; the root if none.
    pub below: Option<usize>,
    /// Columns of the nearer table that its rows are found by.
    pub nearer: Vec<NearerColumn>,
    /// What is selected; the first columns say to which nearer row a row belongs.
    pub select: SelectList,
    /// The first table, quoted, with its alias.
    pub first_table: String,
    /// The joins behind it; empty if there is none.
    pub joins: String,
    /// The columns of the first table that equal `nearer`, with alias, in its order.
    pub first_columns: Vec<String>,
    /// Whether a range of root keys can be given to it directly, since `nearer` is the root's key in its order and
    /// equal keys have equal bytes.
    pub is_by_root_key: bool,
    /// How the same columns are selected for a range of root keys.
    pub range: RangeSelect,
    /// How it is read when its rows may be kept in memory.
    pub(super) kept: Option<Box<KeptRelation>>,
    /// Why they may not be, if that would help.
    pub(super) not_kept: Option<NotKept>,
}

/// A column of the nearer table, as it was selected there.
#[derive(Clone, Debug)]
pub struct NearerColumn {
    /// Where it is.
    pub column: PlannedColumn,
    /// The name of its type.
    pub type_name: String,
}

/// Makes the plan; everything that is wrong with the definition's tables and columns is said at once.
pub(super) fn plan(definition: &Definition, catalog: &Catalog, written: &WrittenForms) -> Result<SourcePlan> {
    let mut planner = Planner {
        definition,
        catalog,
        written,
        problems: Vec::new(),
        warnings: Vec::new(),
        filters: HashMap::new(),
        conditions: Vec::new(),
        used: UsedColumns::default(),
    };
    let planned = planner.plan();
    let Planner { mut problems, warnings, conditions, used, .. } = planner;
    problems.extend(written.problems().iter().cloned());
    let (problems, warnings) = (as_written(problems), as_written(warnings));
    match planned {
        Some(mut planned) if problems.is_empty() => {
            planned.warnings = warnings;
            planned.conditions = conditions;
            planned.shape = used.into_shape();
            Ok(planned)
        }
        _ => Err(Error::new(
            Kind::Mismatch,
            format!("the definition does not fit the database: {}", problems.join("; ")),
        )
        .hint("correct the definition or the database, then run `pgsluice check`")),
    }
}

/// What is said of a relation that repeats itself is said once, of the relation as it is written.
fn as_written(texts: Vec<String>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for mut text in texts {
        while let Some(start) = text.find(" (level ")
            && let Some(length) = text[start..].find(')')
        {
            text.replace_range(start..=start + length, "");
        }
        if !said.contains(&text) {
            said.push(text);
        }
    }
    said
}

pub(super) struct Planner<'a> {
    pub(super) definition: &'a Definition,
    pub(super) catalog: &'a Catalog,
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// The forms of the values that the definition has PostgreSQL compute.
    pub(super) written: &'a WrittenForms,
    /// How each relation's set of filters is judged.
    pub(super) filters: HashMap<(usize, Vec<Filter>), PlannedFilter>,
    /// What filters say in SQL: place, relation, condition.
    pub(super) conditions: Vec<WrittenCondition>,
    used: UsedColumns,
}

impl<'a> Planner<'a> {
    fn plan(&mut self) -> Option<SourcePlan> {
        let root_definition = &self.definition.root;
        let root_table = self.table(&root_definition.table, "root.table")?;
        for relation in &self.definition.relations {
            self.table(&relation.table, &format!("relation.{}.table", relation.name));
            if let Some(through) = &relation.through {
                self.table(&through.table, &format!("relation.{}.through.table", relation.name));
            }
        }
        for tombstone in &self.definition.tombstones {
            self.table(&tombstone.table, "tombstone.table");
        }
        if !self.problems.is_empty() {
            return None;
        }
        let key = self.key_columns(&root_definition.table, root_table, &root_definition.key, "root.key")?;
        let mut selects: Vec<SelectList> = vec![SelectList::default(); self.definition.relations.len()];
        let mut root_select = SelectList::default();
        let root_key = key.iter().map(|key| root_select.add(for_key(ROW, &key.column))).collect();

        // What each relation needs of the table nearer to the root comes before its own columns.
        let mut relations = Vec::new();
        let mut relation_keys = Vec::new();
        for (position, relation) in self.definition.relations.iter().enumerate() {
            let nearer_table = self.nearer_table(relation);
            let hop = relation.through.as_ref().map_or(&relation.on, |through| &through.on);
            let mut nearer = Vec::new();
            for join in hop {
                let Some(column) =
                    self.column(&nearer_table, &join.nearer, &format!("relation.{}.on", relation.name))
                else {
                    continue;
                };
                let select = match relation.below {
                    None => &mut root_select,
                    Some(RelationId(below)) => &mut selects[below],
                };
                nearer.push(NearerColumn {
                    column: select.add_of(Side::Row, for_key(ROW, &column)),
                    type_name: column.type_name,
                });
            }
            // The first column of every relation's rows is the number of the group that the statement gives it.
            selects[position].add((GROUP_NUMBER.to_owned(), CellFormat::Int8));
            let (first_alias, first_table) = match &relation.through {
                Some(through) => (LINK, &through.table),
                None => (ROW, &relation.table),
            };
            let mut first_columns = Vec::new();
            for join in hop {
                if self.column(first_table, &join.column, &format!("relation.{}.on", relation.name)).is_some()
                {
                    first_columns.push(format!("{first_alias}.{}", name(&join.column)));
                }
            }
            let joins = match &relation.through {
                Some(_) => {
                    format!(" join {} as {ROW} on {}", table(&relation.table), self.join_to_link(relation))
                }
                None => String::new(),
            };
            let own =
                self.row_key(&relation.table, &relation.key, &format!("relation.{}.key", relation.name));
            let select = &mut selects[position];
            relation_keys
                .push(own.iter().map(|column| select.add_of(Side::Row, for_key(ROW, column))).collect());
            relations.push(RelationPlan {
                name: relation.name.clone(),
                table: relation.table.clone(),
                below: relation.below.map(|below| below.0),
                is_by_root_key: relation.below.is_none() && self.is_root_key(hop, first_table, &key),
                nearer,
                select: SelectList::default(),
                range: RangeSelect::default(),
                first_table: format!("{} as {first_alias}", table(first_table)),
                joins,
                first_columns,
                kept: None,
                not_kept: None,
            });
        }
        let mut lists = SelectLists { root: &mut root_select, relations: &mut selects };
        let fields = self.document(&mut lists);
        let routing = self.routing(&key);
        for (relation, select) in relations.iter_mut().zip(selects) {
            relation.range = RangeSelect::new(&select, range_key(relation, &key), &[]);
            relation.select = select;
        }
        for (relation, stated) in relations.iter_mut().zip(&self.definition.relations) {
            match kept_relation(self.definition, self.catalog, stated, relation, &key) {
                Keeping::Kept(kept) => relation.kept = Some(kept),
                Keeping::NotKept(reason) => relation.not_kept = Some(reason),
                Keeping::Useless => {}
            }
        }
        let watched = watched_tables(self, &key);
        let cursor = self.root_cursor(root_table);
        Some(SourcePlan {
            document: Arc::new(DocumentPlan {
                key: root_key,
                fields,
                relation_keys,
                routing,
                refuses_nan: self.definition.on_nan == OnNan::Refuse,
            }),
            root: RootPlan {
                name: root_definition.table.clone(),
                table: table(&root_definition.table),
                is_key_unique: root_table
                    .is_known_unique(&key.iter().map(|key| key.column.name.clone()).collect::<Vec<_>>()),
                key,
                cursor,
                select: root_select,
                condition: root_definition.condition.clone(),
                has_pages: root_table.has_system_columns(),
                row_estimate: (root_table.row_estimate >= 0.0).then_some(root_table.row_estimate as u64),
            },
            relations,
            watched,
            warnings: Vec::new(),
            shape: Shape::default(),
            conditions: Vec::new(),
        })
    }

    /// Where in the key the columns of the routing are.
    fn routing(&mut self, key: &[KeyColumn]) -> Vec<usize> {
        let mut positions = Vec::new();
        for routing in &self.definition.routing {
            match key.iter().position(|key| key.column.name == *routing) {
                Some(position) => positions.push(position),
                None => self.problems.push(format!(
                    "document._routing: {routing} is no column of the key of {}: of a row that is gone nothing but its \
                     key is known, and its document must be found nevertheless",
                    self.definition.root.table
                )),
            }
        }
        positions
    }

    fn root_cursor(&self, root: &Table) -> Option<(String, CursorKind)> {
        let column = root.column(self.definition.root.cursor.as_ref()?)?;
        Some((format!("{ROW}.{}", name(&column.name)), cursor_kind(column)?))
    }

    /// The table that a relation's first join column pair leads to.
    pub(super) fn nearer_table(&self, relation: &Relation) -> TableName {
        match relation.below {
            None => self.definition.root.table.clone(),
            Some(RelationId(below)) => self.definition.relations[below].table.clone(),
        }
    }

    /// `c.a = l.b and …` between a relation's own table and its link table.
    pub(super) fn join_to_link(&mut self, relation: &Relation) -> String {
        let place = format!("relation.{}.on", relation.name);
        let mut pairs = Vec::new();
        if let Some(through) = &relation.through {
            for join in &relation.on {
                self.column(&relation.table, &join.column, &place);
                self.column(&through.table, &join.nearer, &place);
                pairs.push(format!("{ROW}.{} = {LINK}.{}", name(&join.column), name(&join.nearer)));
            }
        }
        pairs.join(" and ")
    }

    /// Whether `hop` joins exactly the root's key, in its order, with columns whose equality is that of their bytes.
    pub(super) fn is_root_key(&self, hop: &[JoinColumn], first_table: &TableName, key: &[KeyColumn]) -> bool {
        hop.len() == key.len()
            && hop.iter().zip(key).all(|(join, key)| {
                join.nearer == key.column.name
                    && self
                        .catalog
                        .get(first_table)
                        .and_then(|table| table.column(&join.column))
                        .is_some_and(|column| are_equal_by_bytes(column, &key.column))
            })
    }

    pub(super) fn table(&mut self, table: &TableName, place: &str) -> Option<&'a Table> {
        let catalog: &'a Catalog = self.catalog;
        let found = catalog.get(table);
        match found {
            None => self.problems.push(format!("{place}: table {table} does not exist in this database")),
            Some(Table { missing_right: Some(right), .. }) => {
                self.problems.push(format!("{place}: the role may not read {table}, grant it {right}"));
            }
            Some(_) => {}
        }
        found
    }

    pub(super) fn column(&mut self, table: &TableName, column: &str, place: &str) -> Option<Column> {
        let description = self.catalog.get(table)?;
        let found = description.column(column);
        if let Some(found) = found {
            self.used.note(table, column, &found.shape);
        } else {
            let near = description
                .columns
                .iter()
                .map(|known| (strsim::damerau_levenshtein(&known.name, column), &known.name))
                .min()
                .filter(|(distance, _)| *distance <= 3)
                .map_or(String::new(), |(_, near)| format!(", did you mean {near}?"));
            let problem = format!("{place}: table {table} has no column {column}{near}");
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        found.cloned()
    }

    /// The stated key, or the primary key; a problem if there is neither.
    fn key_columns(
        &mut self,
        table: &TableName,
        description: &Table,
        stated: &[String],
        place: &str,
    ) -> Option<Vec<KeyColumn>> {
        let names = if stated.is_empty() { description.primary_key.clone() } else { stated.to_vec() };
        if names.is_empty() {
            self.problems
                .push(format!("{place}: table {table} has no primary key, so its key must be named"));
            return None;
        }
        let columns: Option<Vec<Column>> =
            names.iter().map(|column| self.column(table, column, place)).collect();
        Some(
            columns?
                .into_iter()
                .map(|column| KeyColumn { quoted: format!("{ROW}.{}", name(&column.name)), column })
                .collect(),
        )
    }

    /// The columns that tell a relation's rows apart: stated, primary key, a unique key, or nothing.
    pub(super) fn row_key(&mut self, table: &TableName, stated: &[String], place: &str) -> Vec<Column> {
        let Some(description) = self.catalog.get(table) else { return Vec::new() };
        let names = match (stated, &description.primary_key, description.unique_keys.first()) {
            ([], primary, _) if !primary.is_empty() => primary.clone(),
            ([], _, Some(unique)) => unique.clone(),
            (stated, _, _) => stated.to_vec(),
        };
        names.iter().filter_map(|column| self.column(table, column, place)).collect()
    }
}

/// The root's key as the relation's first table has it, for a range of it.
pub(super) fn range_key(relation: &RelationPlan, root_key: &[KeyColumn]) -> Vec<(String, CellFormat)> {
    if !relation.is_by_root_key {
        return Vec::new();
    }
    let columns = relation.first_columns.iter().zip(root_key);
    columns.map(|(expression, key)| for_key_expression(expression, &key.column)).collect()
}

impl RootPlan {
    /// The names of the key's types, for casts.
    pub(super) fn key_types(&self) -> Vec<&str> {
        self.key.iter().map(|key| key.column.type_name.as_str()).collect()
    }

    /// What the order of its keys rests on: a full load that is under way holds ranges in that order.
    pub fn key_order(&self) -> String {
        let columns = self.key.iter().map(|key| {
            let kind = match key.column.type_name.as_str() {
                "smallint" | "integer" | "bigint" => "whole number",
                "text" | "character varying" => "text",
                other => other,
            };
            let collation = key.column.shape.rsplit('/').next().unwrap_or_default();
            format!("{kind}/{collation}")
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The key as a row expression.
    pub(super) fn key_row(&self) -> String {
        row_of(&self.key.iter().map(|key| key.quoted.clone()).collect::<Vec<_>>())
    }
}
