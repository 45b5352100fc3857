//! What a field can be made of beside a column: SQL, constants, inlined rows, flattened JSON, points, joins; and which
//! related rows count.

use serde_json::json;

use crate::harness::Shape;

const FILMS: &str = r#"
    create table studio (id int primary key, name text, lat numeric, lon float8, open bool, country text,
                         modified timestamptz not null default now());
    create table film (id int primary key, title text, year int, data jsonb, raw json, studio_id int, n int, k1 int,
                       modified timestamptz not null default now());
    create table person (id int primary key, name text, born date, score numeric, n int, k1 int,
                         modified timestamptz not null default now());
    create table part (film_id int, person_id int, role text, n int, modified timestamptz not null default now(),
                       primary key (film_id, person_id, role));
    insert into studio values (1, 'Ufa', 48.5, 9.25, true, 'DE'), (2, 'Toho', 35.6, null, false, null),
                              (3, 'Gaumont', null, 2.5, true, 'FR');
    insert into film values
      (1, 'Ran', 1985, '{"a": {"b": "deep"}, "rank": 7, "title": "hidden"}', '{"z": 1.50, "rank": 8}', 2, 1, 2),
      (2, 'M', 1931, '{"b": [1, {"c": null}], "big": 12345678901234567890}', null, 1, 3, 4),
      (3, null, null, '[1]', '{"z": 1, "z": 2}', 3, null, null),
      (4, 'Alone', 2000, null, '"text"', null, 0, 0);
    insert into person select g, chr(64 + g) || 'x', date '1900-01-01' + g * 1000, g * 1.5, g, g from generate_series(1, 8) g;
    insert into person values (9, null, null, null, null, null), (10, 'aa', '1950-01-01', 5, 1, 1);
    insert into part select f, p, case p % 3 when 0 then 'actor' when 1 then 'Director' else null::text end, p
      from generate_series(1, 3) f, generate_series(1, 10) p where (f + p) % 2 = 0 and p % 3 <> 2;
    insert into part values (2, 9, 'writer', 2), (2, 5, 'writer', null)"#;

const FILMS_DEFINITION: &str = r#"
    [root]
    table = "film"
    cursor = "modified"
    [relation.studio]
    table = "studio"
    cursor = "modified"
    on = { id = "studio_id" }
    [relation.person]
    table = "person"
    cursor = "modified"
    where = "t.name is distinct from 'Gx' -- retired"
    through = { table = "part", on = { film_id = "id" }, cursor = "modified" }
    on = { id = "person_id" }
    [document]
    type = { constant = "movie" }
    tags = { constant = ["a", "b"] }
    more = { constant = { deep = true, at = 2024-05-06, list = [1, 2.5] } }
    title = { sql = "lower(title)" }
    deep = { sql = "data->'a'->>'b'" }
    label = { sql = "concat_ws('/', t.title, year, n + k1) -- with a comment" }
    decade = { sql = "year / 10 * 10" }
    place = { geo = { lat = "year", lon = { sql = "nullif(n, 0) / 2.0" } } }
    studio = { inline = "studio", object = { studio_name = "name", at = { geo = { lat = "lat", lon = "lon" } }, is = { constant = 1 } } }
    open_studio = { one = "studio", where = "open and country is not null", value = { sql = "upper(name)" } }
    data = { flatten = "data" }
    raw = { flatten = "raw" }
    people = { list = "person", value = { sql = "coalesce(t.name, '?') || ':' || through.role" }, order = [{ sql = "lower(t.name)", descending = true }, "id"] }
    old = { list = "person", where = { born = { lt = "1910-01-01" }, score = { gte = 1.5, lte = 9 } }, value = "name" }
    rich = { list = "person", where = { score = { gt = 9, null = false }, id = { ne = [8, 12] } }, value = "name" }
    others = { list = "person", where = { through.role = { ne = "actor" } }, object = { id = "id", name = "name" } }
    odd = { list = "person", where = "t.id % 2 = 1 and through.n > 0", value = "id" }"#;

