//! Reads all rows of a batch, from all tables of the tree, in one snapshot.
//!
//! The root rows come first, by a range of keys or by the keys themselves; then each relation, by the rows of the
//! table nearer to the root. One statement a relation, whatever the number of rows. What is over `batch_bytes` is cut
//! off: the batch then covers fewer root rows, and the caller puts the others back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postgres::Row;

use crate::batch::{Batch, KeyRange, Version, Work};
use crate::checkpoint::ServerTime;
use crate::document::Refusal;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::plan::{ExtractedBatch, PlannedColumn, RelatedRows, root_key};
use crate::postgres::Source;
use crate::postgres::lookup::is_hashed_id;
use crate::postgres::plan::{RelationPlan, RootPlan, SourcePlan};
use crate::postgres::poll::row_key;
use crate::postgres::repeats::{repeated_byte_count, uses_of_rows};
use crate::postgres::select::CursorKind;
use crate::postgres::source::{raw_cell, stream};
use crate::postgres::sql::{Parameters, row_of, rows_of_texts};
use crate::rows::Rows;

/// A batch as it was read, and what of it was not.
#[derive(Debug)]
pub struct Read {
    /// What was read; its work is cut to that.
    pub extracted: ExtractedBatch,
    /// Keys of the batch that were not read.
    pub unread: Vec<Key>,
    /// Whether the range was cut at its new `high`.
    pub is_range_cut: bool,
}

impl Source {
    /// Finds the last key of the next range of at most `row_limit` rows after `low`; none if fewer rows are left.
    pub fn cut_range(&mut self, low: Option<&Key>, row_limit: usize) -> Result<Option<Key>> {
        let plan = Arc::clone(&self.plan);
        let mut select = Vec::new();
        let mut columns = Vec::new();
        for (position, key) in plan.root.key.iter().enumerate() {
            let (expression, format) = crate::postgres::select::for_key("t", &key.column);
            select.push(expression);
            columns.push(PlannedColumn { position, format });
        }
        let mut parameters = Parameters::default();
        let range = range_condition(
            &plan.root,
            &plan.root.key_row(),
            &KeyRange { low: low.cloned(), high: None },
            &mut parameters,
        );
        let statement = format!(
            "select {} from {} as t where {range} order by {} offset {} limit 1",
            select.join(", "),
            plan.root.table,
            key_order(&plan.root),
            row_limit.saturating_sub(1),
        );
        let formats: Vec<_> = columns.iter().map(|column| column.format).collect();
        let mut high = None;
        self.begin()?;
        stream(
            &mut self.client,
            &statement,
            parameters,
            &formats,
            &format!("keys of {}", plan.root.name),
            &mut |row| {
                high = row_key(row, &columns);
                Ok(true)
            },
        )?;
        self.commit()?;
        Ok(high)
    }

    /// Reads the rows of a batch in one snapshot; `version` must have been drawn before.
    ///
    /// `INITIAL_TIMESTAMP` applies to ranges alone: a stale key is always built.
    pub fn read(&mut self, mut batch: Batch, version: Version) -> Result<Read> {
        let mut strange = Vec::new();
        if let Work::Keys(keys) = &mut batch.work {
            (*keys, strange) = self.split_castable(std::mem::take(keys))?;
        }
        self.begin()?;
        let mut read = self.read_in_snapshot(batch, version)?;
        if let Work::Keys(keys) = &mut read.extracted.batch.work {
            keys.extend_from_slice(&strange);
            read.extracted.missing.append(&mut strange);
            self.settle_hashed_ids(&mut read.extracted)?;
        }
        self.commit_of_plan()?;
        Ok(read)
    }

    /// Takes ids that stand for a row with a long key out of the missing ones: deleting by such an id would take the
    /// row's document away.
    fn settle_hashed_ids(&mut self, extracted: &mut ExtractedBatch) -> Result<()> {
        let hashed: HashSet<String> = extracted
            .missing
            .iter()
            .filter(|key| is_hashed_id(key.as_str()))
            .map(ToString::to_string)
            .collect();
        if hashed.is_empty() {
            return Ok(());
        }
        let with_row = self.hashed_ids_in_snapshot(&hashed)?;
        let (settled, missing) = extracted.missing.drain(..).partition(|key| with_row.contains(key.as_str()));
        (extracted.settled, extracted.missing) = (settled, missing);
        Ok(())
    }

