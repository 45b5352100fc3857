//! The model as a user would write it: the tables in SQL, the definition in TOML.

use super::model::{
    Field, Filter, Item, JOIN_KINDS, Join, Kind, Model, Source, Storage, Table, Test, Tombstone, Value,
    quoted,
};

/// The statements that make the tables. `rid` tells rows apart for the test alone.
pub fn tables(model: &Model) -> String {
    let mut sql = String::new();
    let mut schemas: Vec<&str> = model.tables.iter().map(|table| table.schema.as_str()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    for schema in schemas.into_iter().filter(|schema| *schema != "public") {
        sql.push_str(&format!("create schema {};\n", quoted(schema)));
    }
    for table in &model.tables {
        let mut columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| {
                let not_null = if column.nullable { "" } else { " not null" };
                format!("{} {}{not_null}", quoted(&column.name), column.kind.sql())
            })
            .collect();
        columns.push("rid bigint".to_owned());
        if let Some(cursor) = &table.cursor {
            columns.push(format!("{} timestamptz not null default clock_timestamp()", quoted(cursor)));
        }
        let key: Vec<String> = table.key.iter().map(|column| quoted(&table.columns[*column].name)).collect();
        if !key.is_empty() {
            let kind = if table.has_primary_key { "primary key" } else { "unique" };
            columns.push(format!("{kind} ({})", key.join(", ")));
        }
        let base = table.base();
        let partitioned = match table.storage {
            Storage::Partitioned(column) => {
                format!(" partition by hash ({})", quoted(&table.columns[column].name))
            }
            _ => String::new(),
        };
        sql.push_str(&format!("create table {base} (\n    {}\n){partitioned};\n", columns.join(",\n    ")));
        match table.storage {
            Storage::Plain => {}
            Storage::View => sql.push_str(&format!("create view {} as select * from {base};\n", table.sql())),
            Storage::MaterializedView => {
                sql.push_str(&format!("create materialized view {} as select * from {base};\n", table.sql()));
            }
            Storage::Partitioned(_) => {
                for part in 0..PARTITION_COUNT {
                    let name =
                        format!("{}.{}", quoted(&table.schema), quoted(&format!("{} {part}", table.name)));
                    sql.push_str(&format!(
                        "create table {name} partition of {base} for values with (modulus {PARTITION_COUNT}, remainder {part});\n"
                    ));
                }
            }
        }
    }
    if let Some(tombstone) = &model.tombstone {
        sql.push_str(&tombstone_sql(&model.tables[0], tombstone));
    }
    sql
}

const PARTITION_COUNT: u32 = 3;

/// The table of deletions and what fills it.
fn tombstone_sql(root: &Table, Tombstone { table, is_text }: &Tombstone) -> String {
    let key = root.key.iter().map(|column| &root.columns[*column]).enumerate();
    let columns: Vec<String> = key
        .clone()
        .map(|(place, column)| {
            format!("k{place} {}", if is_text[place] { "text" } else { column.kind.sql() })
        })
        .collect();
    let values: Vec<String> = key
        .map(|(place, column)| {
            format!("old.{}{}", quoted(&column.name), if is_text[place] { "::text" } else { "" })
        })
        .collect();
    let names: Vec<String> = (0..is_text.len()).map(|place| format!("k{place}")).collect();
    let (table, names, base) = (quoted(table), names.join(", "), root.base());
    format!(
        "create table {table} (number bigserial primary key, at timestamptz not null default clock_timestamp(), {});
         create function note_deletion() returns trigger language plpgsql as
         $$ begin insert into {table} ({names}) values ({}); return null; end $$;
         create trigger note_deletion after delete on {base} for each row execute function note_deletion();\n",
        columns.join(", "),
        values.join(", ")
    )
}

/// The mapping: no field is looked at but the join field, which needs one.
pub fn mapping(model: &Model) -> String {
    let [parent, child] = JOIN_KINDS;
    // Several shards, or it would be all the same where a document is routed.
    let shard_count = if model.routing.is_empty() { 1 } else { 3 };
    serde_json::json!({
        "settings": { "number_of_shards": shard_count },
        "mappings": {
            "dynamic": false,
            "properties": { (super::document::JOIN): { "type": "join", "relations": { parent: child } } },
        },
    })
    .to_string()
}

