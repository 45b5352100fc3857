//! What a definition says of fields beyond columns and relations, and what is answered where it is wrong.

use super::*;

const FORUM: &str = r#"version = 1
index = "posts"
mapping = "posts.json"
pipeline = "enrich"
[root]
table = "post"
key = ["thread", "id"]
[relation.author]
table = "author"
on = { id = "author_id" }
where = "not banned"
[relation.child]
table = "post"
on = { parent_id = "id" }
depth = 3
[relation.tag]
table = "tag"
below = "child"
on = { post_id = "id" }
[document]
_routing = "thread"
kind = { constant = "post" }
title = { sql = "lower(title)" }
author = { inline = "author", object = { name = "name", home = { geo = { lat = "lat", lon = { sql = "lon::float8" } } } } }
data = { flatten = "data" }
join = { join = { name = "answer", parent = "thread" } }
[document.children]
list = "child"
where = { votes = { gte = 1, lt = 10, ne = [5, 6] } }
order = [{ sql = "length(title)", descending = true }, "id"]
object = { id = "id", tags = { list = "tag", where = "t.weight > 3", value = { sql = "upper(name)" } } }
"#;

const POSTS: &str = r#"{"mappings": {"dynamic": "strict", "properties": {
  "kind": {"type": "keyword"}, "title": {"type": "text"}, "name": {"type": "keyword"}, "home": {"type": "geo_point"},
  "join": {"type": "join", "relations": {"question": ["answer", "comment"]}},
  "children": {"properties": {"id": {"type": "long"}, "tags": {"type": "keyword"},
    "children": {"properties": {"id": {"type": "long"}, "tags": {"type": "keyword"},
      "children": {"properties": {"id": {"type": "long"}, "tags": {"type": "keyword"}}}}}}}}}}"#;

fn parsed(text: &str) -> Result<Definition> {
    parse(text, "posts.toml", &|_| Ok(POSTS.to_owned()))
}

