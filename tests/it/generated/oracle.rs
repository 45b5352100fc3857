//! One SQL statement that builds every document, written from the model by what the documentation promises.

use super::model::{Field, Filter, Item, JOIN_KINDS, Kind, Model, Source, Test, Value, literal, quoted};

/// The row at hand in the statement.
#[derive(Clone)]
struct Row {
    relation: Option<usize>,
    alias: String,
    link: String,
}

struct Oracle<'m> {
    model: &'m Model,
    alias_count: usize,
}

/// What comes into an object.
struct Member {
    /// None for the members of the object, `jsonb`, that the SQL gives.
    name: Option<String>,
    sql: String,
    is_list: bool,
}

/// The statement: `_id` and document of every root row.
pub fn query(model: &Model) -> String {
    let mut oracle = Oracle { model, alias_count: 0 };
    let root = Row { relation: None, alias: "r".to_owned(), link: String::new() };
    let table = &model.tables[0];
    let parts: Vec<String> =
        table.key.iter().map(|column| format!("r.{}::text", quoted(&table.columns[*column].name))).collect();
    let id = match &parts[..] {
        [one] => one.clone(),
        several => several
            .iter()
            .map(|part| format!(r"replace(replace({part}, '\', '\\'), '|', '\|')"))
            .collect::<Vec<_>>()
            .join(" || '|' || "),
    };
    let document = oracle.object(&model.document, &root, None);
    let condition =
        model.root_condition.as_ref().map_or("true".to_owned(), |sql| in_brackets(&root.write(sql)));
    format!("select {id}, ({document})::text from {} r where {condition}", table.sql())
}

impl Row {
    fn write(&self, sql: &str) -> String {
        sql.replace("{t}", &self.alias).replace("{l}", &self.link)
    }
}

