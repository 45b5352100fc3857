//! The hash of a definition: what tells that documents would be made differently now.
//!
//! It is taken of a canonical text that keeps what can change a document or the index, and the order of its fields,
//! but not comments, layout, the order of relations and joins, or the order of keys in the mapping file. The text's
//! form never changes for a definition that existed before, or every index would have to be loaded again.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::definition::{
    ColumnReference, Definition, Expression, Field, Filter, FilterTest, Item, JoinColumn, JoinName, OnNan,
    OrderColumn, Relation, RelationId, Root, Source, Through, Tombstone,
};

/// Returns the SHA-256 of the canonical text, in hex.
pub(super) fn hash(definition: &Definition) -> String {
    Sha256::digest(canonical(definition)).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The canonical text of a definition: JSON without spaces, keys in the order of their bytes.
pub(super) fn canonical(definition: &Definition) -> String {
    let Definition {
        index,
        mapping,
        hash: _,
        root,
        relations,
        tombstones,
        document,
        timezone,
        on_nan,
        routing,
        pipeline,
    } = definition;
    let Root { table, key, cursor, condition } = root;
    let by_name: Map<String, Value> =
        relations.iter().map(|relation| (relation.name.clone(), of_relation(relation, relations))).collect();
    let mut value = json!({
        "version": 1,
        "index": index,
        "mapping": mapping,
        "root": { "table": [table.schema, table.name], "key": key, "cursor": cursor, "where": condition },
        "relations": by_name,
        "document": of_fields(document, relations),
        "timezone": timezone,
    });
    // Not there by default, as in definitions that were before it.
    if *on_nan == OnNan::Refuse {
        value["on_nan"] = json!("refuse");
    }
    if !tombstones.is_empty() {
        let mut all: Vec<Value> = tombstones.iter().map(of_tombstone).collect();
        all.sort_by_cached_key(Value::to_string);
        value["tombstones"] = all.into();
    }
    if !routing.is_empty() {
        value["routing"] = json!(routing);
    }
    if let Some(pipeline) = pipeline {
        value["pipeline"] = json!(pipeline);
    }
    let mut text = String::new();
    write(&value, &mut text);
    text
}

fn of_relation(relation: &Relation, relations: &[Relation]) -> Value {
    let Relation { name: _, table, key, cursor, below, through, on, condition } = relation;
    let through = through.as_ref().map(|Through { table, key, cursor, on }| {
        json!({ "table": [table.schema, table.name], "key": key, "cursor": cursor, "on": of_join(on) })
    });
    let mut value = json!({
        "table": [table.schema, table.name],
        "key": key,
        "cursor": cursor,
        "below": below.map(|RelationId(below)| &relations[below].name),
        "through": through,
        "on": of_join(on),
    });
    if let Some(condition) = condition {
        value["where"] = json!(condition);
    }
    value
}

fn of_tombstone(tombstone: &Tombstone) -> Value {
    let Tombstone { table, key, cursor, on, condition } = tombstone;
    json!({
        "table": [table.schema, table.name],
        "key": key,
        "cursor": cursor,
        "on": of_join(on),
        "where": condition,
    })
}

fn of_join(on: &[JoinColumn]) -> Value {
    on.iter()
        .map(|JoinColumn { column, nearer }| (column.clone(), json!(nearer)))
        .collect::<Map<_, _>>()
        .into()
}

fn of_fields(fields: &[Field], relations: &[Relation]) -> Value {
    fields.iter().map(|Field { name, source }| json!([name, of_source(source, relations)])).collect()
}

fn of_source(source: &Source, relations: &[Relation]) -> Value {
    match source {
        Source::Value(value) => of_expression(value),
        Source::Constant(value) => json!({ "constant": value }),
        Source::Inline { relation, fields, filters } => json!({
            "inline": relations[relation.0].name,
            "item": of_fields(fields, relations),
            "where": of_filters(filters),
        }),
        Source::Flatten(value) => json!({ "flatten": of_expression(value) }),
        Source::Geo { lat, lon } => json!({ "geo": [of_expression(lat), of_expression(lon)] }),
        Source::Join { name, parent } => json!({
            "join": match name {
                JoinName::Constant(name) => json!([name]),
                JoinName::Of(value) => of_expression(value),
            },
            "parent": parent.as_ref().map(of_expression),
        }),
        Source::One { relation, item, filters } => json!({
            "one": relations[relation.0].name,
            "item": of_item(item, relations),
            "where": of_filters(filters),
        }),
        Source::List { relation, item, filters, order, limit } => json!({
            "list": relations[relation.0].name,
            "item": of_item(item, relations),
            "where": of_filters(filters),
            "order": order
                .iter()
                .map(|OrderColumn { expression, descending }| json!([of_expression(expression), descending]))
                .collect::<Vec<_>>(),
            "limit": limit,
        }),
        Source::Count { relation, filters } => json!({
            "count": relations[relation.0].name,
            "where": of_filters(filters),
        }),
    }
}

fn of_item(item: &Item, relations: &[Relation]) -> Value {
    match item {
        Item::Value(value) => of_expression(value),
        Item::Object(fields) => of_fields(fields, relations),
    }
}

fn of_expression(expression: &Expression) -> Value {
    match expression {
        Expression::Column(column) => of_column(column),
        Expression::Sql(sql) => json!({ "sql": sql }),
    }
}

fn of_column(ColumnReference { through, column }: &ColumnReference) -> Value {
    if *through { json!({ "through": column }) } else { json!(column) }
}

/// All conditions must hold, so their order says nothing, nor does that of the values.
fn of_filters(filters: &[Filter]) -> Value {
    let mut conditions: Vec<(String, Value)> = filters
        .iter()
        .map(|filter| {
            let condition = match filter {
                Filter::Sql(sql) => json!({ "sql": sql }),
                Filter::Column { column, test } => json!([of_column(column), of_test(test)]),
            };
            (condition.to_string(), condition)
        })
        .collect();
    conditions.sort_by(|left, right| left.0.cmp(&right.0));
    conditions.into_iter().map(|(_, condition)| condition).collect()
}

fn of_test(test: &FilterTest) -> Value {
    let sorted = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort();
        values
    };
    match test {
        FilterTest::OneOf(values) => json!(sorted(values)),
        FilterTest::NoneOf(values) => json!({ "ne": sorted(values) }),
        FilterTest::Compared(comparison, value) => json!({ (comparison.word()): value }),
        FilterTest::IsNull(is_null) => json!({ "null": is_null }),
    }
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by(|left, right| left.0.cmp(right.0));
            text.push('{');
            for (position, (name, value)) in entries.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(array) => {
            text.push('[');
            for (position, value) in array.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{built_in, parse};

    #[test]
    fn the_hash_of_the_built_in_definition_never_changes_unnoticed() {
        let definition = built_in().unwrap();
        let golden = include_str!("../../tests/golden/movies.definition.json");
        let readable: Value = serde_json::from_str(&canonical(&definition)).unwrap();
        assert_eq!(serde_json::to_string_pretty(&readable).unwrap(), golden.trim_end());
        assert_eq!(definition.hash, GOLDEN_HASH);
    }

    /// A change of it makes every existing index be loaded again.
    const GOLDEN_HASH: &str = "9e49c1b07ac7feab8c34b70f169fe31585d429b53cd51b111573925f812e4fe9";

    #[test]
    fn only_what_changes_documents_or_the_index_changes_the_hash() {
        let hash = |text: &str, mapping: &'static str| {
            parse(text, "test", &|_| Ok(mapping.to_owned())).unwrap().hash
        };
        const MAPPING: &str =
            r#"{"mappings": {"properties": {"a": {"type": "keyword"}, "b": {"type": "text"}}}}"#;
        const SHUFFLED: &str =
            "{\"mappings\":{\"properties\":{\"b\":{\"type\":\"text\"},\n\"a\":{\"type\":\"keyword\"}}}}";
        const OTHER: &str = r#"{"mappings": {"properties": {"a": {"type": "text"}, "b": {"type": "text"}}}}"#;
        const BURIED: &str = "[[tombstone]]\ntable = 'd'\ncursor = 'c'\non = { o = 'id' }\nwhere = 'x'\n";
        const TEXT: &str = "version = 1\nindex = 'i'\nmapping = 'm'\n[root]\ntable = 't'\n\
            [relation.x]\ntable = 'x'\non = { p = 'id', q = 'id2' }\n[relation.y]\ntable = 'y'\non = { p = 'id' }\n\
            [document]\na = 'a'\nxs = { list = 'x', value = 'v', where = { k = ['1', '2'], l = true } }\n\
            ys = { list = 'y', value = 'v' }\n";
        let same = "# a comment\nmapping = 'elsewhere/m'\nindex = \"i\"\nversion = 1\nrelation.y = { on = { p = 'id' }, table = 'public.y' }\n\
            relation.x = { on = { q = 'id2', p = 'id' }, table = 'x' }\n[root]\ntable = 't'\n\
            [document]\na = 'a'\nxs = { where = { l = true, k = ['2', '1'] }, value = 'v', list = 'x' }\nys.value = 'v'\nys.list = 'y'\n";
        let first = hash(TEXT, MAPPING);
        assert_eq!(hash(same, SHUFFLED), first);
        let buried = hash(&format!("{TEXT}{BURIED}"), MAPPING);
        assert_ne!(buried, first);
        for (from, to) in
            [("'d'", "'e'"), ("'c'", "'e'"), ("o =", "e ="), ("where = 'x'\n", ""), ("'x'", "'y'")]
        {
            assert_ne!(
                hash(&format!("{TEXT}{}", BURIED.replace(from, to)), MAPPING),
                buried,
                "{from} to {to}"
            );
        }
        let other = BURIED.replace("'d'", "'e'");
        assert_eq!(
            hash(&format!("{TEXT}{BURIED}{other}"), MAPPING),
            hash(&format!("{TEXT}{other}{BURIED}"), MAPPING)
        );
        assert_ne!(hash(TEXT, OTHER), first);
        for (from, to) in [
            ("a = 'a'\nxs", "xs"),
            ("'1', '2'", "'1'"),
            ("table = 't'", "table = 't'\ncursor = 'c'"),
            ("index = 'i'", "index = 'j'"),
            ("index = 'i'", "index = 'i'\non_nan = 'refuse'"),
            ("value = 'v' }\n", "value = 'v', limit = 3 }\n"),
            ("on = { p = 'id' }", "on = { q = 'id' }"),
            ("{ list = 'y', value = 'v' }", "{ count = 'y' }"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            assert_ne!(hash(&TEXT.replace(from, to), MAPPING), first, "{from} to {to}");
        }
    }
}
