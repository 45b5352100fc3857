//! Cuts the actions of a batch into the bodies of bulk requests.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::document::{ActionKind, RenderedBatch};

/// Actions of one batch that go into one request: their positions in the batch, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) positions: Vec<usize>,
}

impl Piece {
    /// The request's body: a slice of the batch's where the actions lie side by side, else a copy.
    pub(crate) fn body<'a>(&self, batch: &'a RenderedBatch) -> Cow<'a, [u8]> {
        let ranges = || self.positions.iter().map(|position| &batch.actions[*position].bytes);
        let lie_side_by_side = ranges().zip(ranges().skip(1)).all(|(left, right)| left.end == right.start);
        match (ranges().next(), ranges().next_back()) {
            (Some(first), Some(last)) if lie_side_by_side => {
                Cow::Borrowed(&batch.body[first.start..last.end])
            }
            _ => Cow::Owned(ranges().flat_map(|range| &batch.body[range.clone()]).copied().collect()),
        }
    }

    /// The kinds of the actions, in order.
    pub(crate) fn kinds<'a>(
        &'a self,
        batch: &'a RenderedBatch,
    ) -> impl ExactSizeIterator<Item = ActionKind> + 'a {
        self.positions.iter().map(|position| batch.actions[*position].kind)
    }

    /// The two halves of a piece of at least two actions.
    pub(crate) fn halves(mut self) -> [Self; 2] {
        debug_assert!(self.positions.len() > 1, "one action cannot be halved");
        let second = self.positions.split_off(self.positions.len() / 2);
        [self, Self { positions: second }]
    }
}

/// Cuts the actions at `positions` into pieces of at most `max_bytes`; an action larger than that stands
/// alone.
pub(crate) fn cut(batch: &RenderedBatch, positions: &[usize], max_bytes: usize) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    let mut piece = Vec::new();
    let mut piece_bytes = 0;
    for position in positions.iter().copied() {
        let action_bytes = batch.actions[position].bytes.len();
        if !piece.is_empty() && piece_bytes + action_bytes > max_bytes {
            pieces.push_back(Piece { positions: std::mem::take(&mut piece) });
            piece_bytes = 0;
        }
        piece.push(position);
        piece_bytes += action_bytes;
    }
    if !piece.is_empty() {
        pieces.push_back(Piece { positions: piece });
    }
    pieces
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch::{BatchNumber, Version};
    use crate::document::Action;
    use crate::key::Key;

    /// A batch of `index` actions with these documents; an empty document makes a `delete`.
    pub(crate) fn batch(documents: &[&str]) -> RenderedBatch {
        let mut body = Vec::new();
        let mut actions = Vec::new();
        for (number, document) in documents.iter().enumerate() {
            let start = body.len();
            let kind = if document.is_empty() { ActionKind::Delete } else { ActionKind::Index };
            let operation = if kind == ActionKind::Delete { "delete" } else { "index" };
            body.extend_from_slice(
                format!(
                    "{{\"{operation}\":{{\"_id\":\"{number}\",\"version\":7,\"version_type\":\"external_gte\"}}}}\n"
                )
                .as_bytes(),
            );
            let document_start = body.len();
            body.extend_from_slice(document.as_bytes());
            let document = document_start..body.len();
            if kind == ActionKind::Index {
                body.push(b'\n');
            }
            actions.push(Action {
                key: Key::from_columns(&[number.to_string()]),
                routing: None,
                kind,
                bytes: start..body.len(),
                document,
            });
        }
        RenderedBatch {
            number: BatchNumber(1),
            version: Version(7),
            body,
            actions,
            settled: Vec::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn pieces_hold_every_action_once_and_stay_below_the_limit() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(500));
        let batch = batch(&["{}", "{}", &long, "", "{}"]);
        let all: Vec<usize> = (0..5).collect();
        for max_bytes in [1, 70, 150, 600, 10_000] {
            let pieces = cut(&batch, &all, max_bytes);
            let bodies: Vec<u8> = pieces.iter().flat_map(|piece| piece.body(&batch).into_owned()).collect();
            assert_eq!(bodies, batch.body);
            for piece in &pieces {
                assert!(piece.positions.len() == 1 || piece.body(&batch).len() <= max_bytes);
                assert!(matches!(piece.body(&batch), Cow::Borrowed(_)));
            }
        }
        assert_eq!(cut(&batch, &all, 10_000).len(), 1);
        assert!(cut(&batch, &[], 10).is_empty());
    }

    #[test]
    fn actions_that_are_apart_are_gathered() {
        let batch = batch(&["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        let piece = Piece { positions: vec![0, 2] };
        let body = String::from_utf8(piece.body(&batch).into_owned()).unwrap();
        assert!(
            body.contains("{\"a\":1}\n{\"index\"") && body.ends_with("{\"a\":3}\n") && !body.contains(":2}")
        );
        assert_eq!(
            Piece { positions: vec![0, 1, 2] }.halves(),
            [Piece { positions: vec![0] }, Piece { positions: vec![1, 2] }]
        );
    }
}
