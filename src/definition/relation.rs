//! Reads the relations and puts each behind the one it hangs below.

use crate::definition::name;
use crate::definition::parse::read_table;
use crate::definition::section::{Problems, Section, text_of};
use crate::definition::{JoinColumn, Relation, RelationId, TableName, Through};
use crate::suggestion::did_you_mean;

pub(super) const RELATION_FIELDS: &[&str] =
    &["table", "key", "cursor", "where", "below", "through", "on", "depth"];
pub(super) const THROUGH_FIELDS: &[&str] = &["table", "key", "cursor", "on"];

/// The most levels of a relation that repeats itself: each is read by a statement of its own.
const DEPTH_MAX: usize = 16;

/// Relations as they are written, with how many levels deep each repeats itself.
#[derive(Debug, Default)]
pub(super) struct WrittenRelations {
    pub(super) relations: Vec<Relation>,
    /// One for a relation that does not repeat itself.
    pub(super) depths: Vec<usize>,
}

/// Reads all relations. A relation with something wrong in it is returned nevertheless, so that what uses it is not
/// called wrong too.
pub(super) fn read_relations(
    top: &Section<'_>,
    root: &TableName,
    problems: &mut Problems<'_>,
) -> WrittenRelations {
    let Some(all) = top.section("relation", "write sections as [relation.genre]", problems) else {
        return WrittenRelations::default();
    };
    let mut sections = Vec::new();
    for (name, _, value) in all.entries() {
        sections.extend(
            Section::of(value, all.place_of(name), "write a section with table and on", problems)
                .map(|section| (name, section)),
        );
    }
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for (name, section) in &sections {
        if name.trim().is_empty() {
            problems.add(&section.span, &all.place, "a relation's name is not empty");
        }
        section.refuse_unknown(RELATION_FIELDS, problems);
        let below = section.text("below", problems).filter(|below| {
            let is_known = names.contains(&below.text.as_str());
            if !is_known {
                let near = did_you_mean(&below.text, names.iter().copied().filter(|known| known != name));
                let problem = format!(
                    "there is no relation {}{near}; leave it out for a relation of the root",
                    below.text
                );
                problems.add(&below.span, &section.place_of("below"), problem);
            }
            is_known
        });
        waiting.push(Waiting {
            name,
            section,
            below: below.map(|below| below.text),
            table: read_table(section, problems),
        });
    }
    let order = order(&waiting, problems);
    let position = |name: &str| order.iter().position(|waiting| waiting.name == name);
    let mut written = WrittenRelations::default();
    for Waiting { name, section, below, table } in &order {
        written.depths.push(read_depth(section, problems));
        let below = below.as_deref().and_then(position);
        let nearer = below.map_or(root, |below| &order[below].table);
        let through = section.section("through", "write { table = …, on = … }", problems).map(|through| {
            through.refuse_unknown(THROUGH_FIELDS, problems);
            let table = read_table(&through, problems);
            Through {
                on: read_join(&through, &table, nearer, problems),
                key: through.columns("key", problems),
                cursor: through.column("cursor", problems),
                table,
            }
        });
        let nearer = through.as_ref().map_or(nearer, |through| &through.table);
        written.relations.push(Relation {
            name: (*name).to_owned(),
            on: read_join(section, table, nearer, problems),
            table: table.clone(),
            key: section.columns("key", problems),
            cursor: section.column("cursor", problems),
            below: below.map(RelationId),
            through,
            condition: section.text("where", problems).map(|condition| condition.text),
        });
    }
    written
}

/// Reads how many levels of the relation hang below one another.
fn read_depth(section: &Section<'_>, problems: &mut Problems<'_>) -> usize {
    let Some(value) = section.get("depth") else { return 1 };
    let number = value
        .get_ref()
        .as_integer()
        .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
    match number {
        Some(depth) if (1..=DEPTH_MAX).contains(&depth) => depth,
        _ => {
            let problem = format!("write the number of levels, 1 to {DEPTH_MAX}");
            problems.add(&value.span(), &section.place_of("depth"), problem);
            1
        }
    }
}

/// A relation whose place in the order is not known yet.
#[derive(Clone)]
struct Waiting<'a> {
    name: &'a str,
    section: &'a Section<'a>,
    below: Option<String>,
    table: TableName,
}

/// Puts each behind the one it hangs below, else in the order of the file; those that hang in a circle come last.
fn order<'a>(relations: &[Waiting<'a>], problems: &mut Problems<'_>) -> Vec<Waiting<'a>> {
    let mut ordered: Vec<Waiting<'a>> = Vec::new();
    let mut left: Vec<Waiting<'a>> = relations.to_vec();
    while !left.is_empty() {
        let next = left.iter().position(|relation| {
            relation.below.as_ref().is_none_or(|below| ordered.iter().any(|known| known.name == below))
        });
        let Some(next) = next else {
            let names: Vec<&str> = left.iter().map(|relation| relation.name).collect();
            for relation in &left {
                let problem = format!(
                    "{} hang below one another in a circle, one of them has to hang below the root",
                    names.join(", ")
                );
                problems.add(&relation.section.span, &relation.section.place_of("below"), problem);
            }
            ordered.extend(left.into_iter().map(|relation| Waiting { below: None, ..relation }));
            break;
        };
        ordered.push(left.remove(next));
    }
    ordered
}

/// Reads an `on`: columns of `table` and what they equal in `nearer`, the table one step nearer to the root.
pub(super) fn read_join(
    section: &Section<'_>,
    table: &TableName,
    nearer: &TableName,
    problems: &mut Problems<'_>,
) -> Vec<JoinColumn> {
    let advice = format!("write on = {{ <column of {table}> = \"<column of {nearer}>\" }}");
    let place = section.place_of("on");
    if !section.has("on") {
        problems.add(
            &section.span,
            &place,
            format!(
                "{} needs a join, {advice}",
                if place.starts_with("tombstone") { "a tombstone" } else { "a relation" }
            ),
        );
    }
    let Some(on) = section.section("on", &advice, problems) else { return Vec::new() };
    let mut join = Vec::new();
    for (column, span, value) in on.entries() {
        if let Some(problem) = name::problem_with(column) {
            problems.add(&span, &place, problem);
        }
        let Some(nearer) = text_of(value, &on.place_of(column), problems) else { continue };
        if let Some(problem) = name::problem_with(&nearer.text) {
            problems.add(&nearer.span, &on.place_of(column), problem);
        }
        join.push(JoinColumn { column: column.to_owned(), nearer: nearer.text });
    }
    if on.entries().next().is_none() {
        problems.add(&on.span, &place, format!("must not be empty, {advice}"));
    }
    join
}
