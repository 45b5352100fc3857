//! Spreads compact JSON over lines, as it stands: a number keeps every digit, which it would not on its way through a
//! parsed value.

/// Returns `json`, which must be valid, over several lines with two spaces for each depth.
pub(super) fn spread(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                out.push('"');
                while let Some(inside) = characters.next() {
                    out.push(inside);
                    match inside {
                        '\\' => out.extend(characters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(character);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other if other.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_laid_out_as_serde_json_does_and_numbers_are_kept() {
        let json = r#"{"a":[],"b":{ },"c":["x,y:{\"[\\",1,null,[2]],"d":{"e":"ü"}}"#;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(spread(json), format!("{value:#}"));
        let number = "{\n  \"n\": 123456789012345678901234567890.10\n}";
        assert_eq!(spread("{ \"n\" : 123456789012345678901234567890.10 }"), number);
    }
}
