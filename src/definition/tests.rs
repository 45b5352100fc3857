//! What a definition file may say, and what is answered to one that is wrong.

use super::*;

const SHOP: &str = r#"version = 1
index = "orders"
mapping = "orders.json"
timezone = "Europe/Moscow"
[root]
table = "shop.order"
key = ["id"]
cursor = "changed"
where = "not is_draft"
[relation.product]
table = "product"
below = "line"
on = { id = "product_id" }
[relation.customer]
table = '"my shop"."customer"'
on = { id = "customer_id" }
[relation.line]
table = "shop.line"
key = ["order_id", "number"]
on = { order_id = "id" }
[relation.tag]
table = "shop.tag"
through = { table = "shop.order_tag", on = { order_id = "id" }, cursor = "created", key = ["order_id", "tag_id"] }
on = { id = "tag_id" }
[document]
number = "id"
customer = { one = "customer", object = { id = "id", name = "full_name" } }
tags = { list = "tag", value = "name", order = ["-through.weight", "name"], limit = 3, where = { through.kind = ["a", 2], hidden = false, gone = { null = true } } }
total = "total"
[document.lines]
list = "line"
order = ["number"]
[document.lines.object]
count = "count"
product = { one = "product", value = "name" }
"#;

const ORDERS: &str = r#"{"mappings": {"dynamic": "strict", "properties": {
  "number": {"type": "long"}, "total": {"type": "double"}, "tags": {"type": "keyword"},
  "customer": {"properties": {"id": {"type": "long"}, "name": {"type": "text"}}},
  "lines": {"type": "nested", "properties": {"count": {"type": "long"}, "product": {"type": "text"}}}}}}"#;

fn parsed(text: &str, mapping: &str) -> Result<Definition> {
    parse(text, "orders.toml", &|file| {
        assert_eq!(file, "orders.json");
        Ok(mapping.to_owned())
    })
}

fn problems(text: &str, mapping: &str) -> String {
    let error = parsed(text, mapping).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string().replace("the definition orders.toml is wrong: ", "")
}

fn column(name: &str) -> ColumnReference {
    ColumnReference { through: false, column: name.to_owned() }
}

#[test]
fn every_field_reaches_the_checked_definition() {
    let definition = parsed(SHOP, ORDERS).unwrap();
    assert_eq!(definition.index, "orders");
    assert_eq!(definition.timezone.as_deref(), Some("Europe/Moscow"));
    assert_eq!(definition.root.table.to_string(), "shop.order");
    assert_eq!(
        (definition.root.key, definition.root.cursor),
        (vec!["id".to_owned()], Some("changed".to_owned()))
    );
    assert_eq!(definition.root.condition.as_deref(), Some("not is_draft"));

    let names: Vec<&str> = definition.relations.iter().map(|relation| relation.name.as_str()).collect();
    assert_eq!(names, ["customer", "line", "product", "tag"], "each stands behind the one it hangs below");
    assert_eq!(definition.relations[2].below, Some(RelationId(1)));
    assert_eq!(
        definition.relations[0].table,
        TableName { schema: "my shop".into(), name: "customer".into() }
    );
    assert_eq!(definition.relations[2].table.to_string(), "public.product");
    let through = definition.relations[3].through.as_ref().unwrap();
    assert_eq!(through.on, [JoinColumn { column: "order_id".into(), nearer: "id".into() }]);
    assert_eq!((through.cursor.as_deref(), through.key.len()), (Some("created"), 2));
    assert_eq!(definition.relations[3].on, [JoinColumn { column: "id".into(), nearer: "tag_id".into() }]);

    let fields: Vec<&str> = definition.document.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["number", "customer", "tags", "total", "lines"], "the order is the file's");
    let Source::List { filters, order, limit: Some(3), .. } = &definition.document[2].source else {
        panic!()
    };
    let through = |name: &str| ColumnReference { through: true, column: name.to_owned() };
    assert_eq!(
        *order,
        [
            OrderColumn { expression: Expression::Column(through("weight")), descending: true },
            OrderColumn { expression: Expression::Column(column("name")), descending: false }
        ]
    );
    assert_eq!(
        *filters,
        [
            Filter::Column { column: through("kind"), test: FilterTest::OneOf(vec!["a".into(), "2".into()]) },
            Filter::Column { column: column("hidden"), test: FilterTest::OneOf(vec!["false".into()]) },
            Filter::Column { column: column("gone"), test: FilterTest::IsNull(true) },
        ]
    );
    let Source::List { item: Item::Object(fields), .. } = &definition.document[4].source else { panic!() };
    assert!(matches!(&fields[1].source, Source::One { relation: RelationId(2), item: Item::Value(_), .. }));
}