fn object(source: &Source) -> &[Field] {
    match source {
        Source::List { item: Item::Object(fields), .. } => fields,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relation_that_repeats_itself_is_written_out_with_all_below_it() {
    let definition = parsed(FORUM).unwrap();
    let relations: Vec<(&str, Option<usize>)> = definition
        .relations
        .iter()
        .map(|relation| (relation.name.as_str(), relation.below.map(|below| below.0)))
        .collect();
    assert_eq!(
        relations,
        [
            ("author", None),
            ("child", None),
            ("tag", Some(1)),
            ("child (level 2)", Some(1)),
            ("tag (level 2)", Some(3)),
            ("child (level 3)", Some(3)),
            ("tag (level 3)", Some(5)),
        ]
    );
    let mut fields = object(&definition.document[5].source);
    for tag in [2, 4, 6] {
        let Source::List { relation, .. } = &fields[1].source else { panic!() };
        assert_eq!(relation.0, tag);
        match fields {
            [_, _, again] => {
                assert_eq!(again.name, "children");
                let Source::List { filters, order, .. } = &again.source else { panic!() };
                assert_eq!((filters.len(), order.len()), (3, 2), "each level has the same conditions");
                fields = object(&again.source);
            }
            _ => assert_eq!((tag, fields.len()), (6, 2), "the deepest level has none below"),
        }
    }
}

#[test]
fn every_word_reaches_the_definition_and_its_hash() {
    let definition = parsed(FORUM).unwrap();
    assert_eq!(definition.routing, ["thread"]);
    assert_eq!(definition.pipeline.as_deref(), Some("enrich"));
    assert_eq!(definition.relations[0].condition.as_deref(), Some("not banned"));
    let names: Vec<&str> = definition.document.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["kind", "title", "author", "data", "join", "children"], "_routing is no field");
    for (from, to) in [
        ("\"enrich\"", "\"other\""),
        ("not banned", "banned"),
        ("_routing = \"thread\"", "_routing = [\"id\"]"),
        ("_routing = \"thread\"\n", ""),
        ("constant = \"post\"", "constant = \"posts\""),
        ("lower(title)", "upper(title)"),
        ("sql = \"lower(title)\"", "sql = \"title\""),
        ("lon::float8", "lon"),
        ("lat = \"lat\"", "lat = \"latitude\""),
        ("flatten = \"data\"", "flatten = \"more\""),
        ("name = \"answer\"", "name = \"comment\""),
        ("parent = \"thread\"", "parent = \"id\""),
        (", parent = \"thread\"", ""),
        ("gte = 1", "gt = 1"),
        ("lt = 10", "lt = 11"),
        ("ne = [5, 6]", "ne = 5"),
        ("length(title)", "title"),
        (", descending = true", ""),
        ("t.weight > 3", "t.weight > 4"),
        ("upper(name)", "lower(name)"),
        ("depth = 3", "depth = 2"),
        ("name = \"name\", home", "name = \"label\", home"),
    ] {
        assert!(FORUM.contains(from), "{from}");
        let changed = parsed(&FORUM.replace(from, to)).unwrap();
        assert_ne!(changed.hash, definition.hash, "{from} to {to}");
    }
    let reordered =
        FORUM.replace("ne = [5, 6]", "ne = [6, 5]").replace("gte = 1, lt = 10", "lt = 10, gte = 1");
    assert_eq!(parsed(&reordered).unwrap().hash, definition.hash);
}

#[test]
fn each_slip_is_answered_with_its_place_and_the_cure() {
    let mut wrong = String::new();
    for (from, to, problem) in CASES {
        assert!(FORUM.contains(from), "{from}");
        let answer = match parsed(&FORUM.replacen(from, to, 1)) {
            Ok(_) => "it was taken".to_owned(),
            Err(error) => error.to_string().replace("the definition posts.toml is wrong: ", ""),
        };
        if answer != *problem {
            wrong.push_str(&format!("{from} to {to}:\n  {answer}\nshould be\n  {problem}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is replaced in [`FORUM`], by what, and the answer.
const CASES: &[(&str, &str, &str)] = &[
    ("pipeline = \"enrich\"", "pipeline = 1", "line 4: pipeline: write a text in quotes, this is an integer"),
    ("pipeline", "pipelin", "line 4: pipelin: unknown field, did you mean pipeline?"),
    (
        "_routing = \"thread\"",
        "_routing = \"tread\"",
        "line 21: document._routing: tread is no column of root.key, did you mean thread?; of a row that is gone nothing but its key is known, and its document must be found nevertheless",
    ),
    (
        "_routing = \"thread\"",
        "_routing = 5",
        "line 21: document._routing: write column names as [\"id\"], this is an integer",
    ),
    ("constant = \"post\"", "constant = nan", "line 22: document.kind.constant: JSON has no such number"),
    (
        "constant = \"post\"",
        "constnat = \"post\"",
        "line 22: document.kind: unknown field constnat, did you mean constant?",
    ),
    (
        "constant = \"post\"",
        "constant = \"post\", value = \"x\"",
        "line 22: document.kind.value: unknown field, known are constant",
    ),
    ("sql = \"lower(title)\"", "sql = \" \"", "line 23: document.title.sql: must not be empty"),
    (
        "sql = \"lower(title)\"",
        "sql = \"lower(title)\", constant = 1",
        "line 23: document.title: has sql and constant, keep one of them",
    ),
    (
        "inline = \"author\", object",
        "inline = \"author\", limit = 1, object",
        "line 24: document.author.limit: is for lists, inline takes the only related row",
    ),
    (
        "object = { name = \"name\", home",
        "object = { title = \"name\", home",
        "line 24: document.author.object.title: the field title stands in line 23 already: inline puts both into one object",
    ),
    (
        "name = \"name\", home",
        "nmae = \"name\", home",
        "line 24: document.nmae: posts.json has no property nmae and is strict, did you mean name?",
    ),
    (
        "lat = \"lat\", lon",
        "latitude = \"lat\", lon",
        "line 24: document.author.object.home.geo.lat: is missing, write { geo = { lat = \"<column>\", lon = \"<column>\" } }; line 24: document.author.object.home.geo.latitude: unknown field, known are lat, lon",
    ),
    (
        "{ sql = \"lon::float8\" }",
        "5",
        "line 24: document.author.object.home.geo.lon: write a column's name or { sql = \"<expression>\" }, this is an integer",
    ),
    (
        "home = { geo",
        "title2 = { geo",
        "line 24: document.title2: posts.json has no property title2 and is strict, did you mean title?",
    ),
    (
        "flatten = \"data\"",
        "flaten = \"data\"",
        "line 25: document.data: unknown field flaten, did you mean flatten?",
    ),
    (
        "name = \"answer\"",
        "name = \"anser\"",
        "line 26: document.join: posts.json knows no anser in the relations of join, did you mean answer?",
    ),
    (
        "join = { join",
        "kind2 = { join",
        "line 26: document.kind2: posts.json has no property kind2 and is strict, did you mean kind?",
    ),
    (
        "{ gte = 1, lt = 10",
        "{ gte = 1, ltt = 10",
        "line 29: document.children.where.votes.ltt: unknown field, did you mean lt?",
    ),
    (
        "{ gte = 1, lt = 10",
        "{ gte = [1], lt = 10",
        "line 29: document.children.where.votes.gte: write a plain value, this is an array",
    ),
    (
        "ne = [5, 6]",
        "ne = []",
        "line 29: document.children.where.votes.ne: an empty array lets no row through, write at least one value",
    ),
    (
        "descending = true",
        "descending = 1",
        "line 30: document.children.order.descending: write true or false",
    ),
    (
        "{ sql = \"length(title)\", descending = true }",
        "{ slq = \"length(title)\" }",
        "line 30: document.children.order.slq: unknown field, did you mean sql?; line 30: document.children.order.sql: is missing, write sql = \"<expression>\"",
    ),
    ("depth = 3", "depth = 0", "line 15: relation.child.depth: write the number of levels, 1 to 16"),
    ("depth = 3", "depth = 17", "line 15: relation.child.depth: write the number of levels, 1 to 16"),
    ("depth = 3", "dept = 3", "line 15: relation.child.dept: unknown field, did you mean depth?"),
    (
        "depth = 3",
        "depth = 4",
        "line 27: document.children.children.children.children: posts.json has no property children.children.children.children and is strict",
    ),
    (
        "where = \"not banned\"",
        "where = 1",
        "line 11: relation.author.where: write a text in quotes, this is an integer",
    ),
];

#[test]
fn depth_is_for_objects_and_needs_a_name_of_its_own_in_them() {
    let values = FORUM.replace("object = { id = \"id\", tags = { list = \"tag\", where = \"t.weight > 3\", value = { sql = \"upper(name)\" } } }", "value = \"id\"").replace("[relation.tag]\ntable = \"tag\"\nbelow = \"child\"\non = { post_id = \"id\" }\n", "");
    let error = parsed(&values).unwrap_err().to_string();
    assert!(error.contains("relation.child.depth: repeats itself in objects alone"), "{error}");
    let clash = FORUM.replace("object = { id = \"id\", tags", "object = { children = \"id\", tags");
    let error = parsed(&clash).unwrap_err().to_string();
    assert!(error.contains("relation.child.depth: puts the field children of the level below"), "{error}");
}