/// Members of every kind are taken.
const UNMAPPED: &str = r#"{ "mappings": { "dynamic": false } }"#;

/// What the lists hold of `part` and `person`.
fn people(value: &str, condition: &str, order: &str) -> String {
    format!(
        "coalesce((select json_agg({value} order by {order}) from part p join person t on t.id = p.person_id
                    where p.film_id = f.id and t.name is distinct from 'Gx' and {condition} and ({value}) is not null), '[]')"
    )
}

fn films_query() -> String {
    let people_list = people(
        "coalesce(t.name, '?') || ':' || p.role",
        "true",
        "lower(t.name) collate \"C\" desc nulls last, t.id",
    );
    let old = people("t.name", "t.born < '1910-01-01' and t.score between 1.5 and 9", "t.name");
    let rich = people("t.name", "t.score > 9 and t.id not in (8, 12)", "t.name");
    let others =
        people("json_build_object('id', t.id, 'name', t.name)", "p.role is distinct from 'actor'", "t.id");
    let odd = people("t.id", "t.id % 2 = 1 and p.n > 0", "t.id");
    format!(
        "select f.id::text, (json_build_object(
            'type', 'movie', 'tags', '[\"a\", \"b\"]'::json,
            'more', '{{\"deep\": true, \"at\": \"2024-05-06\", \"list\": [1, 2.5]}}'::json,
            'title', lower(f.title), 'deep', f.data->'a'->>'b',
            'label', concat_ws('/', f.title, f.year, f.n + f.k1), 'decade', f.year / 10 * 10,
            'place', case when f.year is not null and nullif(f.n, 0) is not null
                          then json_build_object('lat', f.year, 'lon', f.n / 2.0) end,
            'studio_name', s.name,
            'at', case when s.lat is not null and s.lon is not null
                       then json_build_object('lat', s.lat, 'lon', s.lon) end,
            'is', case when s.id is not null then 1 end,
            'open_studio', case when s.open and s.country is not null then upper(s.name) end,
            'people', {people_list}, 'old', {old}, 'rich', {rich}, 'others', {others}, 'odd', {odd})::jsonb
          || (case when json_typeof(f.raw) = 'object' then f.raw::jsonb else '{{}}' end)
          || (case when jsonb_typeof(f.data) = 'object' then f.data - 'title' else '{{}}' end))::text
       from film f left join studio s on s.id = f.studio_id"
    )
}

#[test]
fn fields_of_every_kind_and_conditions_of_every_kind() {
    let shape = Shape::with_mapping("fields", FILMS, FILMS_DEFINITION, UNMAPPED, &films_query());
    shape
        .after("update film set title = 'RAN', data = data || '{\"new\": 1}', modified = now() where id = 1");
    shape.after("update studio set lon = 139.7, open = true, country = 'JP', modified = now() where id = 2");
    shape.after("update person set score = 100, name = 'Zoe', modified = now() where id = 6");
    shape.after("insert into film values (5, 'New', 1999, '{\"x\": {}}', '{\"x\": 1, \"y\": [2]}', 1, 2, 2)");
    shape.after("insert into part values (5, 1, 'actor', 1), (5, 7, 'actor', 1), (5, 10, 'actor', 5)");
    shape.after("update part set role = 'writer', modified = now() where film_id = 5");
    shape.after_unseen(
        "delete from part where film_id = 2; delete from studio where id = 3; delete from film where id = 4",
    );
    let previewed = shape.program.command(&["preview", "2"]);
    assert!(previewed.output.contains("12345678901234567890"), "{}", previewed.output);
}

