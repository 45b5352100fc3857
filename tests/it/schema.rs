//! `schema`: what editors are told of the definition file is what the program takes.

use serde_json::Value;

use crate::harness::{Database, Index, Program};

fn schema() -> jsonschema::Validator {
    let (database, index) = (Database::new("schema"), Index::new("schema"));
    let mut program = Program::new(&database, &index);
    // It needs no settings at all.
    program.unset("ELASTIC_URL").unset("PG_DSN__HOST").set("CHUNK_SIZE", "wrong");
    let printed = program.command(&["schema"]);
    assert_eq!((printed.code, printed.log.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&printed.output).unwrap();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    jsonschema::draft202012::new(&schema).unwrap()
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
            if let Err(error) = schema.validate(&definition(&text)) {
                panic!("{}: {error} at {}", path.display(), error.instance_path());
            }
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
        if let Err(error) = schema.validate(&definition(example)) {
            panic!("{error} at {} in\n{example}", error.instance_path());
        }
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