    fn read_in_snapshot(&mut self, mut batch: Batch, version: Version) -> Result<Read> {
        let plan = Arc::clone(&self.plan);
        let limits = self.limits;
        let mut roots = Rows::new(plan.root.select.formats().len());
        let (is_complete, is_over) = self.read_roots(&plan, &batch.work, limits.batch_bytes, &mut roots)?;
        let mut is_cut = !is_complete;
        let mut is_cut_by_bytes = is_over;
        let mut refused = Vec::new();
        let relations = loop {
            let budget = if roots.len() <= 1 { limits.document_max_bytes } else { limits.batch_bytes }
                .saturating_sub(roots.byte_count());
            match self.read_relations(&plan, &batch.work, is_cut, &roots, budget)? {
                Some(relations) => break relations,
                None if roots.len() > 1 => {
                    roots.truncate(roots.len() / 2);
                    is_cut = true;
                    is_cut_by_bytes = true;
                }
                None => {
                    refused.push(Refusal {
                        key: root_key(&plan.document.key, &roots, 0),
                        error_type: "document_too_large".to_owned(),
                        reason: format!(
                            "its rows have more than the {} bytes that DOCUMENT_MAX_BYTES allows",
                            limits.document_max_bytes
                        ),
                    });
                    break Vec::new();
                }
            }
        };
        self.learn_row_limit(is_cut_by_bytes.then_some(roots.len()));
        let key_of = |row: usize| root_key(&plan.document.key, &roots, row);
        let mut missing = Vec::new();
        let mut unread = Vec::new();
        let mut is_range_cut = false;
        match &mut batch.work {
            Work::Keys(keys) => {
                let found: HashSet<Key> = (0..roots.len()).map(key_of).collect();
                let (kept, others): (Vec<Key>, Vec<Key>) =
                    keys.drain(..).partition(|key| found.contains(key));
                if is_cut {
                    // Which of the others have no row is not known yet.
                    *keys = kept;
                    unread = others;
                } else {
                    missing.clone_from(&others);
                    *keys = kept;
                    keys.extend(others);
                }
            }
            Work::Range(range) => {
                if is_cut && let Some(last) = roots.len().checked_sub(1) {
                    range.high = Some(key_of(last));
                    is_range_cut = true;
                }
            }
        }
        if !refused.is_empty() {
            roots.truncate(0);
        }
        Ok(Read {
            extracted: ExtractedBatch {
                batch,
                version,
                plan: Arc::clone(&plan.document),
                roots,
                relations,
                missing,
                settled: Vec::new(),
                refused,
            },
            unread,
            is_range_cut,
        })
    }

    /// Reads root rows until the bytes are over `byte_limit`; returns whether all were read, and whether it was the
    /// bytes that ended it.
    fn read_roots(
        &mut self,
        plan: &SourcePlan,
        work: &Work,
        byte_limit: usize,
        roots: &mut Rows,
    ) -> Result<(bool, bool)> {
        let root = &plan.root;
        let mut parameters = Parameters::default();
        let mut conditions = Vec::new();
        let mut from = format!("{} as t", root.table);
        match work {
            Work::Range(range) => {
                conditions.push(range_condition(root, &root.key_row(), range, &mut parameters));
                if let Some(initial) = self.limits.initial_timestamp
                    && let Some((cursor, kind)) = &root.cursor
                {
                    conditions.push(initial_condition(cursor, *kind, initial, &self.timezone));
                }
            }
            Work::Keys(keys) => {
                let matched = match_keys(root, keys, &mut parameters);
                from = matched.0;
                conditions.extend(matched.1);
            }
        }
        // The line break ends a comment at the end of the condition.
        conditions.extend(root.condition.iter().map(|condition| format!("({condition}\n)")));
        if conditions.is_empty() {
            conditions.push("true".to_owned());
        }
        let (row_limit, is_limited) = (self.row_limit, self.row_limit < self.limits.chunk_size);
        let order = match work {
            Work::Range(_) if is_limited => format!(" order by {} limit {row_limit}", key_order(root)),
            Work::Range(_) => format!(" order by {}", key_order(root)),
            Work::Keys(_) => String::new(),
        };
        let statement =
            format!("select {} from {from} where {}{order}", root.select.sql(), conditions.join(" and "));
        let column_count = root.select.formats().len();
        let mut is_over = false;
        stream(
            &mut self.client,
            &statement,
            parameters,
            root.select.formats(),
            &root.name.to_string(),
            &mut |row| {
                if !roots.is_empty() && roots.byte_count() + row.raw_size_bytes() > byte_limit {
                    is_over = true;
                    return Ok(false);
                }
                push_row(roots, row, column_count)?;
                Ok(true)
            },
        )?;
        // As many rows as the limit lets through: there may be more.
        let is_at_limit = is_limited && matches!(work, Work::Range(_)) && roots.len() >= row_limit;
        Ok((!is_over && !is_at_limit, is_over))
    }