#[test]
fn the_built_in_definition_makes_the_movies_documents() {
    let definition = built_in().unwrap();
    let fields: Vec<&str> = definition.document.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(
        fields.join(" "),
        "id imdb_rating genres title description directors_names actors_names writers_names directors actors writers"
    );
    let tables: Vec<String> = definition.tables().iter().map(ToString::to_string).collect();
    assert_eq!(
        tables.join(" "),
        "content.film_work content.genre content.genre_film_work content.person content.person_film_work"
    );
    let analyzer = &definition.mapping["settings"]["analysis"]["analyzer"]["ru_en"];
    assert_eq!(
        analyzer["filter"],
        serde_json::json!([
            "lowercase",
            "english_stop",
            "english_stemmer",
            "english_possessive_stemmer",
            "russian_stop",
            "russian_stemmer"
        ])
    );
}

#[test]
fn shipped_definitions_are_right_and_find_their_mapping_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions");
    let movies = load(&folder.join("movies.toml")).unwrap();
    assert_eq!(movies.hash, built_in().unwrap().hash);
    let others = ["genres", "persons"].map(|name| load(&folder.join(format!("{name}.toml"))).unwrap());
    assert_eq!(others.each_ref().map(|other| other.index.as_str()), ["genres", "persons"]);
    let classic = load(&folder.join("movies-classic.toml")).unwrap();
    let fields: Vec<&str> = classic.document.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(
        fields.join(" "),
        "id imdb_rating genre title description director actors_names writers_names actors writers"
    );
    assert!(classic.relations.iter().all(|relation| relation.cursor.as_deref() == Some("updated_at")));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.toml");
    assert_eq!(load(&path).unwrap_err().to_string(), format!("cannot read {}", path.display()));
    std::fs::write(&path, SHOP).unwrap();
    let error = load(&path).unwrap_err().to_string();
    let expected = format!(
        "line 3: mapping: cannot read {}: No such file or directory",
        folder.path().join("orders.json").display()
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn another_alias_changes_the_hash() {
    let definition = parsed(SHOP, ORDERS).unwrap();
    let renamed = definition.clone().with_index("films");
    assert_eq!(renamed.index, "films");
    assert_ne!(renamed.hash, definition.hash);
    assert_eq!(renamed.with_index("orders").hash, definition.hash);
}

#[test]
fn each_wrong_definition_is_answered_with_its_place_and_the_cure() {
    for (from, to, problem) in CASES {
        assert!(SHOP.contains(from), "{from}");
        assert_eq!(problems(&SHOP.replacen(from, to, 1), ORDERS), *problem, "{from} to {to}");
    }
}

/// What is replaced in [`SHOP`], by what, and the answer.
const CASES: &[(&str, &str, &str)] = &[
    // The file.
    ("version = 1\n", "", "line 1: version: is missing, write version = 1"),
    (
        "version = 1",
        "version = 2",
        "line 1: version: 2 is newer than this pgsluice, which reads version 1: use a newer pgsluice",
    ),
    ("version = 1", "version = '1'", "line 1: version: write version = 1"),
    ("timezone", "time_zone", "line 4: time_zone: unknown field, did you mean timezone?"),
    (
        "timezone",
        "zone",
        "line 4: zone: unknown field, known are version, index, mapping, timezone, on_nan, pipeline, root, relation, tombstone, document",
    ),
    ("Europe/Moscow", " ", "line 4: timezone: must not be empty"),
    ("index = \"orders\"\n", "", "line 1: index: is missing, write index = \"<alias of the index>\""),
    ("\"orders\"", "\"Orders\"", "line 2: index: an index name is lower case, write \"orders\""),
    ("\"orders\"", "\"a b\"", "line 2: index: an index name holds no ' '"),
    ("\"orders\"", "\"_orders\"", "line 2: index: an index name does not start with - _ + or ."),
    ("\"orders\"", "5", "line 2: index: write a text in quotes, this is an integer"),
    (
        "mapping = \"orders.json\"\n",
        "",
        "line 1: mapping: is missing, write mapping = \"<file of the index body>\"",
    ),
    // The root.
    ("table = \"shop.order\"\n", "", "line 5: root.table: is missing, write table = \"<schema>.<table>\""),
    (
        "shop.order\"",
        "a.b.c\"",
        "line 6: root.table: a table has a schema and a name at most, these are 3 parts; put a part with a dot in double quotes",
    ),
    (
        "shop.order\"",
        "my shop.order\"",
        "line 6: root.table: put the part with ' ' in double quotes, as in \"my schema\".\"my table\"",
    ),
    ("key = [\"id\"]", "key = \"id\"", "line 7: root.key: write column names as [\"id\"], this is a text"),
    (
        "key = [\"id\"]",
        "key = []",
        "line 7: root.key: must not be empty, write column names as [\"id\"] or leave it out",
    ),
    ("key = [\"id\"]", "key = [\"id\", \"id\"]", "line 7: root.key: names the column id twice"),
    (
        "cursor = \"changed\"",
        "cusror = \"changed\"",
        "line 8: root.cusror: unknown field, did you mean cursor?",
    ),
    (
        "cursor = \"changed\"",
        "cursor = true",
        "line 8: root.cursor: write a text in quotes, this is a boolean",
    ),
    ("not is_draft", "", "line 9: root.where: must not be empty"),
    // Relations.
    (
        "below = \"line\"\n",
        "below = \"lines\"\n",
        "line 12: relation.product.below: there is no relation lines, did you mean line?; leave it out for a relation of the root",
    ),
    (
        "on = { id = \"product_id\" }\n",
        "",
        "line 10: relation.product.on: a relation needs a join, write on = { <column of public.product> = \"<column of shop.line>\" }",
    ),
    (
        "on = { id = \"customer_id\" }",
        "on = {}",
        "line 16: relation.customer.on: must not be empty, write on = { <column of my shop.customer> = \"<column of shop.order>\" }",
    ),
    (
        "on = { id = \"customer_id\" }",
        "on = \"customer_id\"",
        "line 16: relation.customer.on: write on = { <column of my shop.customer> = \"<column of shop.order>\" }, this is a text",
    ),
    (
        "on = { id = \"customer_id\" }",
        "on = { id = 5 }",
        "line 16: relation.customer.on.id: write a text in quotes, this is an integer",
    ),
    (
        "on = { order_id = \"id\" }, cursor = \"created\", ",
        "",
        "line 23: relation.tag.through.on: a relation needs a join, write on = { <column of shop.order_tag> = \"<column of shop.order>\" }",
    ),
    (
        "on = { id = \"tag_id\" }",
        "",
        "line 21: relation.tag.on: a relation needs a join, write on = { <column of shop.tag> = \"<column of shop.order_tag>\" }",
    ),
    (
        "cursor = \"created\"",
        "crusor = \"created\"",
        "line 23: relation.tag.through.crusor: unknown field, did you mean cursor?",
    ),
    (
        "[relation.line]\n",
        "[relation.line]\nbelow = \"product\"\n",
        "line 10: relation.product.below: product, line hang below one another in a circle, one of them has to hang below the root; line 17: relation.line.below: product, line hang below one another in a circle, one of them has to hang below the root",
    ),
    (
        "customer = { one = \"customer\", object = { id = \"id\", name = \"full_name\" } }\n",
        "",
        "line 14: relation.customer: is not used in the document, use it there in a list, one, inline or count, or leave it out",
    ),
    // The document.
    (
        "number = \"id\"",
        "number = 5",
        "line 26: document.number: write a column's name, { list = \"<relation>\", … }, { one = \"<relation>\", … } or { sql = \"<expression>\" }, this is an integer",
    ),
    (
        "number = \"id\"",
        "number = \"through.id\"",
        "line 26: document.number: through.id is a column of a link table, and rows of the root shop.order are not led to by one",
    ),
    (
        "number = \"id\"",
        "_id = \"id\"",
        "line 26: document._id: orders.json has no property _id and is strict; line 26: document._id: the _id is made of the columns of root.key: name them there",
    ),
    (
        "list = \"tag\"",
        "list = \"tags\"",
        "line 28: document.tags.list: there is no relation tags, did you mean tag?",
    ),
    ("list = \"tag\"", "lst = \"tag\"", "line 28: document.tags: unknown field lst, did you mean list?"),
    (
        "list = \"tag\"",
        "one = \"tag\", list = \"tag\"",
        "line 28: document.tags: has list and one, keep one of them",
    ),
    (
        "list = \"tag\", value = \"name\"",
        "count = \"tag\", value = \"name\"",
        "line 28: document.tags.limit: is for list and one, a count makes nothing of the related rows but their number; \
         line 28: document.tags.order: is for list and one, a count makes nothing of the related rows but their number; \
         line 28: document.tags.value: is for list and one, a count makes nothing of the related rows but their number",
    ),
    (
        "number = \"id\"",
        "number = { count = \"tag\", by = \"name\" }",
        "line 26: document.number.by: unknown field, known are count, where, value, object, order, limit",
    ),
    (
        "tags = { list = \"tag\", value = \"name\"",
        "tags = { list = \"tag\"",
        "line 28: document.tags: has neither value nor object, write value = \"<column>\" or object = { <field> = \"<column>\" }",
    ),
    (
        "one = \"customer\"",
        "one = \"product\"",
        "line 27: document.customer.one: the relation product hangs below line, and this is a row of the root",
    ),
    (
        "one = \"customer\", ",
        "one = \"customer\", limit = 1, ",
        "line 27: document.customer.limit: is for lists, one takes the only related row",
    ),
    ("limit = 3", "limit = 0", "line 28: document.tags.limit: write a whole number of at least 1"),
    ("limit = 3", "limits = 3", "line 28: document.tags.limits: unknown field, did you mean limit?"),
    (
        "\"name\"], limit",
        "\"name\", \"-name\"], limit",
        "line 28: document.tags.order: names the column name twice",
    ),
    (
        "order = [\"number\"]",
        "order = \"number\"",
        "line 32: document.lines.order: write columns as [\"-year\", \"name\"], with - for largest first, or { sql = \"…\", descending = true }, this is a text",
    ),
    (
        "order = [\"number\"]",
        "order = [\"through.number\"]",
        "line 32: document.lines.order: through.number is a column of a link table, and rows of the relation line are not led to by one",
    ),
    (
        "[\"a\", 2]",
        "[]",
        "line 28: document.tags.where.through.kind: an empty array lets no row through, write at least one value",
    ),
    (
        "[\"a\", 2]",
        "[[2]]",
        "line 28: document.tags.where.through.kind: write plain values in the array, this is an array",
    ),
    (
        "hidden = false",
        "hidden = nan",
        "line 28: document.tags.where.hidden: write a value, an array of values, { null = true }, { ne = <value> } or { gte = <value>, lt = <value> }, this is a float",
    ),
    (
        "null = true",
        "nul = true",
        "line 28: document.tags.where.gone.nul: unknown field, did you mean null?; line 28: document.tags.where.gone: write a value, an array of values, { null = true }, { ne = <value> } or { gte = <value>, lt = <value> }",
    ),
    ("null = true", "null = 1", "line 28: document.tags.where.gone.null: write true or false"),
    // Against the mapping.
    (
        "total = \"total\"",
        "totl = \"total\"",
        "line 29: document.totl: orders.json has no property totl and is strict, did you mean total?",
    ),
    (
        "count = \"count\"",
        "size = \"count\"",
        "line 34: document.lines.size: orders.json has no property lines.size and is strict",
    ),
    (
        "tags = { list = \"tag\", value = \"name\"",
        "tags = { list = \"tag\", object = { name = \"name\" }",
        "line 28: document.tags: is an object, and orders.json has tags as keyword",
    ),
];

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_lines() {
    let text =
        SHOP.replace("count = \"count\"", "coumt = \"count\"").replace("cursor = \"changed\"", "cursor = 1");
    assert_eq!(
        problems(&text, ORDERS),
        "line 8: root.cursor: write a text in quotes, this is an integer; \
         line 34: document.lines.coumt: orders.json has no property lines.coumt and is strict, did you mean count?"
    );
}

#[test]
fn a_file_that_is_no_toml_is_answered_with_its_lines() {
    let text = "version = 1\nindex = \"orders\nmapping = 'm'\n[root]\n";
    assert_eq!(problems(text, ORDERS), "line 2: invalid basic string, expected `\"`");
    let text = "version = 1\nversion = 1\n";
    assert_eq!(problems(text, ORDERS), "line 2: version is written twice, leave one of them out");
}

#[test]
fn each_wrong_mapping_file_is_answered() {
    for (mapping, problem) in [
        ("{\n  \"mappings\": {,}}", "orders.json is not JSON: line 2, column 16: key must be a string"),
        ("", "orders.json is not JSON: line 1, column 0: EOF while parsing a value"),
        ("[]", "orders.json must be a JSON object with mappings and, if wanted, settings"),
        (
            "{\"mapping\": {}}",
            "orders.json has an unknown field mapping, did you mean mappings?; orders.json has no mappings, write {\"mappings\": {\"properties\": …}}",
        ),
        (
            "{\"mappings\": {}, \"aliases\": {}}",
            "orders.json has an unknown field aliases, only mappings and settings may stand there",
        ),
        (
            "{\"mappings\": [], \"settings\": 1}",
            "orders.json has mappings that are no JSON object; orders.json has settings that are no JSON object",
        ),
    ] {
        assert_eq!(problems(SHOP, mapping), problem, "{mapping}");
    }
}

#[test]
fn only_a_strict_level_refuses_fields_that_it_does_not_know() {
    assert!(parsed(SHOP, "{\"mappings\": {}}").is_ok());
    let loose = ORDERS
        .replace("\"lines\": {", "\"lines\": {\"dynamic\": false, ")
        .replace("\"count\": {\"type\": \"long\"}, ", "");
    assert!(parsed(SHOP, &loose).is_ok());
    let flat = ORDERS.replace(
        "\"customer\": {\"properties\": {\"id\": {\"type\": \"long\"}, \"name\": {\"type\": \"text\"}}}",
        "\"customer\": {\"type\": \"flattened\"}",
    );
    assert!(flat != ORDERS && parsed(SHOP, &flat).is_ok());
    let dotted = SHOP.replace("total = \"total\"", "\"customer.id\" = \"total\"");
    assert!(parsed(&dotted, ORDERS).is_ok(), "a dot leads into an object");
}

#[test]
fn the_whole_example_of_the_documentation_is_right() {
    let page = include_str!("../../docs/definition.md");
    let example = page.split("## A whole example").nth(1).unwrap();
    let block = |language: &str| {
        example.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
    };
    let definition = parse(block("toml"), "example", &|_| Ok(block("json").to_owned())).unwrap();
    assert_eq!(definition.document.len(), 5);
}

#[test]
fn every_slip_of_the_hand_is_answered_and_none_panics() {
    for (position, character) in SHOP.char_indices() {
        let rest = &SHOP[position + character.len_utf8()..];
        for slip in ["", "x", "\"", "=", ".", "[", "{", "\n"] {
            let text = [&SHOP[..position], slip, rest].concat();
            if let Err(error) = parsed_any(&text) {
                let message = error.to_string();
                assert!(message.contains("wrong: line "), "{message}");
            }
        }
    }
}

fn parsed_any(text: &str) -> Result<Definition> {
    parse(text, "orders.toml", &|_| Ok(ORDERS.to_owned()))
}
