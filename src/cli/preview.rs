//! `preview`: the documents as they would be sent, and how the index differs from them. Writes nothing.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use crate::cli::{exit_code, layout, output, target};
use crate::definition::Definition;
use crate::document::{Action, ActionKind, DocumentAddress, RenderedBatch};
use crate::elastic::{Client, Inspected, get_documents, inspect};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::Source;
use crate::settings::Settings;
use crate::transform::{RenderLimits, render};
use crate::verify::Comparer;

/// How many documents are shown when no key is given.
const SHOWN: usize = 3;

/// The exit code when the index differs.
const DIFFERENT: u8 = 1;

pub(super) fn preview(settings: &Settings, only: Option<&str>, keys: &[String], diff: bool) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    if let [definition] = definitions.as_slice() {
        return preview_definition(settings, definition, keys, diff);
    }
    let indices: Vec<&str> = definitions.iter().map(|definition| definition.index.as_str()).collect();
    if !keys.is_empty() {
        return Err(Error::wrong("keys are those of one index, and DEFINITION gives several")
            .hint(format!("name it with --index: {}", indices.join(", "))));
    }
    let mut codes = Vec::new();
    for definition in &definitions {
        output::line(&format!("{}:", definition.index))?;
        let shown = preview_definition(settings, definition, keys, diff);
        codes.push(shown.map_err(|error| error.while_doing(&definition.index))?);
    }
    Ok(exit_code::worst(codes))
}

fn preview_definition(
    settings: &Settings,
    definition: &Definition,
    keys: &[String],
    diff: bool,
) -> Result<u8> {
    let mut source = Source::connect(&settings.source, definition, target::source_limits(settings))?;
    let work = if keys.is_empty() {
        Work::Range(KeyRange { low: None, high: source.cut_range(None, SHOWN)? })
    } else {
        let keys: Vec<Key> = keys.iter().map(|key| Key::from_encoded(key.as_str())).collect();
        must_be_possible(&mut source, definition, &keys)?;
        Work::Keys(keys)
    };
    let read = source.read(Batch { number: BatchNumber(0), work, attempt_count: 0 }, Version(0))?;
    if !read.unread.is_empty() {
        return Err(
            Error::wrong("the documents of these keys are more than BATCH_BYTES").hint("name fewer keys")
        );
    }
    let rendered = render(read.extracted, RenderLimits { document_max_bytes: settings.document_max_bytes });
    for refusal in &rendered.refused {
        output::line(&format!("{}: refused: {}: {}", refusal.key, refusal.error_type, refusal.reason))?;
    }
    if diff {
        return show_differences(&Client::new(&settings.elastic)?, definition, &rendered);
    }
    for action in &rendered.actions {
        match action.kind {
            ActionKind::Index => output::line(&pretty(&rendered.body[action.document.clone()])?)?,
            ActionKind::Delete => {
                output::line(&format!("{}: no row, the document would be deleted", action.key))?;
            }
        }
    }
    Ok(0)
}

/// Refuses what is no key of the root table at all: a slip of the hand must not look like a row that is gone.
pub(super) fn must_be_possible(source: &mut Source, definition: &Definition, keys: &[Key]) -> Result<()> {
    let impossible = source.impossible_keys(keys)?;
    if impossible.is_empty() {
        return Ok(());
    }
    let written: Vec<String> = impossible.iter().map(|key| format!("{:?}", key.as_str())).collect();
    let table = &definition.root.table;
    Err(Error::wrong(format!("{} cannot be a key of {table}", written.join(", ")))
        .hint(format!("its key is: {}", source.root_key_description())))
}

fn show_differences(client: &Client, definition: &Definition, rendered: &RenderedBatch) -> Result<u8> {
    let index = definition.index.as_str();
    let ids: Vec<DocumentAddress> = rendered.actions.iter().map(Action::address).collect();
    // Before the first load everything is missing.
    let found = match inspect(client, index)? {
        Inspected::Missing => ids.iter().map(|_| None).collect(),
        _ => get_documents(client, index, &ids)?,
    };
    let comparer = Comparer::of(definition);
    let mut exit_code = 0;
    for (action, found) in rendered.actions.iter().zip(found) {
        let key = &action.key;
        let is_index = action.kind == ActionKind::Index;
        let document = &rendered.body[action.document.clone()];
        match found {
            None if is_index => output::line(&format!("{key}: missing in the index\n{}", pretty(document)?))?,
            None => {
                output::line(&format!("{key}: neither a row nor a document"))?;
                continue;
            }
            Some(_) if !is_index => output::line(&format!("{key}: in the index, but there is no row"))?,
            Some(found) => {
                let differing = comparer.differing_fields(document, &found.source)?;
                if differing.is_empty() {
                    output::line(&format!("{key}: the same"))?;
                    continue;
                }
                output::line(&format!("{key}: different"))?;
                show_fields(&differing, document, found.source.get().as_bytes())?;
            }
        }
        exit_code = DIFFERENT;
    }
    Ok(exit_code)
}

/// Prints the fields that differ: `-` as the index has it, `+` as it would be sent.
fn show_fields(differing: &[String], ours: &[u8], theirs: &[u8]) -> Result<()> {
    let (ours, theirs): (BTreeMap<String, &RawValue>, BTreeMap<String, &RawValue>) =
        (serde_json::from_slice(ours).map_err(no_json)?, serde_json::from_slice(theirs).map_err(no_json)?);
    for name in differing {
        if let Some(value) = theirs.get(name) {
            output::line(&format!("  - {name}: {value}"))?;
        }
        if let Some(value) = ours.get(name) {
            output::line(&format!("  + {name}: {value}"))?;
        }
    }
    Ok(())
}

/// The document over several lines. It is not parsed into a value, which would have a limit of depth and lose digits.
fn pretty(document: &[u8]) -> Result<String> {
    serde_json::from_slice::<IgnoredAny>(document).map_err(no_json)?;
    Ok(layout::spread(&String::from_utf8_lossy(document)))
}

fn no_json(error: serde_json::Error) -> Error {
    Error::wrong("a document is no JSON; a json column or mapping is odd").because(error)
}
