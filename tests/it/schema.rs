//! `schema`: what editors are told of the definition file is what the program takes.

use serde_json::Value;

use crate::harness::{Database, Index, Program};

/// As much of JSON Schema as the schema uses; a keyword that it does not know fails.
struct Schema(Value);

impl Schema {
    fn is_valid(&self, instance: &Value) -> bool {
        self.fits(&self.0, instance)
    }

    fn fits(&self, schema: &Value, instance: &Value) -> bool {
        let all = |schemas: &Value| {
            schemas.as_array().unwrap().iter().map(|one| self.fits(one, instance)).collect::<Vec<_>>()
        };
        let length = instance.as_str().map_or(0, |text| text.chars().count()) as u64;
        schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                self.fits(self.0["$defs"].get(name).unwrap_or_else(|| panic!("no {name}")), instance)
            }
            "const" => instance == rule,
            "enum" => rule.as_array().unwrap().contains(instance),
            "maximum" => instance.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, instance)),
                kind => is_of(kind, instance),
            },
            "minimum" => instance.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "minLength" => !instance.is_string() || length >= rule.as_u64().unwrap(),
            "maxLength" => !instance.is_string() || length <= rule.as_u64().unwrap(),
            // The two patterns that there are.
            "pattern" => instance.as_str().is_none_or(|text| match rule.as_str().unwrap() {
                "\\S" => !text.trim().is_empty(),
                _ => {
                    !text.is_empty()
                        && !text
                            .chars()
                            .any(|character| character.is_ascii_uppercase() || "/*? ,".contains(character))
                }
            }),
            "minItems" => {
                instance.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())
            }
            "uniqueItems" => instance
                .as_array()
                .is_none_or(|items| (1..items.len()).all(|at| !items[..at].contains(&items[at]))),
            "items" => instance.as_array().is_none_or(|items| items.iter().all(|item| self.fits(rule, item))),
            "minProperties" => {
                instance.as_object().is_none_or(|fields| fields.len() as u64 >= rule.as_u64().unwrap())
            }
            "required" => instance.as_object().is_none_or(|fields| {
                rule.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap()))
            }),
            "propertyNames" => instance
                .as_object()
                .is_none_or(|fields| fields.keys().all(|name| self.fits(rule, &Value::from(name.as_str())))),
            "properties" => instance.as_object().is_none_or(|fields| {
                fields.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| self.fits(rule, value)))
            }),
            "additionalProperties" => instance.as_object().is_none_or(|fields| {
                let named =
                    |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                fields.iter().filter(|(name, _)| !named(name)).all(|(_, value)| match rule {
                    Value::Bool(allowed) => *allowed,
                    rule => self.fits(rule, value),
                })
            }),
            "anyOf" => all(rule).contains(&true),
            "oneOf" => all(rule).iter().filter(|fits| **fits).count() == 1,
            other => panic!("the test does not know the keyword {other}"),
        })
    }
}

fn is_of(kind: &Value, instance: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => instance.is_object(),
        "array" => instance.is_array(),
        "string" => instance.is_string(),
        "boolean" => instance.is_boolean(),
        "integer" => instance.is_i64(),
        "number" => instance.is_number(),
        other => panic!("no type {other}"),
    }
}

fn schema() -> Schema {
    let (database, index) = (Database::new("schema"), Index::new("schema"));
    let mut program = Program::new(&database, &index);
    // It needs no settings at all.
    program.unset("ELASTIC_URL").unset("PG_DSN__HOST").set("CHUNK_SIZE", "wrong");
    let printed = program.command(&["schema"]);
    assert_eq!((printed.code, printed.log.as_str()), (0, ""));
    Schema(serde_json::from_str(&printed.output).unwrap())
}

fn definition(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    serde_json::to_value(table).unwrap()
}

#[test]
fn shipped_definitions_and_the_examples_of_the_documentation_fit_the_schema() {
    let schema = schema();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("definitions")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(schema.is_valid(&definition(&text)), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 2);
    let page = std::fs::read_to_string(root.join("docs/definition.md")).unwrap();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|example| example.contains("version") && example.contains("[document]"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert!(schema.is_valid(&definition(example)), "{example}");
    }
}

#[test]
fn near_misses_do_not_fit_the_schema() {
    let schema = schema();
    let right = "version = 1\nindex = \"i\"\nmapping = \"m.json\"\n[root]\ntable = \"t\"\nkey = [\"id\"]\n\
        [relation.r]\ntable = \"r\"\non = { t_id = \"id\" }\n\
        [document]\nid = \"id\"\nr = { list = \"r\", value = \"name\", order = [\"-name\"], limit = 3 }\n";
    assert!(schema.is_valid(&definition(right)));
    for (from, to) in [
        ("version = 1", "version = 2"),
        ("index = \"i\"", "index = \"I\""),
        ("mapping", "maping"),
        ("[root]\ntable", "[root]\ntabel"),
        ("key = [\"id\"]", "keys = [\"id\"]"),
        ("key = [\"id\"]", "key = \"id\""),
        ("key = [\"id\"]", "key = []"),
        ("on = { t_id = \"id\" }", "on = {}"),
        ("on = { t_id = \"id\" }", "join = { t_id = \"id\" }"),
        ("list = \"r\"", "lst = \"r\""),
        ("list = \"r\"", "one = \"r\""),
        ("value = \"name\"", "values = \"name\""),
        ("value = \"name\"", "value = \"name\", object = { id = \"id\" }"),
        ("limit = 3", "limit = 0"),
        ("id = \"id\"\nr", "id = 5\nr"),
    ] {
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right);
        assert!(!schema.is_valid(&definition(&wrong)), "{wrong}");
    }
}
