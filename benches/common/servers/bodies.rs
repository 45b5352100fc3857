//! The bulk bodies of a load, kept to be sent again, also in bodies of other sizes.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::sink::actions;

/// All actions, one behind the other, in a file that goes with this value.
pub struct Bodies {
    file: File,
    /// Where each action ends, and so the next one begins.
    action_ends: Vec<u64>,
    /// Where each body ended as it came.
    body_ends: Vec<u64>,
}

impl Bodies {
    pub fn new() -> Self {
        Self { file: tempfile::tempfile().unwrap(), action_ends: Vec::new(), body_ends: Vec::new() }
    }

    pub fn append(&mut self, body: &[u8]) {
        self.file.write_all(body).unwrap();
        let mut end = self.bytes();
        self.action_ends.extend(actions(body).map(|action| {
            end += action.len() as u64;
            end
        }));
        self.body_ends.push(end);
    }

    pub fn bytes(&self) -> u64 {
        self.action_ends.last().copied().unwrap_or(0)
    }

    /// The pieces that came as bodies.
    pub fn as_they_came(&self) -> Vec<Range<u64>> {
        pieces(&self.body_ends, 0)
    }

    /// Pieces of so many bytes at most, with whole actions.
    pub fn cut(&self, most: u64) -> Vec<Range<u64>> {
        pieces(&self.action_ends, most)
    }

    pub fn read(&self, piece: &Range<u64>, body: &mut Vec<u8>) {
        body.resize((piece.end - piece.start) as usize, 0);
        self.file.read_exact_at(body, piece.start).unwrap();
    }
}

/// Pieces that end where one of `ends` is, of `most` bytes at most or of one step.
fn pieces(ends: &[u64], most: u64) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let mut before = 0;
    for end in ends {
        match pieces.last_mut() {
            Some(last) if end - last.start <= most => last.end = *end,
            _ => pieces.push(before..*end),
        }
        before = *end;
    }
    pieces
}
