//! PostgreSQL's text of arrays, composites, ranges and the like, taken apart.
//!
//! One rule of quoting serves them all: `"` opens and closes, `\` takes the next byte as it is, and inside quotes `""`
//! is one quote. It is what `array_out`, `record_out`, `range_out` and `hstore_out` write.

/// A place in such a text. Every method returns nothing where the text is not as PostgreSQL writes it.
#[derive(Debug)]
pub(super) struct Literal<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Literal<'a> {
    /// The beginning of a text.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte, which is not passed.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes the next byte.
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Passes this byte, which must come next.
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Passes this byte if it comes next; whether it did.
    pub(super) fn passes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes a text if it comes next; whether it did.
    pub(super) fn passes_text(&mut self, text: &[u8]) -> bool {
        let is_next = self.bytes[self.at..].starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Passes spaces.
    pub(super) fn pass_spaces(&mut self) {
        while self.passes(b' ') {}
    }

    /// Whether all was passed.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Passes everything up to one of `stops`, which stays, and puts it unquoted into `token`; whether there was a
    /// quote: `""` is an empty text where nothing at all is NULL.
    pub(super) fn token(&mut self, stops: &[u8], token: &mut Vec<u8>) -> Option<bool> {
        token.clear();
        let mut was_quoted = false;
        loop {
            let byte = self.peek()?;
            if stops.contains(&byte) {
                return Some(was_quoted);
            }
            self.at += 1;
            match byte {
                b'\\' => token.push(self.next()?),
                b'"' => {
                    was_quoted = true;
                    self.quoted(token)?;
                }
                other => token.push(other),
            }
        }
    }

    /// Passes a quoted text, which must come next.
    pub(super) fn expect_quoted(&mut self, token: &mut Vec<u8>) -> Option<()> {
        token.clear();
        self.expect(b'"')?;
        self.quoted(token)
    }

    /// Passes the rest of a quoted text.
    fn quoted(&mut self, token: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.next()? {
                b'\\' => token.push(self.next()?),
                b'"' if self.passes(b'"') => token.push(b'"'),
                b'"' => return Some(()),
                other => token.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_of_all_writers_are_taken_away() {
        let mut token = Vec::new();
        for (text, expected, was_quoted) in [
            (&b"plain,"[..], &b"plain"[..], false),
            (b",", b"", false),
            (b"\"\",", b"", true),
            (b"\"a\\\"b\\\\,\",", b"a\"b\\,", true),
            (b"\"a\"\"b\\\\\",", b"a\"b\\", true),
        ] {
            assert_eq!(Literal::new(text).token(b",", &mut token), Some(was_quoted));
            assert_eq!(token, expected);
        }
        assert_eq!(Literal::new(b"\"never closed,").token(b",", &mut token), None);
        assert_eq!(Literal::new(b"never ended").token(b",", &mut token), None);
    }
}
