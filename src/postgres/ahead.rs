//! Reads a range of a full load with its statements sent before the first row is taken: the server works on one while the
//! rows of another are taken, and no way to the server and back is waited for between them.
//!
//! Sent ahead are the statements that need nothing of another's rows: the root's, each relation's whose first table
//! holds the root's key, and where the next range ends. If that is all of them, the end of the snapshot goes with them;
//! else the others follow as ever. What does not fit into a batch is read again, statement by statement.

use std::sync::Arc;

use postgres::SimpleQueryMessage;
use tokio_postgres::RowStream;

use crate::batch::{Batch, KeyRange, Version, Work};
use crate::error::Result;
use crate::plan::ExtractedBatch;
use crate::postgres::Source;
use crate::postgres::client::Sent;
use crate::postgres::connect::classify;
use crate::postgres::cut::SentCut;
use crate::postgres::extract::Read;
use crate::postgres::indexes;
use crate::postgres::plan::SourcePlan;
use crate::postgres::relations::{Answer, FirstRows, Reading, range_statement, root_numbers};
use crate::postgres::source::send;
use crate::rows::Rows;

/// Statements that were sent, in their order.
struct Ahead {
    begin: Sent<Vec<SimpleQueryMessage>>,
    roots: Sent<RowStream>,
    /// By relation; none for those that are read by what others' rows say.
    relations: Vec<Option<Sent<RowStream>>>,
    cut: Option<SentCut>,
    end: Option<Sent<Vec<SimpleQueryMessage>>>,
}

impl Source {
    /// Reads a range this way; nothing where it is not possible, or the rows are more than a batch may have.
    pub(super) fn read_ahead(&mut self, batch: &Batch, version: Version) -> Result<Option<Read>> {
        let Work::Range(range) = &batch.work else { return Ok(None) };
        let plan = Arc::clone(&self.plan);
        if !self.can_send_ahead(&plan) {
            return Ok(None);
        }
        let ahead = self.send_ahead(&plan, range);
        let has_end = ahead.end.is_some();
        let read = self.take_ahead(&plan, batch, version, ahead)?;
        if !has_end {
            // The answers that were not taken are read over.
            if read.is_some() { self.commit_of_plan()? } else { self.commit()? }
        }
        Ok(read)
    }

    /// Whether rows that are kept are there already.
    fn can_send_ahead(&self, plan: &SourcePlan) -> bool {
        let misses_rows = plan.relations.iter().enumerate().any(|(position, relation)| {
            let is_kept = relation.kept.is_some() && self.kept.is_some();
            relation.is_by_root_key && is_kept && !self.is_filled(position)
        });
        !misses_rows && !indexes::is_explaining()
    }

    fn send_ahead(&mut self, plan: &SourcePlan, range: &KeyRange) -> Ahead {
        let begin = self.client.send_simple(self.begin_snapshot.clone());
        let (statement, parameters) = self.roots_statement(plan, &Work::Range(range.clone()), None);
        let roots = send(&mut self.client, statement, parameters);
        let relations: Vec<_> = plan
            .relations
            .iter()
            .enumerate()
            .map(|(position, relation)| {
                let reading = self.reading(position, plan);
                relation.is_by_root_key.then(|| {
                    let (statement, parameters) = range_statement(plan, reading.first(), range);
                    send(&mut self.client, statement, parameters)
                })
            })
            .collect();
        let cut = range.high.clone().map(|high| self.send_cut(&plan.root, high));
        let end = relations.iter().all(Option::is_some).then(|| self.send_commit_of_plan());
        Ahead { begin, roots, relations, cut, end }
    }

    fn take_ahead(
        &mut self,
        plan: &SourcePlan,
        batch: &Batch,
        version: Version,
        ahead: Ahead,
    ) -> Result<Option<Read>> {
        let Ahead { begin, roots: sent_roots, relations: sent_relations, cut, end } = ahead;
        self.client
            .take_simple(begin)
            .map_err(|error| classify(&error, "cannot begin a transaction".to_owned()))?;
        let mut roots = Rows::new(plan.root.select.formats().len());
        if self.take_roots(plan, sent_roots, &mut roots)? {
            self.row_limit.learn(roots.len(), self.limits.batch_bytes);
            return Ok(None);
        }
        // A single document may be larger than a batch.
        if roots.len() <= 1 {
            return Ok(None);
        }
        let mut left = self.limits.batch_bytes.saturating_sub(roots.byte_count());
        let numbers = root_numbers(plan, &roots);
        let mut first_rows = Vec::with_capacity(sent_relations.len());
        for (position, sent) in sent_relations.into_iter().enumerate() {
            first_rows.push(match sent {
                None => None,
                Some(sent) => {
                    let reading = self.reading(position, plan);
                    let read = self.read_by_range(reading, Answer::Sent(sent), &numbers, &mut left)?;
                    if read.is_none() {
                        self.row_limit.learn(roots.len(), self.limits.batch_bytes);
                        return Ok(None);
                    }
                    read
                }
            });
        }
        if let Some(cut) = cut {
            self.take_cut(&plan.root, cut)?;
        }
        let misses_rows = first_rows.iter().flatten().any(FirstRows::misses_rows);
        let is_over = match end {
            Some(end) => {
                self.take_shape(end)?;
                misses_rows
            }
            None => false,
        };
        // A related row that is not kept may be newer than the others, as one that is kept may be older: see
        // `related_read`.
        if is_over {
            self.begin()?;
        }
        let relations = self.read_relations(plan, &batch.work, false, &roots, first_rows, &mut left)?;
        self.row_limit.learn(roots.len(), self.limits.batch_bytes - left);
        let Some(relations) = relations else {
            if is_over {
                self.commit()?;
            }
            return Ok(None);
        };
        if is_over {
            self.commit_of_plan()?;
        }
        Ok(Some(Read {
            extracted: ExtractedBatch {
                batch: batch.clone(),
                version,
                plan: Arc::clone(&plan.document),
                roots,
                relations,
                missing: Vec::new(),
                settled: Vec::new(),
                refused: Vec::new(),
            },
            unread: Vec::new(),
            is_range_cut: false,
        }))
    }

    fn reading<'p>(&self, position: usize, plan: &'p SourcePlan) -> Reading<'p> {
        let relation = &plan.relations[position];
        Reading { position, relation, kept: relation.kept.as_deref().filter(|_| self.kept.is_some()) }
    }
}