/// The definition.
pub fn definition(model: &Model) -> String {
    let root = &model.tables[0];
    let mut toml = "version = 1\nindex = \"generated\"\nmapping = \"generated.json\"\n\n[root]\n".to_owned();
    toml.push_str(&table_lines(root));
    if let Some(condition) = &model.root_condition {
        toml.push_str(&format!("where = {}\n", text(&sql(condition))));
    }
    for relation in &model.relations {
        let table = &model.tables[relation.table];
        toml.push_str(&format!("\n[relation.{}]\n{}", text(&relation.name), table_lines(table)));
        if let Some(below) = relation.below {
            toml.push_str(&format!("below = {}\n", text(&model.relations[below].name)));
        }
        let nearer = model.table_of(relation.below);
        match &relation.through {
            None => toml.push_str(&format!("on = {}\n", join(&relation.on, table, nearer))),
            Some(through) => {
                let link = &model.tables[through.table];
                toml.push_str(&format!(
                    "through = {{ {}, on = {} }}\non = {}\n",
                    table_lines(link).trim_end().replace('\n', ", "),
                    join(&through.on, link, nearer),
                    join(&relation.on, table, link)
                ));
            }
        }
        if let Some(condition) = &relation.condition {
            toml.push_str(&format!("where = {}\n", text(&sql(condition))));
        }
        if relation.depth > 1 {
            toml.push_str(&format!("depth = {}\n", relation.depth));
        }
    }
    if let Some(Tombstone { table, is_text }) = &model.tombstone {
        let pairs: Vec<String> = (0..is_text.len())
            .map(|place| format!("k{place} = {}", text(&root.columns[root.key[place]].name)))
            .collect();
        toml.push_str(&format!(
            "\n[[tombstone]]\ntable = {}\ncursor = \"at\"\non = {{ {} }}\n",
            text(&quoted(table)),
            pairs.join(", ")
        ));
    }
    toml.push_str("\n[document]\n");
    if !model.routing.is_empty() {
        let columns: Vec<String> =
            model.routing.iter().map(|column| text(&root.columns[*column].name)).collect();
        toml.push_str(&format!("_routing = [{}]\n", columns.join(", ")));
    }
    for field in &model.document {
        toml.push_str(&format!("{}\n", member(model, field, None)));
    }
    toml
}

fn table_lines(table: &Table) -> String {
    let part = |part: &str| {
        if part.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
            part.to_owned()
        } else {
            quoted(part)
        }
    };
    let name = if table.schema == "public" {
        part(&table.name)
    } else {
        format!("{}.{}", part(&table.schema), part(&table.name))
    };
    let mut lines = format!("table = {}\n", text(&name));
    if !table.has_primary_key && !table.key.is_empty() {
        let key: Vec<String> = table.key.iter().map(|column| text(&table.columns[*column].name)).collect();
        lines.push_str(&format!("key = [{}]\n", key.join(", ")));
    }
    if let Some(cursor) = &table.cursor {
        lines.push_str(&format!("cursor = {}\n", text(cursor)));
    }
    lines
}

