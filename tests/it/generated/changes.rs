//! Random rows and random changes of them. What is in the tables is kept beside them, so that a seed is the same
//! sequence of statements every time.

use fastrand::Rng;

use super::model::{Kind, Model, Table, literal, quoted};
use super::schema::{chance, pick};

/// The rows of all tables.
pub struct Rows<'m> {
    model: &'m Model,
    tables: Vec<Vec<Row>>,
    row_count: usize,
}

#[derive(Clone)]
struct Row {
    rid: usize,
    values: Vec<Option<String>>,
}

/// What is random is tried again until it is a row with a key of its own.
const TRIES: usize = 20;

const PIECES: &[&str] = &[
    "a", "b", "B", "|", "\\", "'", "\"", "é", "ß", "日", " ", "%", "{t}", "}", "😀", "0", "-", ".", "/",
    "\t", "\n", "$1", "null",
];

/// A value as PostgreSQL reads it.
pub fn value_of(rng: &mut Rng, kind: Kind) -> String {
    match kind {
        Kind::Small => rng.i32(0..4).to_string(),
        Kind::Int => rng.i32(-5..60).to_string(),
        Kind::BigInt if chance(rng, 20) => rng.i64(..).to_string(),
        Kind::BigInt => rng.i64(0..40).to_string(),
        Kind::Uuid => {
            let hex = format!("{:032x}", rng.u128(..));
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        Kind::Text => (0..rng.usize(1..=3)).map(|_| *pick(rng, PIECES)).collect(),
        Kind::Date => format!("{}-{:02}-{:02}", rng.u32(1990..2030), rng.u32(1..13), rng.u32(1..29)),
        Kind::Timestamp => {
            format!("2024-{:02}-02 03:04:{:02}.{:06}+02", rng.u32(1..13), rng.u32(..60), rng.u32(..999_999))
        }
        Kind::Numeric => (*pick(
            rng,
            &[
                "0",
                "1.5",
                "1.50",
                "1.500",
                "-2",
                "-2.0",
                "10",
                "9",
                "99999999999999999999.125",
                "NaN",
                "-0.001",
                "0.0010",
            ],
        ))
        .to_owned(),
        Kind::Float => {
            (*pick(rng, &["0", "-0", "0.1", "1e300", "-1e-300", "7", "3.5", "NaN", "Infinity", "-Infinity"]))
                .to_owned()
        }
        Kind::Bool => rng.bool().to_string(),
        Kind::Array => (*pick(rng, &["{}", "{a,NULL,\"b c\"}", "{x}", "{{a,b},{c,d}}"])).to_owned(),
        Kind::Json => {
            let text: &&str = pick(
                rng,
                &[
                    "null",
                    "1.50",
                    "\"s\"",
                    "{\"a\": [1, null, {\"b\": \"|\"}]}",
                    "{\"a\": 1.50, \"title1\": \"mine\", \"id2\": {\"x\": []}, \"имя3\": null}",
                    "{\"title2\": [], \"id1\": 99999999999999999999.5, \"id3\": \"ß\"}",
                    "[]",
                    "{}",
                ],
            );
            (*text).to_owned()
        }
    }
}

impl<'m> Rows<'m> {
    /// Random rows for all tables, and the statements that insert them.
    pub fn new(rng: &mut Rng, model: &'m Model) -> (Self, Vec<String>) {
        let tables = model.tables.iter().map(|_| Vec::new()).collect();
        let mut rows = Self { model, tables, row_count: 0 };
        for table in 0..model.tables.len() {
            for _ in 0..rng.usize(4..=10) {
                if let Some(row) = rows.new_row(rng, table) {
                    rows.tables[table].push(row);
                }
            }
        }
        // What refers to a later table, or to the table itself, had nothing to refer to.
        for table in 0..model.tables.len() {
            for position in 0..rows.tables[table].len() {
                let mut row = rows.tables[table][position].clone();
                for reference in 0..model.tables[table].references.len() {
                    if model.tables[table].references[reference].table >= table {
                        rows.refer(rng, table, reference, &mut row);
                    }
                }
                rows.tables[table][position] = row;
            }
        }
        let mut statements = Vec::new();
        for table in 0..model.tables.len() {
            statements.extend(rows.tables[table].iter().map(|row| rows.insert(table, row)));
            statements.extend(model.tables[table].shown());
        }
        (rows, statements)
    }

    /// A change that polling sees, or nothing if this try found none.
    pub fn visible_change(&mut self, rng: &mut Rng) -> Option<String> {
        let watched: Vec<usize> =
            (0..self.tables.len()).filter(|table| self.model.tables[*table].cursor.is_some()).collect();
        if watched.is_empty() {
            return None;
        }
        if self.model.tombstone.is_some() && self.model.is_root_apart() && chance(rng, 25) {
            return self.remove(rng, 0);
        }
        let table = *pick(rng, &watched);
        if chance(rng, 35) { self.add(rng, table) } else { self.update(rng, table, true) }
    }

    /// A change of any kind: of columns that lead to the root, of keys, without the cursor, or a deletion.
    pub fn any_change(&mut self, rng: &mut Rng) -> Option<String> {
        let table = rng.usize(..self.tables.len());
        match rng.u32(..10) {
            0..4 => self.remove(rng, table),
            4..6 => self.add(rng, table),
            _ => self.update(rng, table, false),
        }
    }

    fn remove(&mut self, rng: &mut Rng, table: usize) -> Option<String> {
        if self.tables[table].is_empty() {
            return None;
        }
        let position = rng.usize(..self.tables[table].len());
        let row = self.tables[table].remove(position);
        let model = &self.model.tables[table];
        Some(shown(model, format!("delete from {} where rid = {}", model.written(), row.rid)))
    }

    fn add(&mut self, rng: &mut Rng, table: usize) -> Option<String> {
        let row = self.new_row(rng, table)?;
        let statement = self.insert(table, &row);
        self.tables[table].push(row);
        Some(shown(&self.model.tables[table], statement))
    }

    fn update(&mut self, rng: &mut Rng, table: usize, is_visible: bool) -> Option<String> {
        let model = self.model;
        if self.tables[table].is_empty() {
            return None;
        }
        let position = rng.usize(..self.tables[table].len());
        let mut row = self.tables[table][position].clone();
        let old = row.values.clone();
        let may_change = |column: &usize| !is_visible || !model.is_anchor(table, *column);
        for (number, reference) in model.tables[table].references.iter().enumerate() {
            if chance(rng, 40) && reference.columns.iter().all(may_change) {
                self.refer(rng, table, number, &mut row);
            }
        }
        for (number, column) in model.tables[table].columns.iter().enumerate() {
            let percent = if model.tables[table].key.contains(&number) { 10 } else { 40 };
            if chance(rng, percent) && !column.is_reference && may_change(&number) {
                row.values[number] = own_value(rng, column.kind, column.nullable);
            }
        }
        if row.values == old || !self.is_new_key(table, &row) {
            return None;
        }
        let mut changes: Vec<String> = (0..old.len())
            .filter(|column| row.values[*column] != old[*column])
            .map(|column| {
                format!(
                    "{} = {}",
                    quoted(&model.tables[table].columns[column].name),
                    written(row.values[column].as_ref())
                )
            })
            .collect();
        if let Some(cursor) = model.tables[table].cursor.as_ref().filter(|_| is_visible || rng.bool()) {
            changes.push(format!("{} = clock_timestamp()", quoted(cursor)));
        }
        let statement = format!(
            "update {} set {} where rid = {}",
            model.tables[table].written(),
            changes.join(", "),
            row.rid
        );
        self.tables[table][position] = row;
        Some(shown(&model.tables[table], statement))
    }

    fn new_row(&mut self, rng: &mut Rng, table: usize) -> Option<Row> {
        let model = self.model;
        self.row_count += 1;
        (0..TRIES).find_map(|_| {
            let columns = &model.tables[table].columns;
            let values = columns.iter().map(|column| own_value(rng, column.kind, column.nullable)).collect();
            let mut row = Row { rid: self.row_count, values };
            for reference in 0..model.tables[table].references.len() {
                self.refer(rng, table, reference, &mut row);
            }
            self.is_new_key(table, &row).then_some(row)
        })
    }

    /// Sets the columns of a reference to those of a row of its table, or to NULL, or leaves them pointing nowhere.
    fn refer(&self, rng: &mut Rng, table: usize, reference: usize, row: &mut Row) {
        let reference = &self.model.tables[table].references[reference];
        let columns = &self.model.tables[table].columns;
        let found = self.tables[reference.table].len();
        let fate = rng.u32(..100);
        if fate < 80 && found > 0 {
            let target = &self.tables[reference.table][rng.usize(..found)];
            for (own, far) in reference.columns.iter().zip(&reference.targets) {
                row.values[*own].clone_from(&target.values[*far]);
            }
        } else if fate < 92 && reference.columns.iter().all(|column| columns[*column].nullable) {
            for own in &reference.columns {
                row.values[*own] = None;
            }
        }
    }

    fn is_new_key(&self, table: usize, row: &Row) -> bool {
        let key = &self.model.tables[table].key;
        let is_same = |other: &Row| key.iter().all(|column| other.values[*column] == row.values[*column]);
        key.iter().all(|column| row.values[*column].is_some())
            && (key.is_empty()
                || !self.tables[table].iter().any(|other| other.rid != row.rid && is_same(other)))
    }

    fn insert(&self, table: usize, row: &Row) -> String {
        let table = &self.model.tables[table];
        let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let values: Vec<String> = row.values.iter().map(|value| written(value.as_ref())).collect();
        format!(
            "insert into {} ({}, rid) values ({}, {})",
            table.written(),
            names.join(", "),
            values.join(", "),
            row.rid
        )
    }
}

/// A statement that changes a table, and what makes the change seen.
fn shown(table: &Table, statement: String) -> String {
    match table.shown() {
        Some(shown) => format!("{statement}; {shown}"),
        None => statement,
    }
}

fn own_value(rng: &mut Rng, kind: Kind, nullable: bool) -> Option<String> {
    if nullable && chance(rng, 15) {
        return None;
    }
    if kind == Kind::Text && nullable && chance(rng, 5) {
        return Some(String::new());
    }
    Some(value_of(rng, kind))
}

fn written(value: Option<&String>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| literal(value))
}
