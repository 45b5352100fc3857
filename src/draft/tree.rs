//! Grows the tree of relations from the root table, along the foreign keys of both directions.
//!
//! Breadth first, so that what is nearest to the root comes in when there are too many. A path never comes back to a
//! table that it passed, but for a row's own parent in the same table. Below a to-one relation only to-one relations
//! are followed: what else hangs there belongs to the other row. A link table (a key of it is covered by two foreign
//! keys, and it has few columns of its own) becomes the `through` of the relation behind it.

use std::collections::VecDeque;

use crate::definition::TableName;
use crate::draft::names::{self, Names};
use crate::form::Form;
use crate::postgres::{ForeignKey, Survey, SurveyedTable};

/// The most relations of a draft: index servers refuse mappings with more than 50 nested fields.
const RELATION_LIMIT: usize = 40;

/// More rows of a relation than this for one row make a document that is no use; they are left out.
const ROWS_LIMIT: f64 = 1_000.0;

/// More than this is worth a note.
const ROWS_NOTED: f64 = 100.0;

/// The most columns of its own that make a link table.
const LINK_COLUMN_LIMIT: usize = 3;

/// A relation of the draft.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its name as a relation.
    pub(super) name: String,
    /// The names that its field would like to have, best first.
    pub(super) field_wishes: Vec<String>,
    pub(super) table: TableName,
    /// The node that it hangs below; the root if none.
    pub(super) below: Option<usize>,
    pub(super) is_list: bool,
    /// The link table between.
    pub(super) link: Option<Link>,
    /// A column of this table = a column of the table one step nearer.
    pub(super) on: Vec<(String, String)>,
    /// Columns that say no more than where the row belongs.
    pub(super) join_columns: Vec<String>,
}

/// A link table.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) table: TableName,
    pub(super) on: Vec<(String, String)>,
    /// Its own columns: what there is besides keys and times.
    pub(super) own_columns: Vec<String>,
}

/// The relations, each behind the one it hangs below.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) notes: Vec<String>,
}

/// A step that could be taken from a table.
struct Step {
    name_wishes: Vec<String>,
    table: TableName,
    is_list: bool,
    link: Option<Link>,
    on: Vec<(String, String)>,
    join_columns: Vec<String>,
    /// How many rows one row leads to, at most, as the planner guesses.
    rows: Option<f64>,
}

/// Where the tree grows: the root or a node, its table, and what was passed on the way.
struct Growing {
    node: Option<usize>,
    passed: Vec<TableName>,
    depth: usize,
    only_to_one: bool,
    /// How many rows one root row leads to here.
    rows: f64,
}

