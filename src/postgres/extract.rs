//! Reads all rows of a batch, from all tables of the tree, in one snapshot.
//!
//! The root rows come first, by a range of keys or by the keys themselves; then each relation, by the rows of the
//! table nearer to the root. One statement a relation, whatever the number of rows. What is over `batch_bytes` is cut
//! off: the batch then covers fewer root rows, and the caller puts the others back.

use std::collections::HashSet;
use std::sync::Arc;

use postgres::Row;
use tokio_postgres::RowStream;

use crate::batch::{Batch, Version, Work};
use crate::document::Refusal;
use crate::error::Result;
use crate::key::Key;
use crate::plan::{ExtractedBatch, root_key};
use crate::postgres::Source;
use crate::postgres::client::Sent;
use crate::postgres::lookup::is_hashed_id;
use crate::postgres::plan::SourcePlan;
use crate::postgres::ranges::{initial_condition, key_order, match_keys, range_condition};
use crate::postgres::related_read::push;
use crate::postgres::source::{raw_cell, stream, take_rows};
use crate::postgres::sql::Parameters;
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
    /// Reads the rows of a batch in one snapshot; `version` must have been drawn before.
    ///
    /// `INITIAL_TIMESTAMP` applies to ranges alone: a stale key is always built.
    pub fn read(&mut self, mut batch: Batch, version: Version) -> Result<Read> {
        let mut strange = Vec::new();
        let version = self.version_for(&batch.work, version);
        if let Work::Keys(keys) = &mut batch.work {
            (*keys, strange) = self.split_castable(std::mem::take(keys))?;
        }
        if let Some(read) = self.read_ahead(&batch, version)? {
            return Ok(read);
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
        let mut is_cut = !self.read_roots(&plan, &batch.work, &mut roots)?;
        let mut refused = Vec::new();
        let relations = loop {
            let byte_limit = if roots.len() <= 1 { limits.document_max_bytes } else { limits.batch_bytes };
            let mut left = byte_limit.saturating_sub(roots.byte_count());
            match self.read_relations(&plan, &batch.work, is_cut, &roots, Vec::new(), &mut left)? {
                Some(relations) => {
                    self.row_limit.learn(roots.len(), byte_limit - left);
                    break relations;
                }
                None if roots.len() > 1 => {
                    roots.truncate(roots.len() / 2);
                    is_cut = true;
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

    /// Reads root rows until the bytes are over `batch_bytes`; returns whether all were read.
    fn read_roots(&mut self, plan: &SourcePlan, work: &Work, roots: &mut Rows) -> Result<bool> {
        let row_limit = self.row_limit();
        // What was taken by a larger limit may be much more than fits.
        let is_limited = self.row_limit.is_lowered() && matches!(work, Work::Range(_));
        let (statement, parameters) = self.roots_statement(plan, work, is_limited.then_some(row_limit));
        let mut is_over = false;
        stream(
            &mut self.client,
            &statement,
            parameters,
            plan.root.select.formats(),
            &plan.root.name.to_string(),
            &mut roots_sink(self.limits.batch_bytes, roots, &mut is_over),
        )?;
        // As many rows as the limit lets through: there may be more.
        let is_at_limit = is_limited && roots.len() >= row_limit;
        Ok(!is_over && !is_at_limit)
    }

    /// Takes the root rows of a range whose statement was sent; returns whether they are more bytes than a batch may have.
    pub(super) fn take_roots(
        &mut self,
        plan: &SourcePlan,
        sent: Sent<RowStream>,
        roots: &mut Rows,
    ) -> Result<bool> {
        let mut is_over = false;
        let what = plan.root.name.to_string();
        let mut sink = roots_sink(self.limits.batch_bytes, roots, &mut is_over);
        take_rows(&mut self.client, sent, plan.root.select.formats(), &what, &mut sink)?;
        drop(sink);
        Ok(is_over)
    }

    /// The statement that reads the root rows, of a range at most `row_limit` if there is one.
    pub(super) fn roots_statement(
        &self,
        plan: &SourcePlan,
        work: &Work,
        row_limit: Option<usize>,
    ) -> (String, Parameters) {
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
        let order = match work {
            Work::Range(_) => {
                let limit = row_limit.map(|limit| format!(" limit {limit}")).unwrap_or_default();
                format!(" order by {}{limit}", key_order(root))
            }
            Work::Keys(_) => String::new(),
        };
        let statement =
            format!("select {} from {from} where {}{order}", root.select.sql(), conditions.join(" and "));
        (statement, parameters)
    }
}

/// What takes root rows until they are over `byte_limit`, but for the first.
fn roots_sink<'a>(
    byte_limit: usize,
    roots: &'a mut Rows,
    is_over: &'a mut bool,
) -> impl FnMut(&Row) -> Result<bool> + 'a {
    let column_count = roots.column_count();
    move |row| {
        if !roots.is_empty() && roots.byte_count() + row.raw_size_bytes() > byte_limit {
            *is_over = true;
            return Ok(false);
        }
        for column in 0..column_count {
            push(roots, raw_cell(row, column))?;
        }
        Ok(true)
    }
}
