//! Random tables and the relations between them.

use fastrand::Rng;

use super::model::{Column, Join, Kind, Model, Reference, Relation, Storage, Table, Through, Tombstone};

const SCHEMAS: &[&str] = &["public", "my shop", "Geo.data"];
const TABLE_NAMES: &[&str] =
    &["film", "Order", "my table", "a.b", "sel\"ect", "user", "таблица", "x-y", "it's", "back\\slash"];
const COLUMN_NAMES: &[&str] = &[
    "n",
    "title",
    "Weird Col",
    "user",
    "select",
    "a.b",
    "q\"x",
    "it's",
    "имя",
    "CamelCase",
    "x|y",
    "back\\slash",
    "100%",
    "t",
    "through",
];
const RELATION_NAMES: &[&str] = &["genre", "Big Relation", "ünï", "quo\"te", "a.b", "x-y"];
const KEY_KINDS: &[Kind] = &[Kind::Int, Kind::BigInt, Kind::Uuid, Kind::Text, Kind::Date];
const OWN_KINDS: &[Kind] = &[
    Kind::Small,
    Kind::Small,
    Kind::Int,
    Kind::BigInt,
    Kind::Text,
    Kind::Text,
    Kind::Date,
    Kind::Timestamp,
    Kind::Numeric,
    Kind::Float,
    Kind::Bool,
    Kind::Uuid,
    Kind::Array,
    Kind::Json,
];

/// Bounds that keep a document small enough to be read in a failure.
const TABLES_MAX: usize = 8;
const RELATIONS_MAX: usize = 9;
const LEVELS_MAX: usize = 5;

/// One of several.
pub fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}

/// True so many times of a hundred.
pub fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

/// Tables and relations, without a document.
pub fn tree(rng: &mut Rng) -> Model {
    let mut grower = Grower {
        schema_count: rng.usize(1..=SCHEMAS.len()),
        model: Model::default(),
        rng,
        relation_levels: vec![],
    };
    let table_count = grower.rng.usize(2..=TABLES_MAX);
    let root = grower.table(None);
    if chance(grower.rng, 90) {
        grower.model.tables[root].cursor.get_or_insert_with(|| "modified".to_owned());
    }
    while grower.model.tables.len() < table_count && grower.model.relations.len() < RELATIONS_MAX {
        grower.relation();
    }
    let mut model = grower.model;
    for table in &mut model.tables {
        store(rng, table);
    }
    if chance(rng, 30) {
        model.routing = model.tables[0].key.clone();
        rng.shuffle(&mut model.routing);
        model.routing.truncate(rng.usize(1..=model.routing.len()));
    }
    if chance(rng, 40) {
        let is_text = model.tables[0].key.iter().map(|_| chance(rng, 30)).collect();
        model.tombstone = Some(Tombstone { table: "deleted \"root\"".to_owned(), is_text });
    }
    model.root_condition = condition(rng, &model, None);
    for relation in 0..model.relations.len() {
        if chance(rng, 20) {
            model.relations[relation].condition = condition(rng, &model, Some(relation));
        }
    }
    model
}

/// Decides how a table keeps its rows.
fn store(rng: &mut Rng, table: &mut Table) {
    table.storage = match rng.u32(..100) {
        0..12 => Storage::View,
        12..20 => Storage::MaterializedView,
        20..35 => {
            // A unique key holds the column that says where a row is kept.
            let columns =
                if table.key.is_empty() { (0..table.columns.len()).collect() } else { table.key.clone() };
            Storage::Partitioned(*pick(rng, &columns))
        }
        _ => Storage::Plain,
    };
    if matches!(table.storage, Storage::View | Storage::MaterializedView) {
        table.has_primary_key = false;
    }
    // A view whose rows nothing tells apart cannot be polled.
    if table.storage == Storage::View && table.key.is_empty() {
        table.cursor = None;
    }
}