impl Oracle<'_> {
    /// `again` is the field that is repeated at the end of the object, with the level of this row.
    fn object(&mut self, fields: &[Field], row: &Row, again: Option<(&Field, usize)>) -> String {
        let mut members = self.members(fields, row);
        if let Some((field, level)) = again {
            members.extend(self.field(field, row, level));
        }
        let own: Vec<String> = members
            .iter()
            .filter_map(|member| Some(format!("{}, {}", literal(member.name.as_ref()?), member.sql)))
            .collect();
        let own = format!("json_build_object({})", own.join(", "));
        let spread: Vec<&Member> = members.iter().filter(|member| member.name.is_none()).collect();
        if spread.is_empty() {
            return own;
        }
        // The definition goes first, then an earlier column.
        let (all, first) = (self.alias(), self.alias());
        let mut rows = vec![format!("select key, value, 0 as place from json_each({own})")];
        for (place, member) in spread.iter().enumerate() {
            let value = format!("({})", member.sql);
            rows.push(format!(
                "select key, value::json, {} from jsonb_each(case when jsonb_typeof({value}) = 'object' then {value} else '{{}}' end)",
                place + 1
            ));
        }
        format!(
            "(select json_object_agg({first}.key, {first}.value) from (
                select distinct on ({all}.key) {all}.key, {all}.value from ({}) {all} order by {all}.key, {all}.place
            ) {first})",
            rows.join(" union all ")
        )
    }

    fn members(&mut self, fields: &[Field], row: &Row) -> Vec<Member> {
        fields.iter().flat_map(|field| self.field(field, row, 1)).collect()
    }

    fn field(&mut self, field: &Field, row: &Row, level: usize) -> Vec<Member> {
        let mut is_list = false;
        let sql = match &field.source {
            Source::Value(value) => self.json(value, row),
            Source::Constant(json) => format!("{}::json", literal(json)),
            Source::Flatten(value) => {
                let sql = format!("{}::jsonb", self.plain(value, row));
                return vec![Member { name: None, sql, is_list: false }];
            }
            Source::Geo { lat, lon } => {
                let (lat, lon) = (self.json(lat, row), self.json(lon, row));
                format!(
                    "case when {lat} is not null and {lon} is not null then json_build_object('lat', {lat}, 'lon', {lon}) end"
                )
            }
            Source::Join(None) => format!("json_build_object('name', {})", literal(JOIN_KINDS[0])),
            Source::Join(Some(column)) => {
                let [parent, child] = JOIN_KINDS;
                let value = self.plain(&Value::Column { is_link: false, column: *column }, row);
                format!(
                    "case when {value} is null then json_build_object('name', '{parent}') \
                     else json_build_object('name', '{child}', 'parent', {value}::text) end"
                )
            }
            Source::Count { relation, filter } => {
                let (own, rows) = self.rows(*relation, row, filter.as_ref());
                format!("(select count(distinct row({})) {rows})", self.key(&own).join(", "))
            }
            Source::One { relation, item, filter } => {
                let (own, rows) = self.rows(*relation, row, filter.as_ref());
                let order = self.order(item, &own, &[]);
                let item = self.item(field, item, &own, level);
                format!("(select {item} {rows} order by {order} limit 1)")
            }
            Source::Inline { relation, fields, filter } => {
                let (own, rows) = self.rows(*relation, row, filter.as_ref());
                let order = self.order_of_fields(fields, &own, &[]);
                let members = self.members(fields, &own);
                return members
                    .into_iter()
                    .map(|member| {
                        let one = format!("(select {} {rows} order by {order} limit 1)", member.sql);
                        let sql = if member.is_list { format!("coalesce({one}, '[]'::json)") } else { one };
                        Member { sql, ..member }
                    })
                    .collect();
            }
            Source::List { relation, item, filter, order, limit } => {
                is_list = true;
                let (own, rows) = self.rows(*relation, row, filter.as_ref());
                let order = self.order(item, &own, order);
                let key = self.key(&own).join(", ");
                let made = self.item(field, item, &own, level);
                let limit = limit.map_or(String::new(), |limit| format!("limit {limit}"));
                let (all, once) = (self.alias(), self.alias());
                // A row that is reached twice is one item if it makes the same item; a NULL value is none.
                format!(
                    "(select coalesce(json_agg({once}.item order by {once}.place), '[]'::json) from (
                        select {once}.item, {once}.place from (
                            select distinct on ({all}.k, {all}.item::text) {all}.item, {all}.place from (
                                select {made} as item, row({key})::text as k, row_number() over (order by {order}) as place {rows}
                            ) {all} where {all}.item is not null and {all}.item::text <> 'null'
                            order by {all}.k, {all}.item::text, {all}.place
                        ) {once} order by {once}.place {limit}
                    ) {once})"
                )
            }
        };
        vec![Member { name: Some(field.name.clone()), sql, is_list }]
    }

    fn item(&mut self, field: &Field, item: &Item, own: &Row, level: usize) -> String {
        match item {
            Item::Value(value) => self.json(value, own),
            Item::Object(fields) => {
                let depth = own.relation.map_or(1, |relation| self.model.relations[relation].depth);
                self.object(fields, own, (level < depth).then_some((field, level + 1)))
            }
        }
    }

    fn alias(&mut self) -> String {
        self.alias_count += 1;
        format!("a{}", self.alias_count)
    }

    /// The related row and where it comes from: `from … where …`.
    fn rows(&mut self, relation: usize, nearer: &Row, filter: Option<&Filter>) -> (Row, String) {
        let model = self.model;
        let related = &model.relations[relation];
        let own = Row { relation: Some(relation), alias: self.alias(), link: self.alias() };
        let pairs = |on: &[(usize, usize)], left: (&str, Option<usize>), right: (&str, Option<usize>)| {
            let name = |(alias, table): (&str, Option<usize>), column: usize| {
                let table = &model.tables[table.unwrap()];
                format!("{alias}.{}", quoted(&table.columns[column].name))
            };
            on.iter()
                .map(|(own, near)| format!("{} = {}", name(left, *own), name(right, *near)))
                .collect::<Vec<_>>()
        };
        let own_table = (own.alias.as_str(), Some(related.table));
        let nearer_table = (nearer.alias.as_str(), Some(model.table_number(nearer.relation)));
        let (mut conditions, from) = match &related.through {
            None => (
                pairs(&related.on, own_table, nearer_table),
                format!("{} {}", model.tables[related.table].sql(), own.alias),
            ),
            Some(through) => {
                let link = (own.link.as_str(), Some(through.table));
                let mut conditions = pairs(&related.on, own_table, link);
                conditions.extend(pairs(&through.on, link, nearer_table));
                let from = format!(
                    "{} {}, {} {}",
                    model.tables[through.table].sql(),
                    own.link,
                    model.tables[related.table].sql(),
                    own.alias
                );
                (conditions, from)
            }
        };
        conditions.extend(related.condition.iter().map(|sql| in_brackets(&own.write(sql))));
        match filter {
            Some(Filter::Sql(sql)) => conditions.push(in_brackets(&own.write(sql))),
            Some(Filter::Columns(tests)) => {
                for (is_link, column, test) in tests {
                    let value = self.plain(&Value::Column { is_link: *is_link, column: *column }, &own);
                    conditions.push(condition(&value, test));
                }
            }
            None => {}
        }
        (own, format!("from {from} where {}", conditions.join(" and ")))
    }

    fn plain(&self, value: &Value, row: &Row) -> String {
        match value {
            Value::Column { is_link, column } => {
                let alias = if *is_link { &row.link } else { &row.alias };
                format!("{alias}.{}", quoted(&self.model.column(row.relation, *is_link, *column).name))
            }
            Value::Sql(sql, _) => in_brackets(&row.write(sql)),
        }
    }

    fn json(&self, value: &Value, row: &Row) -> String {
        let plain = self.plain(value, row);
        match self.model.kind_of(row.relation, value) {
            Kind::Float | Kind::Numeric => {
                format!(
                    "to_json(case when {plain}::text not in ('NaN', 'Infinity', '-Infinity') then {plain} end)"
                )
            }
            _ => format!("to_json({plain})"),
        }
    }

    /// The key of a relation's row.
    fn key(&self, row: &Row) -> Vec<String> {
        let table = self.model.table_of(row.relation);
        table
            .key
            .iter()
            .map(|column| format!("{}.{}", row.alias, quoted(&table.columns[*column].name)))
            .collect()
    }

    fn order(&self, item: &Item, row: &Row, stated: &[(Value, bool)]) -> String {
        match item {
            Item::Value(value) => self.written_order(stated, vec![value], row),
            Item::Object(fields) => self.order_of_fields(fields, row, stated),
        }
    }

    fn order_of_fields(&self, fields: &[Field], row: &Row, stated: &[(Value, bool)]) -> String {
        let own = fields.iter().flat_map(|field| match &field.source {
            Source::Value(value) => vec![value],
            Source::Geo { lat, lon } => vec![lat, lon],
            _ => Vec::new(),
        });
        self.written_order(stated, own.collect(), row)
    }

    /// What is stated, then the item's own values, then the key; NULLs last either way, text by its bytes.
    fn written_order(&self, stated: &[(Value, bool)], own: Vec<&Value>, row: &Row) -> String {
        let key: Vec<Value> = self
            .model
            .table_of(row.relation)
            .key
            .iter()
            .map(|column| Value::Column { is_link: false, column: *column })
            .collect();
        let all = stated
            .iter()
            .map(|(value, descending)| (value, *descending))
            .chain(own.into_iter().chain(&key).map(|value| (value, false)));
        let written: Vec<String> = all
            .filter(|(value, _)| self.model.kind_of(row.relation, value).is_ordered())
            .map(|(value, descending)| {
                let collation =
                    if self.model.kind_of(row.relation, value) == Kind::Text { " collate \"C\"" } else { "" };
                let direction = if descending { "desc" } else { "asc" };
                format!("{}{collation} {direction} nulls last", self.plain(value, row))
            })
            .collect();
        written.join(", ")
    }
}

/// The line break ends a comment.
fn in_brackets(sql: &str) -> String {
    format!("({sql}\n)")
}

fn condition(value: &str, test: &Test) -> String {
    let list = |values: &[String]| values.iter().map(|value| literal(value)).collect::<Vec<_>>().join(", ");
    match test {
        Test::OneOf(values) => format!("{value} in ({})", list(values)),
        Test::NoneOf(values) => format!("({value} is null or {value} not in ({}))", list(values)),
        Test::Between(from, to) => format!("{value} >= {} and {value} < {}", literal(from), literal(to)),
        Test::IsNull(true) => format!("{value} is null"),
        Test::IsNull(false) => format!("{value} is not null"),
    }
}
