//! `explain`: why a document is as it is.

use serde_json::Value;

use crate::harness::{Database, Evidence, Index, Program};

fn explained(program: &Program, key: &str) -> Value {
    let finished = program.command(&["explain", key, "--json"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    serde_json::from_str(&finished.output).unwrap()
}

fn verdict(program: &Program, key: &str) -> String {
    explained(program, key)["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_document_is_explained_by_its_rows_the_state_and_the_index() {
    let database = Database::with_films("explain", 30);
    let index = Index::new("explain");
    let program = Program::new(&database, &index);
    let row = database
        .connect()
        .query_one(
            "select f.id::text, g.genre_id::text, (select count(*) from content.person_film_work p where p.film_work_id = f.id)
               from content.film_work f join content.genre_film_work g on g.film_work_id = f.id
              where exists (select 1 from content.person_film_work p where p.film_work_id = f.id) limit 1",
            &[],
        )
        .unwrap();
    let (film, genre, link_count): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(verdict(&program, &film), "nothing was loaded yet");
    program.once();
    let before = Evidence::of(&database, &index, &program);
    let found = explained(&program, &film);
    assert_eq!(found["verdict"], "the document is what would be built now", "{found:#}");
    assert_eq!((&found["is_same"], &found["has_row"]), (&true.into(), &true.into()));
    assert_eq!(found["document"]["is_ours"], true);
    let table = |name: &str| {
        let tables = found["tables"].as_array().unwrap();
        tables
            .iter()
            .find(|table| table["table"] == name)
            .unwrap_or_else(|| panic!("{name} in {found:#}"))
            .clone()
    };
    assert_eq!(table("content.film_work")["rows"][0]["key"], film.as_str());
    assert_eq!(table("content.person_film_work")["row_count"], link_count);
    assert!(table("content.genre")["checkpoint"].is_string());
    let said = program.command(&["explain", &film]).output;
    assert!(said.contains("verdict      the document is what would be built now"), "{said}");
    assert_eq!(Evidence::of(&database, &index, &program), before);

    // Behind the checkpoint, past the cursor, and gone.
    database.execute(&format!(
        "update content.genre set name = 'New', modified = now() + interval '1 second' where id = '{genre}'"
    ));
    assert!(verdict(&program, &film).contains("a row of content.genre was written after the checkpoint"));
    program.once();
    assert_eq!(verdict(&program, &film), "the document is what would be built now");
    database.execute(&format!(
        "update content.genre set modified = '2001-01-01' where id = '{genre}';
         update content.film_work set title = 'Past the cursor', modified = '2001-01-01' where id = '{film}'"
    ));
    assert!(verdict(&program, &film).contains("polling does not see why"), "{}", verdict(&program, &film));
    database.execute(&format!("delete from content.film_work where id = '{film}'"));
    assert!(verdict(&program, &film).starts_with("there is a document without a row"));
    program.command(&["explain", "film-1"]).assert_refused(2, &["cannot be a key of content.film_work"]);
}
