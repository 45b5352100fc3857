//! Where the ranges of a full load end.

use std::sync::Arc;

use tokio_postgres::RowStream;

use crate::batch::KeyRange;
use crate::cell::CellFormat;
use crate::error::Result;
use crate::key::Key;
use crate::plan::PlannedColumn;
use crate::postgres::Source;
use crate::postgres::client::Sent;
use crate::postgres::plan::RootPlan;
use crate::postgres::poll::row_key;
use crate::postgres::ranges::{key_order, range_condition};
use crate::postgres::select::for_key;
use crate::postgres::source::{RowSink, send, stream, take_rows};
use crate::postgres::sql::Parameters;

/// Where the range that begins behind a key ends.
pub(super) struct Cut {
    low: Key,
    row_limit: usize,
    /// None if there are fewer rows.
    high: Option<Key>,
}

/// The question for a cut, sent with other statements.
pub(super) struct SentCut {
    low: Key,
    row_limit: usize,
    rows: Sent<RowStream>,
}

impl Source {
    /// Finds the last key of the next range of at most `row_limit` rows after `low`; none if fewer rows are left.
    pub fn cut_range(&mut self, low: Option<&Key>, row_limit: usize) -> Result<Option<Key>> {
        // The limit follows the size of the rows and leaves room.
        let most = row_limit.saturating_add(row_limit / 8);
        let known = self.next_cut.take().filter(|cut| Some(&cut.low) == low && cut.row_limit <= most);
        if let Some(cut) = known {
            return Ok(cut.high);
        }
        let plan = Arc::clone(&self.plan);
        let (statement, parameters) = statement(&plan.root, low, row_limit);
        self.begin()?;
        let high = take_key(&plan.root, |formats, what, sink| {
            stream(&mut self.client, &statement, parameters, formats, what, sink)
        })?;
        self.commit()?;
        Ok(high)
    }

    /// Asks for the end of the range behind `low`.
    pub(super) fn send_cut(&mut self, root: &RootPlan, low: Key) -> SentCut {
        let row_limit = self.row_limit();
        let (statement, parameters) = statement(root, Some(&low), row_limit);
        SentCut { low, row_limit, rows: send(&mut self.client, statement, parameters) }
    }

    /// Takes the answer, for the next call of [`cut_range`](Self::cut_range).
    pub(super) fn take_cut(&mut self, root: &RootPlan, sent: SentCut) -> Result<()> {
        let SentCut { low, row_limit, rows } = sent;
        let high =
            take_key(root, |formats, what, sink| take_rows(&mut self.client, rows, formats, what, sink))?;
        self.next_cut = Some(Cut { low, row_limit, high });
        Ok(())
    }
}

fn statement(root: &RootPlan, low: Option<&Key>, row_limit: usize) -> (String, Parameters) {
    let mut parameters = Parameters::default();
    let range = KeyRange { low: low.cloned(), high: None };
    let condition = range_condition(root, &root.key_row(), &range, &mut parameters);
    let select: Vec<String> = root.key.iter().map(|key| for_key("t", &key.column).0).collect();
    let statement = format!(
        "select {} from {} as t where {condition} order by {} offset {} limit 1",
        select.join(", "),
        root.table,
        key_order(root),
        row_limit.saturating_sub(1),
    );
    (statement, parameters)
}

/// Takes the one key that `read` gives to what it is handed.
fn take_key(
    root: &RootPlan,
    read: impl FnOnce(&[CellFormat], &str, &mut RowSink<'_>) -> Result<()>,
) -> Result<Option<Key>> {
    let columns: Vec<PlannedColumn> = root
        .key
        .iter()
        .enumerate()
        .map(|(position, key)| PlannedColumn { position, format: for_key("t", &key.column).1 })
        .collect();
    let formats: Vec<CellFormat> = columns.iter().map(|column| column.format).collect();
    let mut high = None;
    read(&formats, &format!("keys of {}", root.name), &mut |row| {
        high = row_key(row, &columns);
        Ok(true)
    })?;
    Ok(high)
}
