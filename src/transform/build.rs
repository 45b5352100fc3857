//! Builds every document of a batch and renders the bulk body: one action line and one document line each.

use std::collections::HashSet;

use crate::batch::Version;
use crate::document::{Action, ActionKind, Refusal, RenderedBatch};
use crate::json_string::{make_utf8, write_json_string};
use crate::key::{ID_MAX_BYTES, Key};
use crate::plan::{
    DocumentPlan, ExtractedBatch, PlannedColumn, PlannedField, PlannedItem, PlannedJoinName, PlannedRelation,
    PlannedSource, RelatedRows, root_key,
};
use crate::rows::Rows;
use crate::transform::flatten;
use crate::transform::list::ListOrder;
use crate::transform::nesting::too_deep;
use crate::transform::repeats::{Repeats, have_same_key};

/// Limits on what is rendered.
#[derive(Clone, Copy, Debug)]
pub struct RenderLimits {
    /// The largest document in bytes; a larger one is refused.
    pub document_max_bytes: usize,
}

/// Builds and renders all documents of a batch.
///
/// Every root row becomes an `index` action, every missing key a `delete`, all with the batch's version. A document
/// over the limit, or nested too deep, is refused and leaves no bytes in the body.
pub fn render(extracted: ExtractedBatch, limits: RenderLimits) -> RenderedBatch {
    let ExtractedBatch { batch, version, plan, roots, relations, missing, settled, refused } = extracted;
    let row_bytes =
        roots.byte_count() + relations.iter().map(|related| related.rows.byte_count()).sum::<usize>();
    let mut rendered = RenderedBatch {
        number: batch.number,
        version,
        // JSON adds names to the rows' bytes and the action lines; a list of objects more than a plain row.
        body: Vec::with_capacity(row_bytes + row_bytes / 2 + 256 * (roots.len() + missing.len())),
        actions: Vec::with_capacity(roots.len() + missing.len()),
        settled,
        refused,
    };
    let mut builder = Builder {
        plan: &plan,
        roots: &roots,
        relations: &relations,
        order: ListOrder::default(),
        spare: Vec::new(),
        end: 0,
        lost: None,
    };
    let version_part = version_part(version);
    for row in 0..roots.len() {
        let key = root_key(&plan.key, &roots, row);
        let start = rendered.body.len();
        let routing = plan.routing_of(&key);
        if !plan.routing.is_empty() && key.is_hashed() {
            rendered.refused.push(too_long_to_route(key));
            continue;
        }
        write_action_line(&mut rendered.body, INDEX, &key, routing.as_deref(), &version_part);
        let document_start = rendered.body.len();
        builder.end = document_start.saturating_add(limits.document_max_bytes);
        builder.lost = None;
        builder.write_object(&mut rendered.body, &plan.fields, At::Root(row));
        if plan.refuses_nan
            && let Some(label) = builder.lost
        {
            rendered.body.truncate(start);
            rendered.refused.push(not_in_json(key, label));
            continue;
        }
        make_utf8(&mut rendered.body, document_start);
        let document = document_start..rendered.body.len();
        if document.len() > limits.document_max_bytes {
            rendered.body.truncate(start);
            rendered.refused.push(too_large(key, document.len(), limits.document_max_bytes));
            continue;
        }
        if let Some(reason) = too_deep(&rendered.body[document.clone()], &plan.fields) {
            rendered.body.truncate(start);
            rendered.refused.push(Refusal { key, error_type: "document_too_deep".to_owned(), reason });
            continue;
        }
        rendered.body.push(b'\n');
        let bytes = start..rendered.body.len();
        rendered.actions.push(Action { key, routing, kind: ActionKind::Index, bytes, document });
    }
    for key in missing {
        let start = rendered.body.len();
        let routing = plan.routing_of(&key);
        write_action_line(&mut rendered.body, DELETE, &key, routing.as_deref(), &version_part);
        let bytes = start..rendered.body.len();
        rendered.actions.push(Action { key, routing, kind: ActionKind::Delete, bytes, document: 0..0 });
    }
    rendered
}

/// The refusal of a document that is too large to be sent.
pub(crate) fn too_large(key: Key, byte_count: usize, limit: usize) -> Refusal {
    Refusal {
        key,
        error_type: "document_too_large".to_owned(),
        reason: format!("the document has {byte_count} bytes or more, DOCUMENT_MAX_BYTES allows {limit}"),
    }
}

/// The refusal of a document with a NaN or an infinity in the field of this label.
fn not_in_json(key: Key, label: &[u8]) -> Refusal {
    let field = String::from_utf8_lossy(label.strip_suffix(b":").unwrap_or(label)).into_owned();
    Refusal {
        key,
        error_type: "not_a_number".to_owned(),
        reason: format!(
            "the field {field} has a NaN or an infinity, which JSON cannot hold, and on_nan of the definition is \
             \"refuse\""
        ),
    }
}

/// The refusal of a document whose `_id` would not say its key, of which the routing is a part.
fn too_long_to_route(key: Key) -> Refusal {
    Refusal {
        key,
        error_type: "key_too_long".to_owned(),
        reason: format!("a routed document has a key of at most {ID_MAX_BYTES} bytes, and of one at least"),
    }
}

