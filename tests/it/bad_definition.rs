//! Definitions and mapping files that are wrong: one error that names place, value and cure, and nothing is made.

use crate::harness::{Database, Evidence, Index, Program};

const MOVIES: &str = include_str!("../../definitions/movies.toml");
const MAPPING: &str = include_str!("../../es_index.json");

/// A program whose definition is written by the test.
struct Bench {
    database: Database,
    index: Index,
    program: Program,
}

impl Bench {
    fn new(label: &str) -> Self {
        let database = Database::with_films(label, 5);
        let index = Index::new(label);
        let mut program = Program::new(&database, &index);
        program.set("DEFINITION", "films.toml");
        program.write("es_index.json", MAPPING);
        Self { database, index, program }
    }

    /// Every command that reads the definition ends with 2 and one error with these texts, and changes nothing.
    fn refuses(&self, definition: &str, texts: &[&str]) {
        self.program.write("films.toml", definition);
        let before = Evidence::of(&self.database, &self.index, &self.program);
        assert!(before.is_nothing_made(), "{before:?}");
        for command in ["once", "run", "resync", "preview"] {
            self.program.command(&[command]).assert_refused(2, texts);
        }
        let checked = self.program.command(&["check"]);
        assert_eq!(checked.code, 2, "{}{}", checked.log, checked.output);
        let said = format!("{}{}", checked.log, checked.output);
        for text in texts {
            assert!(said.contains(text), "no `{text}` in:\n{said}");
        }
        assert_eq!(Evidence::of(&self.database, &self.index, &self.program), before);
    }

    /// The same for the movies with a replacement.
    fn refuses_replaced(&self, written: &str, instead: &str, texts: &[&str]) {
        let movies = movies();
        assert!(movies.contains(written), "{written}");
        self.refuses(&movies.replacen(written, instead, 1), texts);
    }
}

fn movies() -> String {
    MOVIES.replace("../es_index.json", "es_index.json")
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let bench = Bench::new("bad_file");
    bench.refuses(
        "",
        &["films.toml is wrong", "version: is missing, write version = 1", "[root]", "[document]"],
    );
    bench.refuses("{\"index\": \"movies\"}", &["films.toml is wrong", "line 1"]);
    bench.refuses_replaced(
        "cursor = \"modified\"",
        "curser = \"modified\"",
        &["root.curser: unknown field, did you mean cursor?", "line 10"],
    );
    bench.refuses_replaced(
        "on      = { id = \"genre_id\" }",
        "",
        &["relation.genre.on: a relation needs a join, write on = {"],
    );
    bench.refuses_replaced(
        "title           = \"title\"",
        "title = \"title\"\ntitle = \"title\"",
        &["line 31: title is written twice"],
    );
    bench.refuses_replaced(
        "list = \"genre\"",
        "list = \"gerne\"",
        &["document.genres.list: there is no relation gerne, did you mean genre?"],
    );
    bench.refuses_replaced("version = 1", "version = 2", &["version", "use a newer pgsluice"]);
    bench.refuses_replaced("index   = \"movies\"", "index = \"Movies\"", &["index", "lower case"]);
}

#[test]
fn a_definition_that_cannot_be_read_is_named() {
    let mut bench = Bench::new("no_file");
    bench.program.set("DEFINITION", "nowhere.toml");
    bench.program.command(&["once"]).assert_refused(2, &["cannot read nowhere.toml", "DEFINITION"]);
    bench.program.set("DEFINITION", ".");
    bench.program.command(&["once"]).assert_refused(2, &["cannot read .", "directory", "DEFINITION"]);
    bench.program.set("DEFINITION", "films.toml");
    std::fs::write(bench.program.folder().join("films.toml"), b"index = \"\xff\"").unwrap();
    bench.program.command(&["check"]).assert_refused(2, &["cannot read films.toml", "UTF-8", "DEFINITION"]);
    assert!(Evidence::of(&bench.database, &bench.index, &bench.program).is_nothing_made());
    assert!(!bench.program.state().exists());
}

