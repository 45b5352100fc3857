//! Documents as they are sent: the actions of a bulk request, rendered.

use std::ops::Range;

use crate::batch::{BatchNumber, Version};
use crate::key::Key;

/// What an action does to its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Writes the document.
    Index,
    /// Removes the document.
    Delete,
}

/// One action of a bulk request; its bytes lie in the batch's body.
#[derive(Clone, Debug)]
pub struct Action {
    /// The root key, from which the `_id` is made.
    pub key: Key,
    /// What routes the document to its shard; the `_id` if none.
    pub routing: Option<String>,
    /// Index or delete.
    pub kind: ActionKind,
    /// Where the action's lines lie in the body: the action line and, for `index`, the document line, each with its
    /// line feed.
    pub bytes: Range<usize>,
    /// Where the document alone lies in the body, without its line feed; empty for `delete`.
    pub document: Range<usize>,
}

impl Action {
    /// Where the index holds the document.
    pub fn address(&self) -> DocumentAddress {
        DocumentAddress { id: self.key.document_id().into_owned(), routing: self.routing.clone() }
    }
}

/// Where an index holds a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentAddress {
    /// Its `_id`.
    pub id: String,
    /// What routes it to its shard; the `_id` if none.
    pub routing: Option<String>,
}

/// A document that was refused before it was sent.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The root key.
    pub key: Key,
    /// A short stable word for the kind of refusal, as Elasticsearch's error types are.
    pub error_type: String,
    /// What was wrong with it.
    pub reason: String,
}

/// A batch whose documents are built and rendered as newline-delimited JSON, ready to be sent.
#[derive(Debug)]
pub struct RenderedBatch {
    /// The batch's number in the state.
    pub number: BatchNumber,
    /// The version that every action carries.
    pub version: Version,
    /// All actions, one after the other.
    pub body: Vec<u8>,
    /// The actions in the order of the body.
    pub actions: Vec<Action>,
    /// Keys of the batch for which nothing is to be done.
    pub settled: Vec<Key>,
    /// Documents that must not be sent.
    pub refused: Vec<Refusal>,
}
