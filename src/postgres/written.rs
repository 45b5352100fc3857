//! What a definition says in SQL: tried on the server before anything is read, so that a mistake is named with its
//! place, and described, so that it is known what each value is.
//!
//! In such SQL the row at hand is `t`, and the link table's row that led to it `through`.

use std::collections::HashMap;

use crate::definition::{Definition, Expression, Field, Filter, Item, JoinName, RelationId, Source};
use crate::error::Result;
use crate::form::Form;
use crate::postgres::catalog::Catalog;
use crate::postgres::client::Client;
use crate::postgres::connect::{classify, classify_written, read_catalog};
use crate::postgres::plan_document::enclosed;
use crate::postgres::sql::{LINK, ROW, table};
use crate::postgres::type_form::TypeForms;

/// What the values are that the definition has PostgreSQL compute.
#[derive(Debug, Default)]
pub(super) struct WrittenForms {
    forms: HashMap<(Option<usize>, String), &'static Form>,
    problems: Vec<String>,
}

/// The condition of a filter, for a trial.
#[derive(Clone, Debug)]
pub(super) struct WrittenCondition {
    /// Where it stands in the definition.
    pub(super) place: String,
    /// The relation whose rows it judges.
    pub(super) relation: usize,
    /// The condition.
    pub(super) sql: String,
}

impl WrittenForms {
    /// The form of a value of a row of the relation, or of the root.
    pub(super) fn form(&self, at: Option<usize>, sql: &str) -> Option<&'static Form> {
        self.forms.get(&(at, sql.to_owned())).copied()
    }

    /// What is wrong.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Describes everything that the definition says in SQL beside `root.where`.
    ///
    /// Of tables that do not exist or may not be read nothing is tried: that is said elsewhere.
    pub(super) fn read(
        client: &mut Client,
        begin: &str,
        definition: &Definition,
        catalog: &Catalog,
    ) -> Result<Self> {
        let mut pieces = Pieces { found: Vec::new() };
        for (position, relation) in definition.relations.iter().enumerate() {
            if let Some(condition) = &relation.condition {
                pieces.add(Some(position), format!("relation.{}.where", relation.name), condition, true);
            }
        }
        pieces.fields(&definition.document, None, "document");
        let mut written = Self::default();
        let mut types = Vec::new();
        for Piece { at, place, sql, is_condition } in pieces.found {
            let is_there = |table| catalog.get(table).is_some_and(|table| table.missing_right.is_none());
            let relation = at.map(|at| &definition.relations[at]);
            let is_known = match relation {
                None => is_there(&definition.root.table),
                Some(relation) => {
                    is_there(&relation.table)
                        && relation.through.as_ref().is_none_or(|through| is_there(&through.table))
                }
            };
            if !is_known {
                continue;
            }
            let from = from_row(definition, at);
            let term = enclosed(&sql);
            let statement = if is_condition {
                format!("select 0::oid from {from} where {term} limit 0")
            } else {
                // In a condition PostgreSQL refuses what gives several rows or takes several: a row gives one value.
                format!(
                    "select pg_catalog.pg_typeof(x.value)::oid from (select 1) as one left join (\
                     select {term} as value from {from} where ({term} is null) is not null limit 0) as x on true"
                )
            };
            let attempt = format!("{place}: the SQL is wrong");
            match try_statement(client, begin, &statement) {
                Ok(kind) => types.extend(kind.map(|kind| (at, sql, kind))),
                Err(error) => {
                    let error = classify(&error, attempt);
                    if error.is_retryable() {
                        return Err(error);
                    }
                    let aliases = match relation.map(|relation| relation.through.is_some()) {
                        Some(true) => format!("the row at hand is {ROW}, the link table's {LINK}"),
                        _ => format!("the row at hand is {ROW}"),
                    };
                    written.problems.push(format!("{} ({aliases})", error.story()));
                }
            }
        }
        let oids: Vec<u32> = types.iter().map(|(.., kind)| *kind).collect();
        if !oids.is_empty() {
            let forms = read_catalog(client, |client| TypeForms::read(client, &oids))?;
            for (at, sql, kind) in types {
                written.forms.insert((at, sql), forms.form(kind, -1).kept());
            }
        }
        Ok(written)
    }
}

