//! JSON strings, written straight from bytes.

/// Writes `text` as a JSON string, with the escapes that `serde_json` writes.
pub(crate) fn write_json_string(out: &mut Vec<u8>, text: &str) {
    write_json_bytes(out, text.as_bytes());
}

/// The same for bytes that should be UTF-8; what is not stays as it is, for [`make_utf8`].
pub(crate) fn write_json_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut written = 0;
    let mut at = 0;
    while let Some(found) = next_to_escape(bytes, at) {
        out.extend_from_slice(&bytes[written..found]);
        push_escape(out, bytes[found]);
        at = found + 1;
        written = at;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Puts replacement characters where the bytes from `start` on are no UTF-8, as in a database whose encoding is SQL_ASCII.
///
/// In JSON this is the same as doing it in each string: what stands around strings is ASCII, which ends a broken
/// character in any case.
pub(crate) fn make_utf8(out: &mut Vec<u8>, start: usize) {
    if simdutf8::basic::from_utf8(&out[start..]).is_err() {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Where the first byte from `at` on is that has an escape: a control character, a quote, a backslash.
fn next_to_escape(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(eight) = bytes.get(at..at + 8) {
        let mut word = [0; 8];
        word.copy_from_slice(eight);
        let found = to_escape(u64::from_le_bytes(word));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_escaped = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    bytes.get(at..)?.iter().position(is_escaped).map(|found| at + found)
}

/// The highest bit of each of eight bytes that has an escape. Only the lowest such bit is sure: a borrow may have set
/// others above it ("Bit Twiddling Hacks", determine if a word has a byte less than n).
fn to_escape(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    (control | quote | backslash) & (ONES * 0x80)
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_written_as_serde_json_writes_them(text in "(\\PC|[\u{0}-\u{7f}]|[\"\\\\\n])*") {
            let mut out = Vec::new();
            write_json_string(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_vec(&text).unwrap());
        }

        #[test]
        fn what_is_no_utf8_is_replaced_as_in_each_string(cells in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let mut out = b"[".to_vec();
            for cell in &cells {
                write_json_bytes(&mut out, cell);
                out.push(b',');
            }
            make_utf8(&mut out, 1);
            let mut expected = b"[".to_vec();
            for cell in &cells {
                serde_json::to_writer(&mut expected, &String::from_utf8_lossy(cell)).unwrap();
                expected.push(b',');
            }
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn every_byte_is_escaped_as_serde_json_does_wherever_it_stands() {
        for byte in 0..0x80u8 {
            for place in 0..20 {
                let mut text = "x".repeat(20);
                text.insert(place, char::from(byte));
                let mut out = Vec::new();
                write_json_string(&mut out, &text);
                assert_eq!(out, serde_json::to_vec(&text).unwrap());
            }
        }
    }
}