const INDEX: &[u8] = b"{\"index\":{\"_id\":";
const DELETE: &[u8] = b"{\"delete\":{\"_id\":";

/// What follows the `_id`: the same in every action line of a batch.
fn version_part(version: Version) -> Vec<u8> {
    format!(",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n").into_bytes()
}

fn write_action_line(
    body: &mut Vec<u8>,
    operation: &[u8],
    key: &Key,
    routing: Option<&str>,
    version_part: &[u8],
) {
    body.extend_from_slice(operation);
    write_json_string(body, &key.document_id());
    if let Some(routing) = routing {
        body.extend_from_slice(b",\"routing\":");
        write_json_string(body, routing);
    }
    body.extend_from_slice(version_part);
}

/// The row at hand.
#[derive(Clone, Copy)]
enum At {
    Root(usize),
    Related { relation: usize, row: usize },
}

/// What an object holds so far.
#[derive(Default)]
struct Members {
    has_one: bool,
    /// The names that flattening brought into it.
    flattened: Vec<String>,
}

impl Members {
    /// Sets the next member off from the one before it.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.has_one {
            out.push(b',');
        }
        self.has_one = true;
    }
}

/// Writes the members of a JSON object into the object at hand, but for those whose names it has already.
fn write_members(
    out: &mut Vec<u8>,
    column: PlannedColumn,
    bytes: &[u8],
    taken: &HashSet<String>,
    members: &mut Members,
) {
    let mut json = Vec::with_capacity(bytes.len());
    column.format.write_json(bytes, &mut json);
    for (name, value) in flatten::members(&json) {
        if taken.contains(&name) || members.flattened.contains(&name) {
            continue;
        }
        members.begin(out);
        write_json_string(out, &name);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
        members.flattened.push(name);
    }
}

struct Builder<'a> {
    plan: &'a DocumentPlan,
    roots: &'a Rows,
    relations: &'a [RelatedRows],
    order: ListOrder,
    /// Memory of lists of row numbers that are done with.
    spare: Vec<Vec<u32>>,
    /// A list that goes beyond this place is not written to its end: the document is refused.
    end: usize,
    /// The label of the first field of the document of which a part is null since JSON cannot hold it.
    lost: Option<&'a [u8]>,
}

impl<'a> Builder<'a> {
    fn write_object(&mut self, out: &mut Vec<u8>, fields: &'a [PlannedField], at: At) {
        out.push(b'{');
        self.write_fields(out, fields, Some(at), &mut Members::default());
        out.push(b'}');
    }

    /// Writes fields into an object that is begun; where there is no row, they are null, and lists empty.
    fn write_fields(
        &mut self,
        out: &mut Vec<u8>,
        fields: &'a [PlannedField],
        at: Option<At>,
        members: &mut Members,
    ) {
        for field in fields {
            match (&field.source, at) {
                (PlannedSource::Inline(related), at) => {
                    let PlannedItem::Object(inner) = &related.item else { continue };
                    let row = at.and_then(|at| self.chosen_row(related, at));
                    let at = row.map(|row| At::Related { relation: related.relation, row: row as usize });
                    self.write_fields(out, inner, at, members);
                    continue;
                }
                (PlannedSource::Flatten { column, taken }, at) => {
                    if let Some(bytes) = at.and_then(|at| self.cell(*column, at)) {
                        write_members(out, *column, bytes, taken, members);
                    }
                    continue;
                }
                _ => {}
            }
            members.begin(out);
            out.extend_from_slice(&field.label);
            match (&field.source, at) {
                (PlannedSource::List(related), Some(at)) => self.write_list(out, related, at, &field.label),
                (PlannedSource::List(_), None) => out.extend_from_slice(b"[]"),
                (source, Some(at)) => self.write_source(out, source, at, &field.label),
                (_, None) => out.extend_from_slice(b"null"),
            }
        }
    }

    /// Writes what is one value or object.
    fn write_source(&mut self, out: &mut Vec<u8>, source: &'a PlannedSource, at: At, label: &'a [u8]) {
        match source {
            PlannedSource::Cell(column) => self.write_cell(out, *column, at, label),
            PlannedSource::Constant(json) => out.extend_from_slice(json),
            PlannedSource::One(related) => match self.chosen_row(related, at) {
                Some(row) => self.write_item(out, related, row, label),
                None => out.extend_from_slice(b"null"),
            },
            PlannedSource::Geo { lat, lon } => {
                let start = out.len();
                out.extend_from_slice(b"{\"lat\":");
                let has_lat = self.write_known(out, *lat, at, label);
                out.extend_from_slice(b",\"lon\":");
                let has_lon = self.write_known(out, *lon, at, label);
                out.push(b'}');
                if !has_lat || !has_lon {
                    out.truncate(start);
                    out.extend_from_slice(b"null");
                }
            }
            PlannedSource::Join { name, parent } => {
                let start = out.len();
                out.extend_from_slice(b"{\"name\":");
                let has_name = match name {
                    PlannedJoinName::Constant(json) => {
                        out.extend_from_slice(json);
                        true
                    }
                    PlannedJoinName::Of(column) => self.write_known(out, *column, at, label),
                };
                if let Some(parent) = parent.filter(|parent| self.cell(*parent, at).is_some()) {
                    out.extend_from_slice(b",\"parent\":");
                    self.write_cell(out, parent, at, label);
                }
                out.push(b'}');
                if !has_name {
                    out.truncate(start);
                    out.extend_from_slice(b"null");
                }
            }
            PlannedSource::Count(related) => {
                let count = self.different_rows(related, at);
                out.extend_from_slice(count.to_string().as_bytes());
            }
            // These are no single value: see `write_fields`.
            PlannedSource::List(_) | PlannedSource::Inline(_) | PlannedSource::Flatten { .. } => {}
        }
    }