/// Grows the tree to `depth` relations below one another.
pub(super) fn grow(survey: &Survey, root: &TableName, depth: usize) -> Tree {
    let mut tree = Tree::default();
    let mut names = Names::default();
    let mut queue = VecDeque::from([Growing {
        node: None,
        passed: vec![root.clone()],
        depth: 0,
        only_to_one: false,
        rows: 1.0,
    }]);
    let mut cut_off: Vec<String> = Vec::new();
    while let Some(here) = queue.pop_front() {
        let Some(table) = here.passed.last().cloned() else { continue };
        for step in steps(survey, &table, &mut tree.notes) {
            if step.is_list && here.only_to_one {
                continue;
            }
            let is_self = step.table == table;
            let link_is_passed = step.link.as_ref().is_some_and(|link| here.passed.contains(&link.table));
            if (here.passed.contains(&step.table) && !is_self) || link_is_passed {
                continue;
            }
            let label = format!("{} → {}", table, step.table);
            if is_self && (step.is_list || step.link.is_some()) {
                tree.note(format!(
                    "{table} refers to itself: rows are drafted with the row that they refer to, not with the rows that refer to them"
                ));
                continue;
            }
            if here.depth >= depth || tree.nodes.len() >= RELATION_LIMIT {
                if !cut_off.contains(&label) {
                    cut_off.push(label);
                }
                continue;
            }
            if !is_readable(survey, &step) {
                tree.note(format!("{} is left out: the role may not read it", step.table));
                continue;
            }
            let rows = here.rows * step.rows.unwrap_or(1.0).max(1.0);
            if step.is_list && rows > ROWS_LIMIT {
                tree.note(format!(
                    "{label} is left out: one document would have up to about {rows:.0} of its rows"
                ));
                continue;
            }
            if step.is_list && rows > ROWS_NOTED {
                tree.note(format!("{label} is wide: one document has up to about {rows:.0} of its rows"));
            }
            if is_self {
                tree.note(format!(
                    "{table} refers to itself: one level is drafted ({}), each further level is a relation `below` it",
                    step.name_wishes[0]
                ));
            }
            let above = here.node.map(|node| tree.nodes[node].name.clone());
            let mut wishes = step.name_wishes.clone();
            // `store_address` says more than the further wishes.
            wishes.splice(1..1, above.map(|above| format!("{above}_{}", step.name_wishes[0])));
            let node = tree.nodes.len();
            if !is_self {
                let mut passed = here.passed.clone();
                passed.extend(step.link.as_ref().map(|link| link.table.clone()));
                passed.push(step.table.clone());
                queue.push_back(Growing {
                    node: Some(node),
                    passed,
                    depth: here.depth + 1,
                    only_to_one: here.only_to_one || !step.is_list,
                    rows,
                });
            }
            tree.nodes.push(Node {
                name: names.give(&wishes),
                field_wishes: step.name_wishes,
                table: step.table,
                below: here.node,
                is_list: step.is_list,
                link: step.link,
                on: step.on,
                join_columns: step.join_columns,
            });
        }
    }
    if !cut_off.is_empty() {
        let shown = cut_off.len().min(8);
        let more = if cut_off.len() > shown {
            format!(" and {} more", cut_off.len() - shown)
        } else {
            String::new()
        };
        tree.note(format!("not followed at this depth: {}{more}", cut_off[..shown].join(", ")));
    }
    tree
}

