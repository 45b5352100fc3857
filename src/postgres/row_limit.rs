//! How many root rows a batch should have, by the size of those that were read before.
//!
//! What does not fit into a batch is cut off and read again, and the server sends every row that it was asked for, also
//! those behind the cut. So a quarter of the room is left free, and a connection begins with few rows.

/// Root rows of the first batch, before anything is known of their size.
const FIRST: usize = 100;

/// The most root rows of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowLimit {
    rows: usize,
    /// `CHUNK_SIZE`.
    most: usize,
    /// The bytes that a batch should have: three quarters of `BATCH_BYTES`.
    room: usize,
}

impl RowLimit {
    pub(super) fn new(chunk_size: usize, batch_bytes: usize) -> Self {
        let most = chunk_size.max(1);
        Self { rows: FIRST.min(most), most, room: batch_bytes / 4 * 3 }
    }

    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Whether a batch may have more rows than now.
    pub(super) fn is_lowered(self) -> bool {
        self.rows < self.most
    }

    /// Learns from so many root rows that had so many bytes, those of their relations included.
    pub(super) fn learn(&mut self, row_count: usize, byte_count: usize) {
        let row_bytes = (byte_count / row_count.max(1)).max(1);
        let fitting = (self.room / row_bytes).max(1);
        self.rows = if byte_count > self.room {
            fitting
        } else {
            // A few large documents say little of the others.
            fitting.clamp(self.rows, self.rows.saturating_mul(2))
        }
        .min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_BYTES: usize = 16 << 20;

    /// The limit after batches as large as it allows, of rows of so many bytes.
    fn after(limit: &mut RowLimit, batch_count: usize, row_bytes: usize) -> usize {
        for _ in 0..batch_count {
            limit.learn(limit.rows(), limit.rows() * row_bytes);
        }
        limit.rows()
    }

    #[test]
    fn it_doubles_up_to_the_chunk_size() {
        let mut limit = RowLimit::new(4_000, BATCH_BYTES);
        assert_eq!((limit.rows(), limit.is_lowered()), (100, true));
        assert_eq!(after(&mut limit, 1, 1_000), 200);
        assert_eq!(after(&mut limit, 5, 1_000), 4_000);
        assert!(!limit.is_lowered());
        assert_eq!(RowLimit::new(7, BATCH_BYTES).rows(), 7);
    }

    #[test]
    fn large_rows_leave_a_quarter_of_the_batch_free() {
        let mut limit = RowLimit::new(4_000, BATCH_BYTES);
        assert_eq!(after(&mut limit, 10, 10_000), BATCH_BYTES / 4 * 3 / 10_000);
        // It stays there: such a batch is not cut, and says nothing new.
        assert_eq!(after(&mut limit, 10, 10_000), BATCH_BYTES / 4 * 3 / 10_000);
        // A single document may be larger than a batch.
        assert_eq!(after(&mut limit, 1, 50 << 20), 1);
        assert_eq!(after(&mut limit, 3, 10_000), 8);
    }

    #[test]
    fn a_small_batch_of_large_rows_lowers_nothing() {
        let mut limit = RowLimit::new(4_000, BATCH_BYTES);
        after(&mut limit, 10, 1_000);
        limit.learn(3, 3 << 20);
        assert_eq!(limit.rows(), 4_000);
        limit.learn(0, 0);
        assert_eq!(limit.rows(), 4_000);
    }

    #[test]
    fn batches_of_no_bytes_ask_for_one_row_at_least() {
        let mut limit = RowLimit::new(10, 0);
        limit.learn(10, 1_000);
        assert_eq!(limit.rows(), 1);
    }
}
