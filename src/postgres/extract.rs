//! Reads all rows of a batch, from all tables of the tree, in one snapshot.
//!
//! The root rows come first, by a range of keys or by the keys themselves; then each relation, by the rows of the
//! table nearer to the root. One statement a relation, whatever the number of rows. What is over `batch_bytes` is cut
//! off: the batch then covers fewer root rows, and the caller puts the others back.

use std::collections::HashSet;
use std::sync::Arc;

use postgres::Row;

use crate::batch::{Batch, KeyRange, Version, Work};
use crate::document::Refusal;
use crate::error::Result;
use crate::key::Key;
use crate::plan::{ExtractedBatch, PlannedColumn, RelatedRows, root_key};
use crate::postgres::Source;
use crate::postgres::framed::push_framed;
use crate::postgres::groups::{Groups, NumberByKey, attach, cells};
use crate::postgres::lookup::is_hashed_id;
use crate::postgres::plan::{RelationPlan, SourcePlan};
use crate::postgres::poll::row_key;
use crate::postgres::ranges::{initial_condition, key_order, match_keys, range_condition};
use crate::postgres::related_read::{push, take_groups};
use crate::postgres::repeats::{repeated_byte_count, uses_of_rows};
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

/// What takes a related row and the number of its group; returns whether there is room for more in the bytes left.
type Take<'a> = dyn FnMut(RelatedRow<'_>, u32, &mut usize) -> Result<bool> + 'a;

/// A related row by the columns of the relation's plan, the first of which is the number of its group.
#[derive(Clone, Copy)]
struct RelatedRow<'r> {
    row: &'r Row,
    has_group_number: bool,
}