    /// Reads every relation's rows; nothing if they are more than `budget` bytes, a row counted as often as the
    /// documents show it.
    fn read_relations(
        &mut self,
        plan: &SourcePlan,
        work: &Work,
        is_cut: bool,
        roots: &Rows,
        budget: usize,
    ) -> Result<Option<Vec<RelatedRows>>> {
        let mut relations: Vec<RelatedRows> = Vec::with_capacity(plan.relations.len());
        let mut left = budget;
        let mut uses: Vec<Option<Vec<u64>>> = Vec::with_capacity(plan.relations.len());
        let mut root_numbers: Option<HashMap<Vec<u8>, u32>> = None;
        for relation in &plan.relations {
            let mut groups = Groups::default();
            let range = match work {
                Work::Range(range) if relation.is_by_root_key => Some(range),
                _ => None,
            };
            let related = if let Some(range) = range {
                let mut range = range.clone();
                if is_cut && !roots.is_empty() {
                    range.high = Some(root_key(&plan.document.key, roots, roots.len() - 1));
                }
                let numbers = root_numbers.get_or_insert_with(|| {
                    (0..roots.len()).map(|row| (cells(roots, row, &plan.document.key), row as u32)).collect()
                });
                self.read_by_range(plan, relation, &range, numbers, &mut left)?
            } else {
                let nearer = relation.below.map_or(roots, |below| &relations[below].rows);
                groups.add_rows(nearer, relation);
                self.read_by_groups(relation, &groups, &mut left)?
            };
            let Some((rows, group_of_row)) = related else { return Ok(None) };
            let (group_count, group_of_nearer_row) = match range {
                Some(_) => (roots.len(), (0..roots.len()).map(|row| Some(row as u32)).collect()),
                None => (groups.count, groups.of_nearer_row),
            };
            let related = attach(rows, &group_of_row, group_count, group_of_nearer_row);
            // A single document is judged by its own size, when it is rendered.
            if roots.len() > 1 {
                let nearer = relation.below.and_then(|below| uses[below].as_deref());
                let used = if range.is_some() { None } else { uses_of_rows(&related, nearer) };
                let repeated = used.as_ref().map_or(0, |used| repeated_byte_count(&related.rows, used));
                match left.checked_sub(usize::try_from(repeated).unwrap_or(usize::MAX)) {
                    Some(rest) => left = rest,
                    None => return Ok(None),
                }
                uses.push(used);
            }
            relations.push(related);
        }
        Ok(Some(relations))
    }

    fn read_by_range(
        &mut self,
        plan: &SourcePlan,
        relation: &RelationPlan,
        range: &KeyRange,
        numbers: &HashMap<Vec<u8>, u32>,
        left: &mut usize,
    ) -> Result<Option<(Rows, Vec<u32>)>> {
        let mut parameters = Parameters::default();
        let key = row_of(&relation.first_columns);
        let statement = format!(
            "select {} from {}{} where {}",
            relation.range_select.sql(),
            relation.first_table,
            relation.joins,
            range_condition(&plan.root, &key, range, &mut parameters)
        );
        let mut rows = Rows::new(relation.select.formats().len());
        let mut group_of_row = Vec::new();
        let mut group = Vec::new();
        self.read_related(relation, &relation.range_select, &statement, parameters, left, &mut |row| {
            group.clear();
            for column in &relation.range_key {
                push_framed(&mut group, raw_cell(row, column.position).unwrap_or_default());
            }
            // Rows whose root is filtered out or gone belong to no document.
            let Some(number) = numbers.get(&group) else { return Ok(()) };
            group_of_row.push(*number);
            push_row(&mut rows, row, relation.select.formats().len())
        })
        .map(|is_within| is_within.then_some((rows, group_of_row)))
    }