#[test]
fn a_mapping_file_that_is_wrong_is_named() {
    let bench = Bench::new("bad_mapping");
    let mapped = |content: &str, texts: &[&str]| {
        bench.program.write("es_index.json", content);
        bench.refuses(&movies(), texts);
    };
    mapped("{\"mappings\": ", &["es_index.json is not JSON: line 1"]);
    mapped("[]", &["es_index.json must be a JSON object with mappings"]);
    mapped("{\"settings\": {}}", &["es_index.json has no mappings"]);
    mapped(
        &MAPPING.replacen("\"description\"", "\"descr\"", 1),
        &["document.description: es_index.json has no property description and is strict"],
    );
    bench.refuses_replaced("es_index.json", "nowhere.json", &["mapping: cannot read nowhere.json", "line 5"]);
    // What only the server can judge is said in its words, and there is no half-made index either.
    bench.program.write("es_index.json", &MAPPING.replacen("\"float\"", "\"flaot\"", 1));
    bench.program.write("films.toml", &movies());
    bench.program.command(&["once"]).assert_refused(2, &["cannot create the index", "flaot", "mapping file"]);
    assert!(Evidence::of(&bench.database, &bench.index, &bench.program).is_no_index());
    // Mending the file is enough.
    bench.program.write("es_index.json", MAPPING);
    bench.program.once();
    assert_eq!(bench.index.count(), 5);
}

#[test]
fn what_does_not_fit_the_database_is_named_all_at_once() {
    let bench = Bench::new("misfit");
    bench.refuses_replaced(
        "\"content.genre\"",
        "\"content.genres\"",
        &["relation.genre.table: table content.genres does not exist"],
    );
    bench.refuses_replaced(
        "\"content.film_work\"",
        "\"contents.film_work\"",
        &["root.table: table contents.film_work does not exist"],
    );
    bench.refuses_replaced(
        "imdb_rating     = \"rating\"",
        "imdb_rating = \"ratng\"",
        &["document.imdb_rating: table content.film_work has no column ratng, did you mean rating?"],
    );
    bench.refuses_replaced(
        "cursor = \"modified\"",
        "cursor = \"title\"",
        &["root.cursor: column title of content.film_work has type text", "a cursor is a timestamp"],
    );
    bench.refuses_replaced(
        "through.role = \"actor\"",
        "through.rol = \"actor\"",
        &["content.person_film_work has no column rol, did you mean role?"],
    );
    let twice = movies()
        .replace("imdb_rating     = \"rating\"", "imdb_rating = \"ratng\"")
        .replace("\"full_name\"", "\"fullname\"");
    bench.refuses(&twice, &["no column ratng", "no column fullname, did you mean full_name?"]);
}

#[test]
fn sql_of_the_definition_is_judged_before_anything_is_made() {
    let bench = Bench::new("bad_sql");
    let with_condition = |condition: &str| {
        movies().replace("key    = [\"id\"]", &format!("key = [\"id\"]\nwhere = \"{condition}\""))
    };
    bench.refuses(&with_condition("ratng > 5"), &["root.where of the definition is wrong", "ratng"]);
    bench.refuses(&with_condition("rating >"), &["root.where of the definition is wrong"]);
    bench.refuses(
        &with_condition("true; drop table content.genre"),
        &["root.where of the definition is wrong"],
    );
    bench.refuses(&with_condition("title"), &["root.where of the definition is wrong", "boolean"]);
    bench.refuses_replaced(
        "version = 1",
        "version = 1\ntimezone = \"Mars/Base\"",
        &["timezone of the definition is wrong", "Mars/Base", "pg_timezone_names"],
    );
    // Columns that cannot be compared.
    bench.refuses_replaced(
        "on      = { id = \"genre_id\" }",
        "on = { name = \"genre_id\" }",
        &[
            "relation genre",
            "operator does not exist",
            "`on` joins columns of types that PostgreSQL can compare",
        ],
    );
    // A condition may end with a comment.
    bench.program.write("films.toml", &with_condition("rating is null or true -- all of them"));
    bench.program.once();
    assert_eq!(bench.index.count(), 5);
}