impl<'r> RelatedRow<'r> {
    fn cell(self, column: usize) -> Option<&'r [u8]> {
        let column = if self.has_group_number { column } else { column.checked_sub(1)? };
        raw_cell(self.row, column)
    }
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
        let version = self.version_for(&batch.work, version);
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
        let mut root_numbers: Option<NumberByKey> = None;
        // A document by itself is not to be refused for what is held beside its rows.
        let keeps_rows = self.kept.is_some() && roots.len() > 1 && matches!(work, Work::Range(_));
        for (position, relation) in plan.relations.iter().enumerate() {
            let kept = relation.kept.as_deref().filter(|_| keeps_rows);
            let mut groups = Groups::default();
            let nearer = relation.below.map_or(roots, |below| &relations[below].rows);
            let range = match work {
                Work::Range(range) if relation.is_by_root_key => {
                    let mut range = range.clone();
                    if is_cut && !roots.is_empty() {
                        range.high = Some(root_key(&plan.document.key, roots, roots.len() - 1));
                    }
                    let numbers = root_numbers.get_or_insert_with(|| {
                        (0..roots.len())
                            .map(|row| (cells(roots, row, &plan.document.key), row as u32))
                            .collect()
                    });
                    Some((range, &*numbers))
                }
                _ => {
                    groups.add_rows(nearer, relation);
                    None
                }
            };
            let read =
                |source: &mut Self, of: &RelationPlan, left: &mut usize, take: &mut Take<'_>| match &range {
                    Some((range, numbers)) => source.read_by_range(plan, of, range, numbers, left, take),
                    None => source.read_by_groups(of, &groups, left, take),
                };
            let related = match kept.map(|kept| (kept, &kept.link)) {
                None => {
                    let column_count = relation.select.formats().len();
                    let mut rows = Rows::new(column_count);
                    let mut group_of_row = Vec::new();
                    let is_within = read(self, relation, &mut left, &mut |row, group, _| {
                        group_of_row.push(group);
                        for column in 0..column_count {
                            push(&mut rows, row.cell(column))?;
                        }
                        Ok(true)
                    })?;
                    is_within.then_some((rows, group_of_row))
                }
                Some((kept, Some(link))) => {
                    self.read_kept(position, relation, kept, &mut left, |source, joined, left| {
                        read(source, link, left, &mut |row, group, left| {
                            joined.take(group, |column| row.cell(column), left)
                        })
                    })?
                }
                Some((kept, None)) => {
                    self.read_kept(position, relation, kept, &mut left, |_, joined, left| {
                        take_groups(nearer, &groups, joined, left)
                    })?
                }
            };
            let Some((rows, group_of_row)) = related else { return Ok(None) };
            let is_by_range = range.is_some();
            let (group_count, group_of_nearer_row) = if is_by_range {
                (roots.len(), (0..roots.len()).map(|row| Some(row as u32)).collect())
            } else {
                (groups.count, groups.of_nearer_row)
            };
            let related = attach(rows, &group_of_row, group_count, group_of_nearer_row);
            // A single document is judged by its own size, when it is rendered.
            if roots.len() > 1 {
                let nearer = relation.below.and_then(|below| uses[below].as_deref());
                let used = if is_by_range { None } else { uses_of_rows(&related, nearer) };
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

    /// Reads the rows of a relation whose root rows are in a range; returns false when they are more bytes than `left`.
    fn read_by_range(
        &mut self,
        plan: &SourcePlan,
        relation: &RelationPlan,
        range: &KeyRange,
        numbers: &NumberByKey,
        left: &mut usize,
        take: &mut Take<'_>,
    ) -> Result<bool> {
        let mut parameters = Parameters::default();
        let key = row_of(&relation.first_columns);
        let statement = format!(
            "select {} from {}{} where {}",
            relation.range_select.sql(),
            relation.first_table,
            relation.joins,
            range_condition(&plan.root, &key, range, &mut parameters)
        );
        let mut group = Vec::new();
        let mut last: (Vec<u8>, Option<u32>) = (Vec::new(), None);
        self.read_related(relation, &relation.range_select, &statement, parameters, left, &mut |row, left| {
            group.clear();
            for column in &relation.range_key {
                push_framed(&mut group, raw_cell(row, column.position).unwrap_or_default());
            }
            // An index gives the rows of one root together.
            if group != last.0 {
                last.1 = numbers.get(&group).copied();
                last.0.clone_from(&group);
            }
            // Rows whose root is filtered out or gone belong to no document.
            let row = RelatedRow { row, has_group_number: false };
            last.1.map_or(Ok(true), |number| take(row, number, left))
        })
    }

    /// Reads the rows of a relation by the values that join it; returns false when they are more bytes than `left`.
    fn read_by_groups(
        &mut self,
        relation: &RelationPlan,
        groups: &Groups,
        left: &mut usize,
        take: &mut Take<'_>,
    ) -> Result<bool> {
        if groups.count == 0 {
            return Ok(true);
        }
        let mut parameters = Parameters::default();
        let mut types = Vec::new();
        let mut pairs = Vec::new();
        for (place, (nearer, first)) in relation.nearer.iter().zip(&relation.first_columns).enumerate() {
            parameters.texts(groups.texts[place].clone());
            types.push(nearer.type_name.as_str());
            // What the definition says in SQL may name a column without its table.
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
        self.read_related(relation, &relation.select, &statement, parameters, left, &mut |row, left| {
            let number =
                raw_cell(row, 0).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
            let row = RelatedRow { row, has_group_number: true };
            take(row, u32::try_from(number - 1).unwrap_or(0), left)
        })
    }

    /// Streams related rows to `keep`; returns false when there are more bytes than `left`, or `keep` says so.
    fn read_related(
        &mut self,
        relation: &RelationPlan,
        select: &crate::postgres::select::SelectList,
        statement: &str,
        parameters: Parameters,
        left: &mut usize,
        keep: &mut dyn FnMut(&Row, &mut usize) -> Result<bool>,
    ) -> Result<bool> {
        let mut is_within = true;
        let what = format!("{} (relation {})", relation.table, relation.name);
        stream(&mut self.client, statement, parameters, select.formats(), &what, &mut |row| {
            // A cell costs its bytes and its place.
            let cost = row.raw_size_bytes() + 8 * row.len();
            is_within = match left.checked_sub(cost) {
                Some(rest) => {
                    *left = rest;
                    keep(row, left)?
                }
                None => false,
            };
            Ok(is_within)
        })?;
        Ok(is_within)
    }
}

fn push_row(rows: &mut Rows, row: &Row, column_count: usize) -> Result<()> {
    for column in 0..column_count {
        push(rows, raw_cell(row, column))?;
    }
    Ok(())
}
