//! Relations that repeat themselves: a tree in one table (an adjacency list), read to a stated depth.
//!
//! `depth = 3` reads as the relation nested below itself twice more, with everything that hangs below it: so a change at
//! any level has a way to the root as any other relation has. In the document, an object made of its row gets at its
//! end the same field once more, made of the level below; the deepest level has none.

use crate::definition::relation::WrittenRelations;
use crate::definition::section::{Problems, Section};
use crate::definition::{Field, Item, Relation, RelationId, Source};

/// Each relation costs a statement for each batch.
const RELATIONS_MAX: usize = 256;

/// Writes all levels out.
pub(super) fn expand(
    written: &mut WrittenRelations,
    document: &mut [Field],
    top: &Section<'_>,
    problems: &mut Problems<'_>,
) {
    let mut position = 0;
    while position < written.relations.len() {
        if written.depths[position] > 1 {
            let copies = copy_below_itself(written, position);
            let name = written.relations[position].name.clone();
            let mut users = Users { relation: position, copies: &copies, has_object: false, clash: None };
            users.nest(document);
            let span = top.get("relation").map_or(0..0, toml::Spanned::span);
            if let Some(field) = users.clash {
                let problem = format!(
                    "puts the field {field} of the level below into its object, which has a field of that name: name one of them otherwise"
                );
                problems.add(&span, &format!("relation.{name}.depth"), problem);
                return;
            }
            if !users.has_object {
                let problem = "repeats itself in objects alone: make an object of it in the document, or leave depth out";
                problems.add(&span, &format!("relation.{name}.depth"), problem);
                return;
            }
            if written.relations.len() > RELATIONS_MAX {
                let problem = format!("makes more than {RELATIONS_MAX} relations with what hangs below it");
                problems.add(&span, &format!("relation.{name}.depth"), problem);
                return;
            }
        }
        position += 1;
    }
}

/// Hangs a copy of the relation, and of all that hangs below it, below the relation; returns the copy of each.
fn copy_below_itself(written: &mut WrittenRelations, position: usize) -> Vec<(usize, usize)> {
    let mut copies: Vec<(usize, usize)> = Vec::new();
    let count = written.relations.len();
    let copy_of = |copies: &[(usize, usize)], wanted: usize| {
        copies.iter().find(|(original, _)| *original == wanted).map(|(_, copy)| *copy)
    };
    for original in position..count {
        let below = match written.relations[original].below {
            _ if original == position => Some(position),
            Some(RelationId(below)) => copy_of(&copies, below),
            None => None,
        };
        let Some(below) = below else { continue };
        let name = next_name(&written.relations, &written.relations[original].name);
        let copy = Relation { name, below: Some(RelationId(below)), ..written.relations[original].clone() };
        copies.push((original, written.relations.len()));
        written.relations.push(copy);
        let depth = written.depths[original];
        written.depths.push(if original == position { depth - 1 } else { depth });
    }
    written.depths[position] = 1;
    copies
}

/// `child` is followed by `child (level 2)`, and that by `child (level 3)`.
fn next_name(relations: &[Relation], name: &str) -> String {
    let base = base_name(name);
    let mut level = 2;
    loop {
        let next = format!("{base} (level {level})");
        if relations.iter().all(|relation| relation.name != next) {
            return next;
        }
        level += 1;
    }
}

/// The name of a relation as it is written in the file.
fn base_name(name: &str) -> &str {
    name.rsplit_once(" (level ").map_or(name, |(base, _)| base)
}

/// Where the document makes something of the relation.
struct Users<'c> {
    relation: usize,
    copies: &'c [(usize, usize)],
    has_object: bool,
    /// The name of a field that such an object has already.
    clash: Option<String>,
}

impl Users<'_> {
    /// Puts the level below into every object that is made of the relation's row.
    fn nest(&mut self, fields: &mut [Field]) {
        for field in fields {
            let is_of_relation = match &field.source {
                Source::One { relation, .. } | Source::List { relation, .. } => relation.0 == self.relation,
                _ => false,
            };
            let again = is_of_relation.then(|| {
                let mut again = field.clone();
                self.move_down(&mut again.source);
                again
            });
            let Some(inner) = objects_fields(&mut field.source) else { continue };
            if let Some(again) = again {
                self.has_object = true;
                if inner.iter().any(|known| known.name == again.name) {
                    self.clash = Some(again.name.clone());
                }
                inner.push(again);
            } else {
                self.nest(inner);
            }
        }
    }

    /// Makes a field of the relations' copies.
    fn move_down(&self, source: &mut Source) {
        if let Source::One { relation, .. }
        | Source::List { relation, .. }
        | Source::Count { relation, .. }
        | Source::Inline { relation, .. } = source
            && let Some((_, copy)) = self.copies.iter().find(|(original, _)| *original == relation.0)
        {
            relation.0 = *copy;
        }
        for field in objects_fields(source).into_iter().flatten() {
            self.move_down(&mut field.source);
        }
    }
}

fn objects_fields(source: &mut Source) -> Option<&mut Vec<Field>> {
    match source {
        Source::One { item: Item::Object(fields), .. }
        | Source::List { item: Item::Object(fields), .. }
        | Source::Inline { fields, .. } => Some(fields),
        _ => None,
    }
}
