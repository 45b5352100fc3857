//! What the documents must be, by SQL that has nothing in common with the program's.

use std::collections::BTreeMap;

use postgres::Client;
use serde_json::Value;

/// Documents by `_id`.
pub type Documents = BTreeMap<String, Value>;

/// What the built-in definition makes of a movies database.
pub fn movies_documents(client: &mut Client) -> Documents {
    documents(
        client,
        &format!(
            "select f.id::text, json_build_object(
                'id', f.id, 'imdb_rating', f.rating, 'genres', {genres}, 'title', f.title,
                'description', f.description,
                'directors_names', {}, 'actors_names', {}, 'writers_names', {},
                'directors', {}, 'actors', {}, 'writers', {})::text
             from content.film_work f",
            names("director"),
            names("actor"),
            names("writer"),
            people("director"),
            people("actor"),
            people("writer"),
            genres = GENRES,
        ),
    )
}

/// What `definitions/movies-classic.toml` makes of a movies database.
pub fn classic_documents(client: &mut Client) -> Documents {
    documents(
        client,
        &format!(
            "select f.id::text, json_build_object(
                'id', f.id, 'imdb_rating', f.rating, 'genre', {genres}, 'title', f.title,
                'description', f.description, 'director', {},
                'actors_names', {}, 'writers_names', {}, 'actors', {}, 'writers', {})::text
             from content.film_work f",
            names("director"),
            names("actor"),
            names("writer"),
            people("actor"),
            people("writer"),
            genres = GENRES,
        ),
    )
}

const GENRES: &str = "coalesce((select json_agg(g.name order by g.name collate \"C\", g.id)
                        from content.genre g
                       where g.name is not null and g.id in (
                           select l.genre_id from content.genre_film_work l where l.film_work_id = f.id)), '[]')";

fn names(role: &str) -> String {
    format!(
        "coalesce((select json_agg(p.full_name order by p.full_name collate \"C\", p.id)
                     from content.person p
                    where p.full_name is not null and p.id in (
                        select l.person_id from content.person_film_work l
                         where l.film_work_id = f.id and l.role = '{role}')), '[]')"
    )
}

fn people(role: &str) -> String {
    format!(
        "coalesce((select json_agg(json_build_object('id', p.id, 'name', p.full_name) order by p.id)
                     from content.person p
                    where p.id in (
                        select l.person_id from content.person_film_work l
                         where l.film_work_id = f.id and l.role = '{role}')), '[]')"
    )
}

/// Runs a query of (`_id`, document as text).
pub fn documents(client: &mut Client, query: &str) -> Documents {
    let rows = client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.iter()
        .map(|row| {
            let text: String = row.get(1);
            // Too deep for the parser, it equals no document.
            (row.get(0), serde_json::from_str(&text).unwrap_or(Value::String(text)))
        })
        .collect()
}

/// What is wrong with `found`, a line each.
pub fn differences(found: &Documents, expected: &Documents) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, document) in expected {
        match found.get(id) {
            None => lines.push(format!("{id} is missing")),
            Some(found) if same_numbers(found) != same_numbers(document) => {
                lines.push(format!("{id} is\n  {found}\nshould be\n  {document}"));
            }
            Some(_) => {}
        }
    }
    lines.extend(found.keys().filter(|id| !expected.contains_key(*id)).map(|id| format!("{id} is extra")));
    lines
}

/// Whether both are the same.
pub fn is_same(found: &Documents, expected: &Documents) -> bool {
    differences(found, expected).is_empty()
}

/// Fails with the first differences unless both are the same.
pub fn assert_same(found: &Documents, expected: &Documents) {
    let lines = differences(found, expected);
    let shown: Vec<&str> = lines.iter().take(5).map(String::as_str).collect();
    assert!(
        lines.is_empty(),
        "{} differences ({} documents found, {} expected):\n{}",
        lines.len(),
        found.len(),
        expected.len(),
        shown.join("\n")
    );
}

/// PostgreSQL prints the float 7 as `7`, other writers as `7.0`: the same number.
fn same_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            if float.fract() == 0.0 && float.abs() < 1e15 { Value::from(float as i64) } else { value.clone() }
        }
        Value::Array(items) => items.iter().map(same_numbers).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), same_numbers(value))).collect())
        }
        other => other.clone(),
    }
}