#[test]
fn sql_that_postgresql_does_not_take_is_refused_with_its_place() {
    let shape = Shape::unloaded("wrong_sql", FILMS, FILMS_DEFINITION, UNMAPPED, "");
    for (from, to, texts) in [
        (
            "lower(title)",
            "lower(titel)",
            vec![
                "document.title: the SQL is wrong",
                "column \"titel\" does not exist",
                "the row at hand is t",
            ],
        ),
        (
            "year / 10 * 10",
            "generate_series(1, 3)",
            vec!["document.decade: the SQL is wrong", "set-returning functions are not allowed"],
        ),
        (
            "year / 10 * 10",
            "max(year)",
            vec!["document.decade: the SQL is wrong", "aggregate functions are not allowed"],
        ),
        ("year / 10 * 10", "year +", vec!["document.decade: the SQL is wrong", "syntax error"]),
        (
            "upper(name)",
            "upper(id)",
            vec!["document.open_studio.value: the SQL is wrong", "function upper(integer) does not exist"],
        ),
        (
            "lower(t.name)",
            "lower(modified)",
            vec![
                "document.people.order: the SQL is wrong",
                "column reference \"modified\" is ambiguous",
                "the link table's through",
            ],
        ),
        (
            "open and country is not null",
            "country",
            vec!["document.open_studio.where: the SQL is wrong", "must be type boolean"],
        ),
        (
            "t.name is distinct from 'Gx' -- retired",
            "name = ",
            vec!["relation.person.where: the SQL is wrong"],
        ),
        (
            "{ flatten = \"data\" }",
            "{ flatten = \"title\" }",
            vec!["document.data: only json and jsonb can be flattened"],
        ),
        (
            "lt = \"1910-01-01\"",
            "lt = \"long ago\"",
            vec!["document.old.where of the definition is wrong", "invalid input syntax for type date"],
        ),
    ] {
        assert!(FILMS_DEFINITION.contains(from), "{from}");
        shape.define(&FILMS_DEFINITION.replace(from, to));
        shape.program.command(&["once"]).assert_refused(2, &texts);
    }
    // All of them at once.
    shape.define(&FILMS_DEFINITION.replace("lower(title)", "a").replace("year / 10 * 10", "b"));
    shape
        .program
        .command(&["preview"])
        .assert_refused(2, &["document.title: the SQL", "document.decade: the SQL"]);
}

#[test]
fn parents_and_children_of_one_index_are_joined() {
    let tables = "
        create table post (id int primary key, thread int not null, question_id int, body text,
                           modified timestamptz not null default now());
        create unique index on post (thread, id);
        insert into post values (1, 1, null, 'why?'), (2, 1, 1, 'because'), (3, 3, null, 'how?'), (4, 3, 3, 'so'), (5, 3, 3, 'or so')";
    let definition = r#"
        [root]
        table = "post"
        key = ["thread", "id"]
        cursor = "modified"
        [document]
        _routing = "thread"
        body = "body"
        kind = { join = { name = { sql = "case when question_id is null then 'question' else 'answer' end" }, parent = { sql = "question_id || '|' || question_id" } } }"#;
    let mapping = r#"{ "settings": { "number_of_shards": 5 }, "mappings": { "dynamic": "strict", "properties": {
        "body": { "type": "text" }, "kind": { "type": "join", "relations": { "question": "answer" } } } } }"#;
    let query = "
        select thread || '|' || id, json_strip_nulls(json_build_object('body', body, 'kind', json_build_object(
            'name', case when question_id is null then 'question' else 'answer' end,
            'parent', question_id || '|' || question_id)))::text from post";
    let shape = Shape::with_mapping("join", tables, definition, mapping, query);
    let asked = |text: &str| {
        shape
            .index
            .search(&json!({ "has_child": { "type": "answer", "query": { "match": { "body": text } } } }))
    };
    assert_eq!(asked("because"), ["1|1"]);
    shape.after("update post set body = 'since', modified = now() where id = 2");
    assert_eq!(asked("since"), ["1|1"]);
    shape.after_unseen("delete from post where id = 4");
    assert_eq!(asked("so"), ["3|3"]);
    // A kind that the mapping does not know.
    shape.define(&definition.replace(
        "name = { sql = \"case when question_id is null then 'question' else 'answer' end\" }",
        "name = \"anser\"",
    ));
    shape
        .program
        .command(&["once"])
        .assert_refused(2, &["knows no anser in the relations of kind, did you mean answer?"]);
}
