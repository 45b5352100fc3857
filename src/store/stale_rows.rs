//! Many stale keys as rows by few statements.
//!
//! A statement for each row begins at the root of the tree every time; one of many rows goes on where it was.

use std::sync::LazyLock;

use rusqlite::Transaction;

use crate::key::Key;
use crate::store::failure::Attempt;

/// Rows of the large statement and of the small one: a few rows should not cost as much as many.
const MANY: usize = 64;
const FEW: usize = 8;

static INSERT_MANY: LazyLock<String> = LazyLock::new(|| statement(MANY));
static INSERT_FEW: LazyLock<String> = LazyLock::new(|| statement(FEW));
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| statement(1));

/// Inserts keys under numbers that grow and lie beside no others.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    generation: i64,
    rows: &[(i64, &Key)],
    attempt_count: u32,
    now: i64,
) -> Attempt<()> {
    let mut rest = rows;
    for (row_count, statement) in [(MANY, &INSERT_MANY), (FEW, &INSERT_FEW), (1, &INSERT_ONE)] {
        if rest.len() < row_count {
            continue;
        }
        let mut insert = transaction.prepare_cached(statement)?;
        insert.raw_bind_parameter(1, generation)?;
        insert.raw_bind_parameter(2, attempt_count)?;
        insert.raw_bind_parameter(3, now)?;
        while let Some((rows, later)) = rest.split_at_checked(row_count) {
            rest = later;
            for (place, (number, key)) in rows.iter().enumerate() {
                insert.raw_bind_parameter(4 + 2 * place, *number)?;
                insert.raw_bind_parameter(5 + 2 * place, key.as_str())?;
            }
            insert.raw_execute()?;
        }
    }
    Ok(())
}

/// `or fail`: a failure ends the whole transaction, so nothing need be noted to undo one statement.
fn statement(row_count: usize) -> String {
    let values: Vec<String> =
        (0..row_count).map(|place| format!("(?1, ?{}, ?{}, ?2, ?3)", 4 + 2 * place, 5 + 2 * place)).collect();
    format!(
        "insert or fail into stale_keys (generation, number, key, attempts, recorded_at)
         values {}",
        values.join(", ")
    )
}
