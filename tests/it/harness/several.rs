//! Three definitions on one movies database, synced by one process.

use postgres::Client;
use serde_json::json;

use super::oracle::{Documents, documents};
use super::{Database, Index, Program};

/// A database, three indices and the program between them. Films have their genres' names, genres and persons a name.
pub struct Several {
    pub database: Database,
    pub films: Index,
    pub genres: Index,
    pub persons: Index,
    pub program: Program,
}

impl Several {
    /// Of a database with so many films.
    pub fn new(label: &str, film_count: u32) -> Self {
        let database = Database::with_films(label, film_count);
        Self::of(database, label)
    }

    /// Of a database that has the movies tables.
    pub fn of(database: Database, label: &str) -> Self {
        let [films, genres, persons] =
            ["films", "genres", "persons"].map(|name| Index::new(&format!("{label}_{name}")));
        let mut program = Program::new(&database, &films);
        program.unset("ELASTIC_INDEX");
        program.set("DEFINITION", "films.toml,genres.toml, persons.toml");
        program.write(
            "films.json",
            &json!({"mappings": {"dynamic": "strict", "properties": {
                "id": {"type": "keyword"}, "title": {"type": "keyword"}, "genres": {"type": "keyword"}
            }}})
            .to_string(),
        );
        program.write(
            "named.json",
            &json!({"mappings": {"dynamic": "strict", "properties": {
                "id": {"type": "keyword"}, "name": {"type": "keyword"}
            }}})
            .to_string(),
        );
        let several = Self { database, films, genres, persons, program };
        several.write_definition("films", &several.films.alias);
        several.write_definition("genres", &several.genres.alias);
        several.write_definition("persons", &several.persons.alias);
        several
    }

    /// Writes one of the definitions, for another index.
    pub fn write_definition(&self, name: &str, index: &str) {
        let (table, column) = match name {
            "films" => ("film_work", "title = \"title\"\ngenres = { list = \"genre\", value = \"name\" }"),
            "genres" => ("genre", "name = \"name\""),
            _ => ("person", "name = \"full_name\""),
        };
        let mapping = if name == "films" { "films" } else { "named" };
        let mut text = format!(
            "version = 1\nindex = \"{index}\"\nmapping = \"{mapping}.json\"\n\
             [root]\ntable = \"content.{table}\"\ncursor = \"modified\"\n"
        );
        if name == "films" {
            text.push_str(
                "[relation.genre]\ntable = \"content.genre\"\ncursor = \"modified\"\non = { id = \"genre_id\" }\n\
                 through = { table = \"content.genre_film_work\", on = { film_work_id = \"id\" }, cursor = \"created\" }\n",
            );
        }
        text.push_str(&format!("[document]\nid = \"id\"\n{column}\n"));
        self.program.write(&format!("{name}.toml"), &text);
    }

    /// The three indices.
    pub fn indices(&self) -> [&Index; 3] {
        [&self.films, &self.genres, &self.persons]
    }

    /// What each of them must hold.
    pub fn expected(&self, client: &mut Client) -> [Documents; 3] {
        [
            "select f.id::text, json_build_object('id', f.id, 'title', f.title, 'genres', coalesce((
                select json_agg(g.name order by g.name collate \"C\", g.id) from content.genre g where g.id in (
                    select l.genre_id from content.genre_film_work l where l.film_work_id = f.id)), '[]'))::text
               from content.film_work f",
            "select id::text, json_build_object('id', id, 'name', name)::text from content.genre",
            "select id::text, json_build_object('id', id, 'name', full_name)::text from content.person",
        ]
        .map(|query| documents(client, query))
    }

    /// A change of some rows that each index shows.
    pub fn change(client: &mut Client, mark: &str) {
        client
            .batch_execute(&format!(
                "update content.film_work set title = title || '{mark}', modified = now()
                  where id in (select id from content.film_work order by random() limit 20);
                 update content.genre set name = name || '{mark}', modified = now()
                  where id in (select id from content.genre order by random() limit 2);
                 update content.person set full_name = full_name || '{mark}', modified = now()
                  where id in (select id from content.person order by random() limit 20)"
            ))
            .unwrap();
    }
}