fn join(on: &Join, own: &Table, nearer: &Table) -> String {
    let pairs: Vec<String> = on
        .iter()
        .map(|(left, right)| {
            format!("{} = {}", text(&own.columns[*left].name), text(&nearer.columns[*right].name))
        })
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn member(model: &Model, field: &Field, at: Option<usize>) -> String {
    format!("{} = {}", text(&field.name), source(model, &field.source, at))
}

fn source(model: &Model, source: &Source, at: Option<usize>) -> String {
    let named = |kind: &str, relation: usize| format!("{kind} = {}", text(&model.relations[relation].name));
    let (mut parts, relation, filter) = match source {
        Source::Value(value) => return written_value(model, value, at),
        Source::Constant(constant) => return format!("{{ constant = {constant} }}"),
        Source::Flatten(value) => return format!("{{ flatten = {} }}", written_value(model, value, at)),
        Source::Geo { lat, lon } => {
            let (lat, lon) = (written_value(model, lat, at), written_value(model, lon, at));
            return format!("{{ geo = {{ lat = {lat}, lon = {lon} }} }}");
        }
        Source::Join(None) => return format!("{{ join = {{ name = {} }} }}", text(JOIN_KINDS[0])),
        Source::Join(Some(column)) => {
            let [parent, child] = JOIN_KINDS;
            let name = &model.column(at, false, *column).name;
            let kind = format!("case when t.{} is null then '{parent}' else '{child}' end", quoted(name));
            return format!("{{ join = {{ name = {{ sql = {} }}, parent = {} }} }}", text(&kind), text(name));
        }
        Source::Count { relation, filter } => (vec![named("count", *relation)], *relation, filter),
        Source::One { relation, item, filter } => {
            (vec![named("one", *relation), written_item(model, item, *relation)], *relation, filter)
        }
        Source::Inline { relation, fields, filter } => {
            (vec![named("inline", *relation), object(model, fields, *relation)], *relation, filter)
        }
        Source::List { relation, item, filter, order, limit } => {
            let mut parts = vec![named("list", *relation), written_item(model, item, *relation)];
            if !order.is_empty() {
                let order: Vec<String> = order
                    .iter()
                    .map(|(value, descending)| match value {
                        Value::Column { is_link, column } => {
                            let direction = if *descending { "-" } else { "" };
                            text(&format!("{direction}{}", reference(model, *relation, *is_link, *column)))
                        }
                        Value::Sql(expression, _) => {
                            format!("{{ sql = {}, descending = {descending} }}", text(&sql(expression)))
                        }
                    })
                    .collect();
                parts.push(format!("order = [{}]", order.join(", ")));
            }
            parts.extend(limit.map(|limit| format!("limit = {limit}")));
            (parts, *relation, filter)
        }
    };
    match filter {
        Some(Filter::Sql(condition)) => parts.push(format!("where = {}", text(&sql(condition)))),
        Some(Filter::Columns(tests)) => {
            let tests: Vec<String> = tests
                .iter()
                .map(|(is_link, column, test)| {
                    let column = model.column(Some(relation), *is_link, *column);
                    let through = if *is_link { "through." } else { "" };
                    format!("{through}{} = {}", text(&column.name), written_test(column.kind, test))
                })
                .collect();
            parts.push(format!("where = {{ {} }}", tests.join(", ")));
        }
        None => {}
    }
    format!("{{ {} }}", parts.join(", "))
}

fn written_item(model: &Model, item: &Item, relation: usize) -> String {
    match item {
        Item::Value(value) => format!("value = {}", written_value(model, value, Some(relation))),
        Item::Object(fields) => object(model, fields, relation),
    }
}

fn object(model: &Model, fields: &[Field], relation: usize) -> String {
    let members: Vec<String> = fields.iter().map(|field| member(model, field, Some(relation))).collect();
    format!("object = {{ {} }}", members.join(", "))
}

fn written_value(model: &Model, value: &Value, at: Option<usize>) -> String {
    match value {
        Value::Column { is_link: false, column } => text(&model.column(at, false, *column).name),
        Value::Column { is_link: true, column } => text(&reference(model, at.unwrap(), true, *column)),
        Value::Sql(expression, _) => format!("{{ sql = {} }}", text(&sql(expression))),
    }
}

fn reference(model: &Model, relation: usize, is_link: bool, column: usize) -> String {
    let through = if is_link { "through." } else { "" };
    format!("{through}{}", model.column(Some(relation), is_link, column).name)
}

fn written_test(kind: Kind, test: &Test) -> String {
    let one = |value: &String| match kind {
        Kind::Small | Kind::Int | Kind::BigInt | Kind::Bool | Kind::Date => value.clone(),
        _ => text(value),
    };
    let several = |values: &[String]| match values {
        [value] => one(value),
        values => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    };
    match test {
        Test::OneOf(values) => several(values),
        Test::NoneOf(values) => format!("{{ ne = {} }}", several(values)),
        Test::Between(from, to) => format!("{{ gte = {}, lt = {} }}", one(from), one(to)),
        Test::IsNull(is_null) => format!("{{ null = {is_null} }}"),
    }
}

fn sql(template: &str) -> String {
    template.replace("{t}", "t").replace("{l}", "through")
}

/// A text of TOML: what JSON escapes, TOML does too.
fn text(value: &str) -> String {
    serde_json::to_string(value).unwrap()
}