impl Tree {
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

fn is_readable(survey: &Survey, step: &Step) -> bool {
    let tables = [Some(&step.table), step.link.as_ref().map(|link| &link.table)];
    tables.into_iter().flatten().all(|table| survey.tables.get(table).is_some_and(|table| table.is_readable))
}

/// Every step from `table`: to-one by its own foreign keys, then through link tables and to-many by those of others.
fn steps(survey: &Survey, table: &TableName, notes: &mut Vec<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    for key in survey.foreign_keys.iter().filter(|key| key.table == *table) {
        steps.push(to_one(survey, key));
    }
    for key in survey.foreign_keys.iter().filter(|key| key.target == *table) {
        // Seen from its own side it is the parent that the step above has found.
        let Some(near) = survey.tables.get(&key.table) else { continue };
        match other_side(survey, key, near, notes) {
            Some(far) => steps.push(through(key, far, near)),
            None => steps.push(to_many(survey, key, near)),
        }
    }
    steps
}

fn to_one(survey: &Survey, key: &ForeignKey) -> Step {
    let target = names::plain(&key.target.name);
    let stem = match key.columns.as_slice() {
        [column] => names::referred(column).map(names::plain),
        _ => None,
    };
    let is_ambiguous = survey
        .foreign_keys
        .iter()
        .any(|other| other != key && other.table == key.table && other.target == key.target);
    let mut wishes: Vec<String> = stem.into_iter().collect();
    if wishes.is_empty() && is_ambiguous {
        wishes.push(names::plain(&key.columns.join("_")));
    }
    if !wishes.contains(&target) {
        wishes.push(target);
    }
    wishes.push(format!("{}_row", wishes[0]));
    Step {
        name_wishes: wishes,
        table: key.target.clone(),
        is_list: false,
        link: None,
        on: pairs(&key.target_columns, &key.columns),
        join_columns: Vec::new(),
        rows: Some(1.0),
    }
}

fn to_many(survey: &Survey, key: &ForeignKey, near: &SurveyedTable) -> Step {
    // A foreign key whose columns are unique has one row at most.
    let is_one = near.keys().any(|unique| unique.iter().all(|column| key.columns.contains(column)));
    let rows = if is_one { Some(1.0) } else { rows_of_a_value(near, &key.columns) };
    Step {
        name_wishes: names_from_afar(survey, key, &key.table),
        table: key.table.clone(),
        is_list: !is_one,
        link: None,
        on: pairs(&key.columns, &key.target_columns),
        join_columns: key.columns.clone(),
        rows,
    }
}

fn through(key: &ForeignKey, far: &ForeignKey, link: &SurveyedTable) -> Step {
    let target = names::plain(&far.target.name);
    let stem = match far.columns.as_slice() {
        [column] => names::referred(column).map(names::plain),
        _ => None,
    };
    let mut wishes = vec![target.clone()];
    wishes.extend(stem.filter(|stem| *stem != target));
    wishes.push(format!("{target}_by_{}", names::plain(&key.table.name)));
    let linked = [&key.columns[..], &far.columns[..]].concat();
    Step {
        name_wishes: wishes,
        table: far.target.clone(),
        is_list: true,
        link: Some(Link {
            table: key.table.clone(),
            on: pairs(&key.columns, &key.target_columns),
            own_columns: own_columns(link, &linked),
        }),
        on: pairs(&far.target_columns, &far.columns),
        join_columns: Vec::new(),
        rows: rows_of_a_value(link, &key.columns),
    }
}

/// The name of the table that refers; with the column that does where there are several.
fn names_from_afar(survey: &Survey, key: &ForeignKey, table: &TableName) -> Vec<String> {
    let name = names::plain(&table.name);
    let columns = key.columns.join("_");
    let stem = names::referred(&columns).unwrap_or(&columns);
    let by_column = format!("{name}_by_{}", names::plain(stem));
    let several = survey
        .foreign_keys
        .iter()
        .any(|other| other != key && other.table == key.table && other.target == key.target);
    if several { vec![by_column] } else { vec![name, by_column] }
}

/// The other foreign key of a link table, if `near`, which has the foreign key `key`, is one.
fn other_side<'s>(
    survey: &'s Survey,
    key: &ForeignKey,
    near: &SurveyedTable,
    notes: &mut Vec<String>,
) -> Option<&'s ForeignKey> {
    let own: Vec<&ForeignKey> = survey.foreign_keys.iter().filter(|other| other.table == key.table).collect();
    let [first, second] = own[..] else { return None };
    let far = if first == key { second } else { first };
    if far.columns.iter().any(|column| key.columns.contains(column)) && far.columns.len() == key.columns.len()
    {
        return None;
    }
    let both = [&key.columns[..], &far.columns[..]].concat();
    let own_columns = own_columns(near, &both);
    if own_columns.len() > LINK_COLUMN_LIMIT {
        return None;
    }
    // A key that is one side alone makes it a to-one relation.
    let is_side = |unique: &Vec<String>| {
        [&key.columns, &far.columns].iter().any(|side| unique.iter().all(|column| side.contains(column)))
    };
    if near.keys().any(is_side) {
        return None;
    }
    let holds_both = |unique: &Vec<String>| both.iter().all(|column| unique.contains(column));
    if near.keys().any(holds_both) {
        return Some(far);
    }
    // Nothing but two references and a number of its own, to which nobody refers: what else would it be for?
    let is_referred_to = survey.foreign_keys.iter().any(|other| other.target == key.table);
    if !own_columns.is_empty() || is_referred_to {
        return None;
    }
    let note = format!("{} is taken for a link table, though no key of it says so", key.table);
    if !notes.contains(&note) {
        notes.push(note);
    }
    Some(far)
}

/// The columns that are neither keys of rows nor times of writing.
fn own_columns(table: &SurveyedTable, linked: &[String]) -> Vec<String> {
    let surrogate: &[String] = match table.primary_key.as_slice() {
        [column] if !linked.contains(column) => &table.primary_key,
        _ => &[],
    };
    let is_time = |name: &str| {
        table.column(name).is_some_and(|column| matches!(column.form, Form::Timestamptz | Form::Timestamp))
    };
    table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .filter(|name| !linked.contains(name) && !surrogate.contains(name) && !is_time(name))
        .collect()
}

/// How many rows share the values of these columns, at most.
fn rows_of_a_value(table: &SurveyedTable, columns: &[String]) -> Option<f64> {
    columns.iter().filter_map(|column| table.column(column)?.most_rows_of_a_value).min_by(f64::total_cmp)
}

fn pairs(columns: &[String], nearer: &[String]) -> Vec<(String, String)> {
    columns.iter().cloned().zip(nearer.iter().cloned()).collect()
}
