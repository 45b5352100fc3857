//! A film rental shop of fifteen tables, drafted by `init` and synced without an edit.

use std::path::Path;
use std::time::Duration;

use postgres::Client;

use crate::harness::{Database, Documents, Index, Program, assert_same, documents, is_full};

fn shop(label: &str) -> (Database, Index, Program) {
    let database = Database::new(label);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/film_rental.sql");
    database.run_sql_file(&fixture, &[]);
    let index = Index::new(label);
    let mut program = Program::new(&database, &index);
    program.set("DEFINITION", "draft.toml");
    (database, index, program)
}

fn init(program: &Program, arguments: &[&str]) {
    let drafted = program.command(&[&["init"], arguments].concat());
    assert_eq!(drafted.code, 0, "{}", drafted.log);
}

/// What the draft of films is meant to be.
fn films(client: &mut Client) -> Documents {
    client
        .batch_execute("set timezone = 'UTC'; set search_path = rental; set intervalstyle = 'iso_8601'")
        .unwrap();
    documents(
        client,
        "select f.id::text, json_build_object(
           'id', f.id, 'title', f.title, 'summary', f.summary, 'release_year', f.release_year, 'minutes', f.minutes,
           'fee', f.fee, 'rating', f.rating, 'features', f.features, 'details', f.details, 'updated_at', f.updated_at,
           'language', (select json_build_object('id', l.id, 'name', l.name) from language l where l.id = f.language_id),
           'original_language',
             (select json_build_object('id', l.id, 'name', l.name) from language l where l.id = f.original_language_id),
           'actor', coalesce((
             select json_agg(json_build_object('id', a.id, 'first_name', a.first_name, 'last_name', a.last_name,
                                               'billing', fa.billing) order by a.id)
               from film_actor fa join actor a on a.id = fa.actor_id where fa.film_id = f.id), '[]'),
           'category', coalesce((
             select json_agg(json_build_object('id', c.id, 'name', c.name) order by c.id)
               from category c where c.id in (select category_id from film_category fc where fc.film_id = f.id)), '[]'),
           'inventory', coalesce((
             select json_agg(json_build_object('id', i.id,
                      'store', (select json_build_object('id', s.id, 'name', s.name, 'address_id', s.address_id,
                                                         'manager_id', s.manager_id)
                                  from store s where s.id = i.store_id),
                      'rental', coalesce((
                        select json_agg(json_build_object('id', r.id, 'rented_at', r.rented_at,
                                 'returned_at', r.returned_at, 'period', r.period, 'customer_id', r.customer_id,
                                 'staff_id', r.staff_id) order by r.id)
                          from rental r where r.inventory_id = i.id), '[]')) order by i.id)
               from inventory i where i.film_id = f.id), '[]'))::text
           from film f",
    )
}

#[test]
fn a_film_rental_shop_is_drafted_checked_and_synced_without_an_edit() {
    let (database, index, program) = shop("rental");
    init(&program, &["--root", "rental.film", "--output", "draft"]);
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    assert!(!checked.output.contains("problem"), "{}", checked.output);
    program.once();
    let mut client = database.connect();
    let expected = films(&mut client);
    assert_eq!(expected.len(), 120);
    assert_same(&index.documents(), &expected);
    // Root, to-one, behind a link table, a link, a child, a grandchild; a new film and its links.
    let running = program.run();
    for change in [
        "update rental.film set title = 'Renamed', updated_at = clock_timestamp() where id in (3, 77)",
        "update rental.language set name = 'Deutsch', updated_at = clock_timestamp() where id = 2",
        "update rental.actor set last_name = 'Newname', updated_at = clock_timestamp() where id = 5",
        "update rental.film_actor set billing = 99, updated_at = clock_timestamp() where film_id = 8",
        "insert into rental.inventory (film_id, store_id, updated_at) values (120, 2, clock_timestamp())",
        "update rental.rental set returned_at = clock_timestamp(), updated_at = clock_timestamp() where id = 5",
        "update rental.store set name = 'West', updated_at = clock_timestamp() where id = 1",
        "with made as (insert into rental.film (title, language_id, fee) values ('New', 1, 2.50) returning id)
         insert into rental.film_category (film_id, category_id) select id, 3 from made",
    ] {
        database.execute(change);
    }
    index.wait_for(Duration::from_secs(60), || films(&mut client));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn every_table_of_the_shop_can_be_the_root_of_a_draft() {
    let (_database, index, mut program) = shop("rental_roots");
    let tables = [
        "country",
        "city",
        "address",
        "language",
        "category",
        "actor",
        "film",
        "film_actor",
        "film_category",
        "store",
        "staff",
        "customer",
        "inventory",
        "rental",
        "payment",
    ];
    // The leaves of the tree, its middle and its link tables are a good half of what can differ.
    for table in tables.into_iter().step_by(if is_full() { 1 } else { 2 }) {
        let root = format!("rental.{table}");
        init(&program, &["--root", &root, "--depth", "3", "--output", table, "--index", &index.alias]);
        program.set("DEFINITION", &format!("{table}.toml"));
        for command in ["check", "preview"] {
            let finished = program.command(&[command]);
            assert_eq!(finished.code, 0, "{root}: {}{}", finished.log, finished.output);
        }
        let draft = std::fs::read_to_string(program.folder().join(format!("{table}.toml"))).unwrap();
        assert!(!draft.lines().any(|line| !line.starts_with('#') && line.contains("password")), "{draft}");
    }
}