    fn read_by_groups(
        &mut self,
        relation: &RelationPlan,
        groups: &Groups,
        left: &mut usize,
    ) -> Result<Option<(Rows, Vec<u32>)>> {
        let mut rows = Rows::new(relation.select.formats().len());
        let mut group_of_row = Vec::new();
        if groups.count == 0 {
            return Ok(Some((rows, group_of_row)));
        }
        let mut parameters = Parameters::default();
        let mut types = Vec::new();
        let mut pairs = Vec::new();
        for (place, (nearer, first)) in relation.nearer.iter().zip(&relation.first_columns).enumerate() {
            parameters.texts(groups.texts[place].clone());
            // What the definition says in SQL may name a column without its table.
            types.push(nearer.type_name.as_str());
            pairs.push(format!("{first} = p.pgsluice_k{}", place + 1));
        }
        let statement = format!(
            "select {} from {} join {} on {}{}",
            relation.select.sql(),
            rows_of_texts(&types, "p", "pgsluice_k", true),
            relation.first_table,
            pairs.join(" and "),
            relation.joins,
        );
        let within =
            self.read_related(relation, &relation.select, &statement, parameters, left, &mut |row| {
                let number =
                    raw_cell(row, 0).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
                group_of_row.push(u32::try_from(number - 1).unwrap_or(0));
                push_row(&mut rows, row, relation.select.formats().len())
            })?;
        Ok(within.then_some((rows, group_of_row)))
    }

    /// Streams related rows to `keep`; returns false when there are more bytes than `left`.
    fn read_related(
        &mut self,
        relation: &RelationPlan,
        select: &crate::postgres::select::SelectList,
        statement: &str,
        parameters: Parameters,
        left: &mut usize,
        keep: &mut dyn FnMut(&Row) -> Result<()>,
    ) -> Result<bool> {
        let mut is_within = true;
        let what = format!("{} (relation {})", relation.table, relation.name);
        stream(&mut self.client, statement, parameters, select.formats(), &what, &mut |row| {
            // A cell costs its bytes and its place.
            let cost = row.raw_size_bytes() + 8 * row.len();
            if cost > *left {
                is_within = false;
                return Ok(false);
            }
            *left -= cost;
            keep(row)?;
            Ok(true)
        })?;
        Ok(is_within)
    }
}

/// The distinct values by which a relation's rows are asked for, and which row of the nearer table has which.
#[derive(Default)]
struct Groups {
    count: usize,
    texts: Vec<Vec<String>>,
    of_nearer_row: Vec<Option<u32>>,
}

impl Groups {
    fn add_rows(&mut self, nearer: &Rows, relation: &RelationPlan) {
        self.texts = vec![Vec::new(); relation.nearer.len()];
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        let columns: Vec<PlannedColumn> = relation.nearer.iter().map(|nearer| nearer.column).collect();
        for row in 0..nearer.len() {
            if columns.iter().any(|column| nearer.cell(row, column.position).is_none()) {
                self.of_nearer_row.push(None);
                continue;
            }
            let next = self.count as u32;
            let group = *known.entry(cells(nearer, row, &columns)).or_insert(next);
            if group == next {
                self.count += 1;
                for (texts, column) in self.texts.iter_mut().zip(&columns) {
                    texts.push(column.format.text(nearer.cell(row, column.position).unwrap_or_default()));
                }
            }
            self.of_nearer_row.push(Some(group));
        }
    }
}

