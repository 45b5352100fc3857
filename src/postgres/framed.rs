//! Cells one behind the other, each with its length in front, so that different cells never give the same bytes.

/// Adds a cell: its length and one more, then its bytes; a NULL is a zero.
pub(super) fn push_cell(out: &mut Vec<u8>, cell: Option<&[u8]>) {
    write_length(out, cell.map_or(0, |cell| cell.len() + 1));
    out.extend_from_slice(cell.unwrap_or_default());
}

/// Adds a cell that is no NULL.
pub(super) fn push_framed(out: &mut Vec<u8>, cell: &[u8]) {
    push_cell(out, Some(cell));
}

/// Reads cells that were pushed one after the other; NULL is none.
pub(super) struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    /// Those in `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = read_length(&mut self.rest);
        let Some(length) = length.checked_sub(1) else { return Some(None) };
        let (cell, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Some(cell))
    }
}

/// Seven bits a byte, the lowest first (LEB128).
fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn read_length(rest: &mut &[u8]) -> usize {
    let mut length = 0;
    let mut shift = 0;
    while let Some((byte, behind)) = rest.split_first() {
        *rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_they_were_pushed() {
        let long = vec![b'x'; 70_000];
        let cells =
            [Some(&b"one"[..]), None, Some(b""), Some(&long[..]), Some(&long[..126]), Some(&long[..127])];
        let mut bytes = Vec::new();
        for cell in cells {
            push_cell(&mut bytes, cell);
        }
        assert_eq!(Cells::new(&bytes).collect::<Vec<_>>(), cells);
    }

    #[test]
    fn different_cells_never_give_the_same_bytes() {
        let framed = |cells: &[&[u8]]| {
            let mut bytes = Vec::new();
            for cell in cells {
                push_framed(&mut bytes, cell);
            }
            bytes
        };
        assert_ne!(framed(&[b"ab", b"c"]), framed(&[b"a", b"bc"]));
        assert_ne!(framed(&[b""]), framed(&[]));
    }
}
