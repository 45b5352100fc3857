//! Rows of one table of a batch, in one buffer, so that their memory is known to the byte.

/// Rows of equal width. Cells are PostgreSQL's binary values, one behind the other in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    column_count: usize,
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

/// Where a cell lies; `end` is its end and `start` its beginning, or [`NULL`] in `start`.
#[derive(Clone, Copy, Debug)]
struct Cell {
    start: u32,
    end: u32,
}

const NULL: u32 = u32::MAX;

impl Rows {
    /// Makes an empty set of rows with `column_count` columns.
    pub fn new(column_count: usize) -> Self {
        Self { column_count, bytes: Vec::new(), cells: Vec::new() }
    }

    /// How many columns each row has.
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.column_count).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The memory of the rows in bytes.
    pub fn byte_count(&self) -> usize {
        self.bytes.len() + self.cells.len() * size_of::<Cell>()
    }

    /// Adds the next cell, row by row from the left; returns false if the buffer cannot hold it (4 GiB).
    #[must_use]
    pub fn push_cell(&mut self, cell: Option<&[u8]>) -> bool {
        let Ok(start) = u32::try_from(self.bytes.len()) else { return false };
        let Some(value) = cell else {
            self.cells.push(Cell { start: NULL, end: start });
            return true;
        };
        let Some(end) = u32::try_from(value.len()).ok().and_then(|length| start.checked_add(length)) else {
            return false;
        };
        if end == NULL {
            return false;
        }
        self.bytes.extend_from_slice(value);
        self.cells.push(Cell { start, end });
        true
    }

    /// The bytes of a cell, or nothing for NULL.
    pub fn cell(&self, row: usize, column: usize) -> Option<&[u8]> {
        debug_assert!(column < self.column_count);
        let cell = self.cells[row * self.column_count + column];
        (cell.start != NULL).then(|| &self.bytes[cell.start as usize..cell.end as usize])
    }

    /// The bytes of a row's cells.
    pub fn row_byte_count(&self, row: usize) -> usize {
        (0..self.column_count).filter_map(|column| self.cell(row, column)).map(<[u8]>::len).sum()
    }

    /// Keeps the first `row_count` rows.
    pub fn truncate(&mut self, row_count: usize) {
        let cell_count = row_count * self.column_count;
        if cell_count < self.cells.len() {
            self.cells.truncate(cell_count);
            let end = self.cells.last().map_or(0, |cell| cell.end as usize);
            self.bytes.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_went_in() {
        let mut rows = Rows::new(2);
        for cell in [Some(&b"a"[..]), None, Some(b""), Some(b"bc")] {
            assert!(rows.push_cell(cell));
        }
        assert_eq!(rows.len(), 2);
        assert_eq!((rows.cell(0, 0), rows.cell(0, 1)), (Some(&b"a"[..]), None));
        assert_eq!((rows.cell(1, 0), rows.cell(1, 1)), (Some(&b""[..]), Some(&b"bc"[..])));
        rows.truncate(1);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows.bytes.len(), 1);
    }
}