/// Tries the conditions of filters, all of a relation at once.
pub(super) fn try_conditions(
    client: &mut Client,
    begin: &str,
    definition: &Definition,
    conditions: &[WrittenCondition],
) -> Result<()> {
    for (position, _) in definition.relations.iter().enumerate() {
        let own: Vec<&WrittenCondition> =
            conditions.iter().filter(|condition| condition.relation == position).collect();
        let statement = |tried: &[&WrittenCondition]| {
            let terms: Vec<&str> = tried.iter().map(|condition| condition.sql.as_str()).collect();
            let from = from_row(definition, Some(position));
            format!("select 0::oid from {from} where {} limit 0", terms.join(" and "))
        };
        if own.is_empty() || try_statement(client, begin, &statement(&own)).is_ok() {
            continue;
        }
        for condition in own {
            try_statement(client, begin, &statement(&[condition])).map_err(|error| {
                let cure = "PostgreSQL compares with the column's own type: write values of that type";
                classify_written(&error, &condition.place, cure)
            })?;
        }
    }
    Ok(())
}

/// The oid in the first row, if there is one.
fn try_statement(
    client: &mut Client,
    begin: &str,
    statement: &str,
) -> std::result::Result<Option<u32>, postgres::Error> {
    client.batch_execute(begin)?;
    let tried = client.query_typed(statement, &[]);
    client.batch_execute("rollback")?;
    Ok(tried?.first().map(|row| row.get(0)))
}

/// What a row of the relation, or of the root, is selected from where no key is given.
fn from_row(definition: &Definition, at: Option<usize>) -> String {
    let Some(at) = at else { return format!("{} as {ROW}", table(&definition.root.table)) };
    let relation = &definition.relations[at];
    let own = format!("{} as {ROW}", table(&relation.table));
    match &relation.through {
        Some(through) => format!("{} as {LINK} cross join {own}", table(&through.table)),
        None => own,
    }
}

/// One piece of SQL of a definition.
struct Piece {
    at: Option<usize>,
    place: String,
    sql: String,
    is_condition: bool,
}

struct Pieces {
    found: Vec<Piece>,
}

impl Pieces {
    fn add(&mut self, at: Option<usize>, place: String, sql: &str, is_condition: bool) {
        // A relation that repeats itself says the same at each level, but of another relation.
        let is_known =
            |piece: &Piece| piece.at == at && piece.sql == sql && piece.is_condition == is_condition;
        if !self.found.iter().any(is_known) {
            self.found.push(Piece { at, place, sql: sql.to_owned(), is_condition });
        }
    }

    fn expression(&mut self, at: Option<usize>, place: &str, expression: &Expression) {
        if let Expression::Sql(sql) = expression {
            self.add(at, place.to_owned(), sql, false);
        }
    }

    fn filters(&mut self, at: usize, place: &str, filters: &[Filter]) {
        for filter in filters {
            if let Filter::Sql(sql) = filter {
                self.add(Some(at), format!("{place}.where"), sql, true);
            }
        }
    }

    fn fields(&mut self, fields: &[Field], at: Option<usize>, above: &str) {
        for field in fields {
            let place = &format!("{above}.{}", field.name);
            match &field.source {
                Source::Value(expression) | Source::Flatten(expression) => {
                    self.expression(at, place, expression);
                }
                Source::Constant(_) => {}
                Source::Geo { lat, lon } => {
                    self.expression(at, &format!("{place}.geo.lat"), lat);
                    self.expression(at, &format!("{place}.geo.lon"), lon);
                }
                Source::Join { name, parent } => {
                    if let JoinName::Of(name) = name {
                        self.expression(at, &format!("{place}.join.name"), name);
                    }
                    if let Some(parent) = parent {
                        self.expression(at, &format!("{place}.join.parent"), parent);
                    }
                }
                Source::Inline { relation: RelationId(relation), fields, filters } => {
                    self.fields(fields, Some(*relation), place);
                    self.filters(*relation, place, filters);
                }
                Source::Count { relation: RelationId(relation), filters } => {
                    self.filters(*relation, place, filters);
                }
                Source::One { relation: RelationId(relation), item, filters } => {
                    self.item(*relation, place, item);
                    self.filters(*relation, place, filters);
                }
                Source::List { relation: RelationId(relation), item, filters, order, .. } => {
                    self.item(*relation, place, item);
                    self.filters(*relation, place, filters);
                    for part in order {
                        self.expression(Some(*relation), &format!("{place}.order"), &part.expression);
                    }
                }
            }
        }
    }

    fn item(&mut self, at: usize, place: &str, item: &Item) {
        match item {
            Item::Value(expression) => self.expression(Some(at), &format!("{place}.value"), expression),
            Item::Object(fields) => self.fields(fields, Some(at), place),
        }
    }
}