/// A condition on a column with few values, if there is one.
pub fn condition(rng: &mut Rng, model: &Model, at: Option<usize>) -> Option<String> {
    let of = |table: &Table, alias: &str| {
        let columns = table.columns.iter().filter(|column| matches!(column.kind, Kind::Small | Kind::Bool));
        columns
            .map(|column| (format!("{alias}.{}", super::model::quoted(&column.name)), column.kind))
            .collect::<Vec<_>>()
    };
    let mut columns = of(model.table_of(at), "{t}");
    columns.extend(model.link_of(at).map(|link| of(link, "{l}")).unwrap_or_default());
    if columns.is_empty() || (at.is_none() && !chance(rng, 40)) {
        return None;
    }
    let (column, kind) = pick(rng, &columns);
    Some(match kind {
        Kind::Bool => format!("{column} is not false"),
        _ => match rng.u32(..3) {
            0 => format!("{column} > 0 -- a comment"),
            1 => format!("{column} is distinct from 2"),
            _ => format!("{column} <> 1 or {column} is null"),
        },
    })
}

struct Grower<'r> {
    rng: &'r mut Rng,
    model: Model,
    schema_count: usize,
    relation_levels: Vec<usize>,
}

impl Grower<'_> {
    fn name(&mut self, names: &[&str], number: usize) -> String {
        // Plain ones are found in every seed too.
        let name = if chance(self.rng, 40) { names[0] } else { pick(self.rng, names) };
        format!("{name}{number}")
    }

    /// A new table; with columns of its own and a key, which begins with a reference to another table's key if wanted.
    fn table(&mut self, key_of: Option<usize>) -> usize {
        let number = self.model.tables.len();
        let cursor = chance(self.rng, 85)
            .then(|| (*pick(self.rng, &["modified", "Changed At", "updated \"at\""])).to_owned());
        let table = Table {
            schema: SCHEMAS[self.rng.usize(..self.schema_count)].to_owned(),
            name: self.name(TABLE_NAMES, number),
            columns: Vec::new(),
            key: Vec::new(),
            has_primary_key: chance(self.rng, 75),
            cursor,
            references: Vec::new(),
            storage: Storage::Plain,
        };
        self.model.tables.push(table);
        if let Some(target) = key_of {
            let columns = self.reference(number, target, false);
            self.model.tables[number].key = columns;
        }
        let key_count = match key_of {
            Some(_) => 1,
            None if chance(self.rng, 30) => 2,
            None => 1,
        };
        for _ in 0..key_count {
            let kind = *pick(self.rng, KEY_KINDS);
            let column = self.column(number, kind, false);
            self.model.tables[number].key.push(column);
        }
        for _ in 0..self.rng.usize(1..=4) {
            let kind = *pick(self.rng, OWN_KINDS);
            let nullable = chance(self.rng, 80);
            self.column(number, kind, nullable);
        }
        if chance(self.rng, 30) {
            self.rng.shuffle(&mut self.model.tables[number].key);
        }
        number
    }

    fn column(&mut self, table: usize, kind: Kind, nullable: bool) -> usize {
        let number = self.model.tables[table].columns.len();
        let name = self.name(COLUMN_NAMES, number);
        self.model.tables[table].columns.push(Column { name, kind, nullable, is_reference: false });
        number
    }

    /// Columns in `table` for the key of `target`.
    fn reference(&mut self, table: usize, target: usize, nullable: bool) -> Vec<usize> {
        let targets = self.model.tables[target].key.clone();
        let mut columns = Vec::new();
        for key in &targets {
            let kind = self.model.tables[target].columns[*key].kind;
            // The two sides of a join may be of two types.
            let kind = if kind == Kind::Int && chance(self.rng, 30) { Kind::BigInt } else { kind };
            let column = self.column(table, kind, nullable);
            self.model.tables[table].columns[column].is_reference = true;
            columns.push(column);
        }
        self.model.tables[table].references.push(Reference {
            columns: columns.clone(),
            table: target,
            targets,
        });
        columns
    }

    /// A table with a key to be the end of a relation: often a new one.
    fn target(&mut self) -> usize {
        let known: Vec<usize> =
            (0..self.model.tables.len()).filter(|table| !self.model.tables[*table].key.is_empty()).collect();
        if chance(self.rng, 30) { *pick(self.rng, &known) } else { self.table(None) }
    }

    fn relation(&mut self) {
        let nodes: Vec<Option<usize>> = (0..self.model.relations.len())
            .filter(|relation| self.relation_levels[*relation] < LEVELS_MAX)
            .map(Some)
            .chain([None])
            .collect();
        let below = *pick(self.rng, &nodes);
        let nearer = self.model.table_number(below);
        match self.rng.u32(..12) {
            0..3 => {
                let target = self.target();
                let columns = self.reference(nearer, target, true);
                let on = pairs(&self.model.tables[target].key, &columns);
                self.add(below, target, on, None, 1, true);
            }
            3..6 => {
                let (child, columns) = if chance(self.rng, 30) {
                    let child = self.table(Some(nearer));
                    (child, self.model.tables[child].references[0].columns.clone())
                } else {
                    let child = self.target();
                    (child, self.reference(child, nearer, true))
                };
                let on = pairs(&columns, &self.model.tables[nearer].key);
                self.add(below, child, on, None, 1, false);
            }
            6..9 => self.through(below, nearer),
            9 => {
                // Columns that identify nothing.
                let child = self.target();
                let own = self.column(child, Kind::Small, true);
                let near = self.column(nearer, Kind::Small, true);
                self.add(below, child, vec![(own, near)], None, 1, false);
            }
            _ => {
                let columns = self.reference(nearer, nearer, true);
                let key = self.model.tables[nearer].key.clone();
                let depth = self.rng.usize(1..=3);
                let is_upwards = self.rng.bool();
                let on = if is_upwards { pairs(&key, &columns) } else { pairs(&columns, &key) };
                self.add(below, nearer, on, None, depth, is_upwards);
            }
        }
    }

    fn through(&mut self, below: Option<usize>, nearer: usize) {
        let target = self.target();
        // A child of the same table may be the link too.
        let child = self.model.relations.iter().find(|relation| {
            relation.below == below
                && relation.through.is_none()
                && !relation.is_single
                && relation.depth == 1
        });
        let (link, near_columns) = match child.map(|child| (child.table, &child.on)) {
            Some((table, on)) if chance(self.rng, 40) && table != nearer => {
                (table, on.iter().map(|(own, _)| *own).collect())
            }
            _ if chance(self.rng, 40) => {
                let link = self.table(Some(nearer));
                (link, self.model.tables[link].references[0].columns.clone())
            }
            _ => {
                let link = self.table(None);
                if chance(self.rng, 40) {
                    // Two equal rows of a link table lead to one item.
                    for column in std::mem::take(&mut self.model.tables[link].key) {
                        self.model.tables[link].columns[column].nullable = true;
                    }
                }
                (link, self.reference(link, nearer, true))
            }
        };
        // A link table may be a child whose own children are wanted.
        let is_chain = link != target && !self.model.tables[link].key.is_empty() && chance(self.rng, 25);
        let on = if is_chain {
            let columns = self.reference(target, link, true);
            pairs(&columns, &self.model.tables[link].key)
        } else {
            let columns = self.reference(link, target, true);
            pairs(&self.model.tables[target].key, &columns)
        };
        let nearer_columns: Vec<usize> = match child_targets(&self.model, below, link, &near_columns) {
            Some(targets) => targets,
            None => self.model.tables[nearer].key.clone(),
        };
        let through = Through { table: link, on: pairs(&near_columns, &nearer_columns) };
        self.add(below, target, on, Some(through), 1, false);
    }

    fn add(
        &mut self,
        below: Option<usize>,
        table: usize,
        on: Join,
        through: Option<Through>,
        depth: usize,
        is_single: bool,
    ) {
        let number = self.model.relations.len();
        let name = self.name(RELATION_NAMES, number);
        let level = below.map_or(1, |below| self.relation_levels[below] + 1);
        self.relation_levels.push(level + depth - 1);
        self.model.relations.push(Relation {
            name,
            table,
            below,
            on,
            through,
            condition: None,
            depth,
            is_single,
        });
    }
}

/// What the columns of a child that becomes a link are joined to.
fn child_targets(model: &Model, below: Option<usize>, link: usize, own: &[usize]) -> Option<Vec<usize>> {
    let same = |on: &Join| on.iter().map(|(column, _)| *column).eq(own.iter().copied());
    let child = model.relations.iter().find(|relation| {
        relation.below == below && relation.table == link && relation.through.is_none() && same(&relation.on)
    })?;
    Some(child.on.iter().map(|(_, near)| *near).collect())
}

fn pairs(own: &[usize], near: &[usize]) -> Join {
    own.iter().copied().zip(near.iter().copied()).collect()
}
