//! What became of a batch's actions, while they are under way and in the end.

use crate::batch::Version;
use crate::document::{ActionKind, RenderedBatch};
use crate::elastic::response::Cause;
use crate::key::Key;

/// A document that the index refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The root key.
    pub key: Key,
    /// The server's word for the kind of error.
    pub error_type: String,
    /// The server's reason with all its causes.
    pub reason: String,
    /// The document as it was sent; none for a delete.
    pub document: Option<String>,
}

/// What became of the actions of a batch. Each key is in exactly one of `applied`, `refused` and
/// `superseded`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The keys whose actions the index has taken.
    pub applied: Vec<Key>,
    /// How many of them were documents written.
    pub applied_index_count: u64,
    /// How many of them were documents removed, or found absent.
    pub applied_delete_count: u64,
    /// What was refused for good.
    pub refused: Vec<Refused>,
    /// The keys for which the index holds a strictly higher version, and that version where it could be
    /// learned.
    pub superseded: Vec<(Key, Option<Version>)>,
    /// The keys, each once, of requests of which it was not known for a time whether they had been applied: a
    /// copy of such a request may still be on its way.
    pub unknown: Vec<Key>,
    /// Bulk requests sent.
    pub request_count: u64,
    /// How often actions were sent again; what was cut off from a body before it was sent is not among them.
    pub retried_item_count: u64,
    /// Bytes of the bodies sent.
    pub byte_count: u64,
}

/// What is known of a batch under way.
pub(crate) struct Progress<'a> {
    pub(crate) batch: &'a RenderedBatch,
    pub(crate) delivered: Delivered,
    pub(crate) superseded: Vec<(usize, Option<Version>)>,
    pub(crate) is_unknown: Vec<bool>,
    /// Positions to be sent again.
    pub(crate) waiting: Vec<usize>,
    /// Whether the server has judged an action for good since the last wait.
    pub(crate) has_advanced: bool,
    /// Whether a connection was cut, or silent for too long, since the batch was begun.
    pub(crate) was_cut_off: bool,
    /// Actions that were malformed to the server even when they stood alone.
    pub(crate) malformed_count: usize,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(batch: &'a RenderedBatch) -> Self {
        let action_count = batch.actions.len();
        Self {
            batch,
            delivered: Delivered::default(),
            superseded: Vec::new(),
            is_unknown: vec![false; action_count],
            waiting: (0..action_count).collect(),
            has_advanced: false,
            was_cut_off: false,
            malformed_count: 0,
        }
    }

    pub(crate) fn applied(&mut self, position: usize) {
        let action = &self.batch.actions[position];
        match action.kind {
            ActionKind::Index => self.delivered.applied_index_count += 1,
            ActionKind::Delete => self.delivered.applied_delete_count += 1,
        }
        self.delivered.applied.push(action.key.clone());
        self.has_advanced = true;
    }

    pub(crate) fn refused(&mut self, position: usize, cause: &Cause) {
        let action = &self.batch.actions[position];
        let document = &self.batch.body[action.document.clone()];
        self.delivered.refused.push(Refused {
            key: action.key.clone(),
            error_type: cause.error_type.clone(),
            reason: cause.reason_story(),
            document: (action.kind == ActionKind::Index)
                .then(|| String::from_utf8_lossy(document).into_owned()),
        });
        self.has_advanced = true;
    }

    pub(crate) fn superseded(&mut self, position: usize, found: Option<Version>) {
        self.superseded.push((position, found));
        self.has_advanced = true;
    }

    /// Actions that were sent have to be sent again.
    pub(crate) fn will_repeat(&mut self, positions: Vec<usize>) {
        self.delivered.retried_item_count += positions.len() as u64;
        self.waiting.extend(positions);
    }

    /// The keys, each once, of requests of which it was not known for a time whether they had been applied.
    pub(crate) fn unknown_keys(&self) -> Vec<Key> {
        let actions = self.batch.actions.iter().zip(&self.is_unknown);
        actions.filter(|(_, is_unknown)| **is_unknown).map(|(action, _)| action.key.clone()).collect()
    }

    pub(crate) fn finish(mut self) -> Delivered {
        self.delivered.unknown = self.unknown_keys();
        let key = |position: usize| self.batch.actions[position].key.clone();
        self.delivered.superseded =
            self.superseded.into_iter().map(|(position, found)| (key(position), found)).collect();
        self.delivered
    }
}