/// Sorts row numbers by group (a counting sort: groups are dense numbers).
fn attach(
    rows: Rows,
    group_of_row: &[u32],
    group_count: usize,
    group_of_nearer_row: Vec<Option<u32>>,
) -> RelatedRows {
    let mut starts = vec![0u32; group_count + 1];
    for group in group_of_row {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..group_count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; group_of_row.len()];
    for (row, group) in group_of_row.iter().enumerate() {
        let place = &mut next[*group as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    RelatedRows { rows, group_of_nearer_row, starts, order }
}

/// The cells of the columns, each with its length in front, so that different cells never give the same bytes.
fn cells(rows: &Rows, row: usize, columns: &[PlannedColumn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(columns.len() * 20);
    for column in columns {
        push_framed(&mut bytes, rows.cell(row, column.position).unwrap_or_default());
    }
    bytes
}

fn push_framed(bytes: &mut Vec<u8>, cell: &[u8]) {
    bytes.extend_from_slice(&(cell.len() as u64).to_be_bytes());
    bytes.extend_from_slice(cell);
}

fn push_row(rows: &mut Rows, row: &Row, column_count: usize) -> Result<()> {
    for column in 0..column_count {
        if !rows.push_cell(raw_cell(row, column)) {
            return Err(Error::wrong("the rows of one batch have more than 4 GiB").hint("lower BATCH_BYTES"));
        }
    }
    Ok(())
}

fn key_order(root: &RootPlan) -> String {
    root.key.iter().map(|key| key.quoted.clone()).collect::<Vec<_>>().join(", ")
}

/// What to select from, and under which conditions, to find the rows of these keys; the alias is `t`.
pub(super) fn match_keys(
    root: &RootPlan,
    keys: &[Key],
    parameters: &mut Parameters,
) -> (String, Vec<String>) {
    let table = format!("{} as t", root.table);
    let key_types = root.key_types();
    let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); key_types.len()];
    for key in keys {
        for (column, text) in columns.iter_mut().zip(key.columns(key_types.len()).unwrap_or_default()) {
            column.push(text);
        }
    }
    for column in columns {
        parameters.texts(column);
    }
    if let [type_name] = key_types.as_slice() {
        // There is no array of arrays.
        let keys = if type_name.ends_with("[]") {
            format!("select x.k::{type_name} from unnest($1::text[]) as x(k)")
        } else {
            format!("$1::text[]::{type_name}[]")
        };
        return (table, vec![format!("{} = any({keys})", root.key_row())]);
    }
    let pairs: Vec<String> = root
        .key
        .iter()
        .enumerate()
        .map(|(place, key)| format!("{} = k.pgsluice_k{}", key.quoted, place + 1))
        .collect();
    let from = format!(
        "{} join {table} on {}",
        rows_of_texts(&key_types, "k", "pgsluice_k", false),
        pairs.join(" and ")
    );
    (from, Vec::new())
}

/// `key > low and key <= high` with the root key's types; compared by PostgreSQL alone.
fn range_condition(root: &RootPlan, key: &str, range: &KeyRange, parameters: &mut Parameters) -> String {
    let types = root.key_types();
    let mut number = 0;
    let mut conditions = Vec::new();
    for (operator, bound) in [(">", &range.low), ("<=", &range.high)] {
        let Some(bound) = bound else { continue };
        let mut casts = Vec::new();
        for (text, type_name) in bound.columns(types.len()).unwrap_or_default().into_iter().zip(&types) {
            number += 1;
            parameters.text(Some(text));
            casts.push(format!("${number}::text::{type_name}"));
        }
        conditions.push(format!("{key} {operator} {}", row_of(&casts)));
    }
    if conditions.is_empty() {
        // A key that stands in a link table may be NULL there.
        return "true".to_owned();
    }
    conditions.join(" and ")
}

/// Holds for rows of which the cursor is at or after `initial` (microseconds since 1970).
pub(super) fn initial_condition(cursor: &str, kind: CursorKind, initial: i64, timezone: &str) -> String {
    let instant = format!("'{}'::timestamptz", ServerTime::from_unix_micros(initial));
    match kind {
        CursorKind::Timestamptz => format!("{cursor} >= {instant}"),
        CursorKind::Timestamp | CursorKind::Date => {
            format!("{cursor} >= ({instant} at time zone {})", crate::postgres::sql::literal(timezone))
        }
    }
}