    /// Writes a cell and says whether it is anything but null.
    fn write_known(&mut self, out: &mut Vec<u8>, column: PlannedColumn, at: At, label: &'a [u8]) -> bool {
        let start = out.len();
        self.write_cell(out, column, at, label);
        out[start..] != *b"null"
    }

    /// Writes all items; a NULL value is no item, and rows of one key that make the same item are one item.
    fn write_list(&mut self, out: &mut Vec<u8>, related: &'a PlannedRelation, at: At, label: &'a [u8]) {
        out.push(b'[');
        let rows = self.chosen_rows(related, at);
        let limit = related.limit.unwrap_or(usize::MAX);
        let mut item_count = 0;
        let mut repeats = Repeats::new(related);
        for &row in &rows {
            if item_count == limit || out.len() > self.end {
                break;
            }
            if let PlannedItem::Value(column) = &related.item
                && self.cell(*column, At::Related { relation: related.relation, row: row as usize }).is_none()
            {
                continue;
            }
            let before = out.len();
            if item_count > 0 {
                out.push(b',');
            }
            let start = out.len();
            self.write_item(out, related, row, label);
            let item = start..out.len();
            // What has no value in JSON either: a `json` null, a NaN, an empty range.
            if matches!(related.item, PlannedItem::Value(_)) && out[item.clone()] == *b"null" {
                out.truncate(before);
                continue;
            }
            let found = &self.relations[related.relation].rows;
            if repeats.has(found, &self.plan.relation_keys[related.relation], row, item, out) {
                out.truncate(before);
                continue;
            }
            item_count += 1;
        }
        self.spare.push(rows);
        out.push(b']');
    }

    fn write_item(&mut self, out: &mut Vec<u8>, related: &'a PlannedRelation, row: u32, label: &'a [u8]) {
        let at = At::Related { relation: related.relation, row: row as usize };
        match &related.item {
            PlannedItem::Value(column) => self.write_cell(out, *column, at, label),
            PlannedItem::Object(fields) => self.write_object(out, fields, at),
        }
    }

    fn write_cell(&mut self, out: &mut Vec<u8>, column: PlannedColumn, at: At, label: &'a [u8]) {
        match self.cell(column, at) {
            Some(bytes) => {
                if !column.format.write_json(bytes, out) {
                    self.lost.get_or_insert(label);
                }
            }
            None => out.extend_from_slice(b"null"),
        }
    }

    fn cell(&self, column: PlannedColumn, at: At) -> Option<&'a [u8]> {
        match at {
            At::Root(row) => self.roots.cell(row, column.position),
            At::Related { relation, row } => self.relations[relation].rows.cell(row, column.position),
        }
    }

    /// The related rows that count, in their order.
    fn chosen_rows(&mut self, related: &PlannedRelation, at: At) -> Vec<u32> {
        let nearer_row = match at {
            At::Root(row) | At::Related { row, .. } => row,
        };
        let rows = &self.relations[related.relation];
        let mut chosen = self.spare.pop().unwrap_or_default();
        chosen.clear();
        chosen.extend(rows.rows_of(nearer_row).iter().filter(|row| match &related.filter {
            Some(filter) => filter.counts(&rows.rows, **row as usize),
            None => true,
        }));
        if chosen.len() > 1 {
            self.order.sort(&mut chosen, &rows.rows, related, &self.plan.relation_keys[related.relation]);
        }
        chosen
    }

    /// The first related row that counts.
    fn chosen_row(&mut self, related: &PlannedRelation, at: At) -> Option<u32> {
        let rows = self.chosen_rows(related, at);
        let first = rows.first().copied();
        self.spare.push(rows);
        first
    }

    /// How many related rows count, each once however often it is reached; all of them where no key tells them apart.
    fn different_rows(&mut self, related: &PlannedRelation, at: At) -> usize {
        let mut rows = self.chosen_rows(related, at);
        let key = &self.plan.relation_keys[related.relation];
        if !key.is_empty() {
            let found = &self.relations[related.relation].rows;
            // In the order of their key, since nothing else is planned for a count.
            rows.dedup_by(|later, first| have_same_key(found, key, *first, *later));
        }
        let count = rows.len();
        self.spare.push(rows);
        count
    }
}
