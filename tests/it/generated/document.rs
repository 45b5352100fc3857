//! A random document of a tree of tables.

use fastrand::Rng;

use super::changes::value_of;
use super::model::{Field, Filter, Item, Kind, Model, Source, Test, Value, quoted};
use super::schema::{chance, condition, pick};

const FIELD_NAMES: &[&str] =
    &["title", "Name With Space", "имя", "x-y", "quo\"te", "back\\slash", "a'b", "100%", "id", "{}"];

/// Fields for the root and for every relation.
pub fn document(rng: &mut Rng, model: &Model) -> Vec<Field> {
    let mut author = Author { rng, model, name_count: 0 };
    let mut fields = author.fields(None);
    fields.extend(author.join());
    fields
}

/// The name of the join field, as the mapping has it.
pub const JOIN: &str = "kin";

struct Author<'m> {
    rng: &'m mut Rng,
    model: &'m Model,
    name_count: usize,
}

impl Author<'_> {
    /// Names are used once, so that inlined fields meet no other.
    fn field(&mut self, source: Source) -> Field {
        self.name_count += 1;
        Field { name: format!("{}{}", pick(self.rng, FIELD_NAMES), self.name_count), source }
    }

    fn fields(&mut self, at: Option<usize>) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in 0..self.rng.usize(1..=3) {
            let value = self.value(at);
            fields.push(self.field(Source::Value(value)));
        }
        if chance(self.rng, 10) {
            let constant = *pick(self.rng, &["7", "\"it's\"", "[1, 2.5, \"x\"]", "true"]);
            fields.push(self.field(Source::Constant(constant)));
        }
        if chance(self.rng, 15) {
            fields.extend(self.geo(at));
        }
        while chance(self.rng, 25) {
            let Some(flatten) = self.flatten(at) else { break };
            fields.push(flatten);
        }
        for relation in 0..self.model.relations.len() {
            if self.model.relations[relation].below == at {
                self.related(relation, &mut fields);
            }
        }
        self.rng.shuffle(&mut fields);
        fields
    }

    /// A point made of two numbers of the row.
    fn geo(&mut self, at: Option<usize>) -> Option<Field> {
        let columns = &self.model.table_of(at).columns;
        let is_number = |kind: Kind| matches!(kind, Kind::Small | Kind::Int | Kind::Numeric | Kind::Float);
        let numbers: Vec<usize> =
            (0..columns.len()).filter(|column| is_number(columns[*column].kind)).collect();
        if numbers.is_empty() {
            return None;
        }
        let mut number = || Value::Column { is_link: false, column: *pick(self.rng, &numbers) };
        let (lat, lon) = (number(), number());
        Some(self.field(Source::Geo { lat, lon }))
    }

    /// A column of JSON as fields, where it is of no account for the order of a list.
    fn flatten(&mut self, at: Option<usize>) -> Option<Field> {
        if at.is_some_and(|at| !self.model.relations[at].is_single) {
            return None;
        }
        let columns = &self.model.table_of(at).columns;
        let of_kind = |wanted: Kind| {
            (0..columns.len()).filter(|column| columns[*column].kind == wanted).collect::<Vec<_>>()
        };
        let written = |column: usize| format!("{{t}}.{}", quoted(&columns[column].name));
        let (json, texts) = (of_kind(Kind::Json), of_kind(Kind::Text));
        let value = match (json.is_empty(), texts.is_empty()) {
            (false, _) if chance(self.rng, 70) => {
                Value::Column { is_link: false, column: *pick(self.rng, &json) }
            }
            (false, _) => Value::Sql(format!("{}::json", written(*pick(self.rng, &json))), Kind::Json),
            (true, false) => {
                let text = written(*pick(self.rng, &texts));
                Value::Sql(format!("jsonb_build_object('id2', {text}, 'made', 1)"), Kind::Json)
            }
            (true, true) => return None,
        };
        Some(self.field(Source::Flatten(value)))
    }

    /// The kind of the document and its parent, which have to lie on one shard.
    fn join(&mut self) -> Option<Field> {
        if self.model.routing.is_empty() || chance(self.rng, 40) {
            return None;
        }
        let columns = &self.model.tables[0].columns;
        let parents: Vec<usize> = (0..columns.len())
            .filter(|column| {
                columns[*column].nullable && matches!(columns[*column].kind, Kind::Int | Kind::Uuid)
            })
            .collect();
        let parent = if parents.is_empty() { None } else { Some(*pick(self.rng, &parents)) };
        Some(Field { name: JOIN.to_owned(), source: Source::Join(parent) })
    }

    /// One or more fields of a relation.
    fn related(&mut self, relation: usize, fields: &mut Vec<Field>) {
        let related = &self.model.relations[relation];
        let has_relations = self.model.relations.iter().any(|other| other.below == Some(relation));
        let repeats = related.depth > 1;
        let filter = self.filter(relation);
        if !has_relations && !repeats && chance(self.rng, 15) {
            fields.push(self.field(Source::Count { relation, filter }));
            return;
        }
        let is_object = has_relations || repeats || self.rng.bool();
        let shape = self.rng.u32(..100);
        let (one_until, inline_until) = if related.is_single { (60, 85) } else { (15, 25) };
        let source = if shape < inline_until && shape >= one_until && !repeats {
            Source::Inline { relation, fields: self.fields(Some(relation)), filter }
        } else {
            let item = if is_object {
                Item::Object(self.fields(Some(relation)))
            } else {
                Item::Value(self.value(Some(relation)))
            };
            if shape < one_until {
                Source::One { relation, item, filter }
            } else {
                self.list(relation, item, filter)
            }
        };
        fields.push(self.field(source));
        if repeats {
            return;
        }
        if chance(self.rng, 25) {
            let filter = self.filter(relation);
            fields.push(self.field(Source::Count { relation, filter }));
        }
        if chance(self.rng, 30) {
            let item = Item::Value(self.value(Some(relation)));
            let filter = self.filter(relation);
            let source = self.list(relation, item, filter);
            fields.push(self.field(source));
        }
    }

    fn list(&mut self, relation: usize, item: Item, filter: Option<Filter>) -> Source {
        let mut order: Vec<(Value, bool)> = Vec::new();
        while chance(self.rng, 40) {
            let value = self.value(Some(relation));
            if order.iter().all(|(known, _)| *known != value) {
                order.push((value, self.rng.bool()));
            }
        }
        let limit = chance(self.rng, 25).then(|| self.rng.usize(1..=3));
        Source::List { relation, item, filter, order, limit }
    }

    /// A value whose order is documented, or any value where there is one row.
    fn value(&mut self, at: Option<usize>) -> Value {
        let takes_all = at.is_none_or(|at| self.model.relations[at].is_single);
        let table = self.model.table_of(at);
        let usable = |kind: Kind| takes_all || kind.is_ordered();
        let mut values: Vec<Value> = (0..table.columns.len())
            .filter(|column| usable(table.columns[*column].kind))
            .map(|column| Value::Column { is_link: false, column })
            .collect();
        if let Some(link) = self.model.link_of(at) {
            let columns = (0..link.columns.len()).filter(|column| usable(link.columns[*column].kind));
            values.extend(columns.map(|column| Value::Column { is_link: true, column }));
        }
        let value = pick(self.rng, &values).clone();
        let Value::Column { is_link, column } = value else { return value };
        if !chance(self.rng, 15) || !self.model.kind_of(at, &value).is_ordered() {
            return value;
        }
        let alias = if is_link { "{l}" } else { "{t}" };
        let name = format!("{alias}.{}", quoted(&self.model.column(at, is_link, column).name));
        match self.rng.u32(..3) {
            0 => Value::Sql(format!("length({name}::text)"), Kind::Int),
            1 => Value::Sql(format!("coalesce({name}::text, '?') || '!' -- a comment"), Kind::Text),
            _ => Value::Sql(format!("{name} is not null"), Kind::Bool),
        }
    }

    fn filter(&mut self, relation: usize) -> Option<Filter> {
        if !chance(self.rng, 30) {
            return None;
        }
        let (model, at) = (self.model, Some(relation));
        if chance(self.rng, 30) {
            return condition(self.rng, model, at).map(Filter::Sql);
        }
        let is_link = model.link_of(at).is_some() && self.rng.bool();
        let table = if is_link { model.link_of(at)? } else { model.table_of(at) };
        let columns: Vec<usize> = (0..table.columns.len())
            .filter(|column| {
                matches!(
                    table.columns[*column].kind,
                    Kind::Small | Kind::Int | Kind::Text | Kind::Bool | Kind::Date | Kind::Uuid
                )
            })
            .collect();
        if columns.is_empty() {
            return None;
        }
        let column = *pick(self.rng, &columns);
        let kind = table.columns[column].kind;
        let test = match self.rng.u32(..5) {
            0 => Test::IsNull(self.rng.bool()),
            1 if !matches!(kind, Kind::Bool | Kind::Uuid | Kind::Text) => {
                let mut bounds = [value_of(self.rng, kind), value_of(self.rng, kind)];
                bounds.sort();
                let [from, to] = bounds;
                Test::Between(from, to)
            }
            2 | 3 => Test::NoneOf((0..self.rng.usize(1..=2)).map(|_| value_of(self.rng, kind)).collect()),
            _ => Test::OneOf((0..self.rng.usize(1..=3)).map(|_| value_of(self.rng, kind)).collect()),
        };
        Some(Filter::Columns(vec![(is_link, column, test)]))
    }
}
