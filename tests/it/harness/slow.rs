//! The movies definition with rows that take long to read, so that what befalls a reader finds it in the middle of a page.

use super::Program;

/// Lets the program read each film in `seconds` or more.
pub fn read_slowly(program: &mut Program, seconds: &str) {
    let movies = include_str!("../../../definitions/movies.toml")
        .replace("../es_index.json", "es_index.json")
        .replacen(
            "table  = \"content.film_work\"",
            &format!("table  = \"content.film_work\"\nwhere  = \"pg_sleep({seconds}) is not null\""),
            1,
        );
    assert!(movies.contains("pg_sleep"), "{movies}");
    program.write("es_index.json", include_str!("../../../es_index.json"));
    program.write("movies.toml", &movies);
    program.set("DEFINITION", "movies.toml");
}
