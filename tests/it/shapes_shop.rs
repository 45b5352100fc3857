//! Fourteen tables in one document, and a link table that is no junction: each a full load, then changes of the root,
//! of links, children and grandchildren, compared after each step with a query of its own.

use crate::harness::{PLACES, Shape, after_changes_of_places};

const BOOKSTORE: &str = r#"
    create table publisher (id int primary key, name text, modified timestamptz not null default now());
    create table shelf (id int primary key, label text, modified timestamptz not null default now());
    create table book (isbn text primary key, title text, publisher_id int references publisher,
                       shelf_id int unique references shelf, modified timestamptz not null default now());
    create table sheet (isbn text primary key references book, pages int,
                        modified timestamptz not null default now());
    create table language (id int primary key, code text, modified timestamptz not null default now());
    create table subject (id int primary key, name text, modified timestamptz not null default now());
    create table people.reader (id int primary key, name text, modified timestamptz not null default now());
    create table book_author (isbn text references book, author_id int references people.author,
                              modified timestamptz not null default now(), primary key (isbn, author_id));
    create table book_language (id serial primary key, isbn text references book, language_id int references language,
                                modified timestamptz not null default now());
    create table rating (id int primary key, isbn text references book, reader_id int references people.reader,
                         subject_id int references subject, stars int, modified timestamptz not null default now());
    insert into publisher select g, 'pub' || g from generate_series(1, 3) g;
    insert into shelf select g, 's' || g from generate_series(1, 6) g;
    insert into book select 'i|' || g, 't' || g, 1 + g % 3, case when g < 5 then g end from generate_series(1, 8) g;
    insert into sheet select 'i|' || g, g * 10 from generate_series(2, 6) g;
    insert into language select g, 'l' || g from generate_series(1, 3) g;
    insert into subject select g, 'sub' || g from generate_series(1, 3) g;
    insert into people.reader select g, 'r' || g from generate_series(1, 4) g;
    insert into book_author select 'i|' || b, a from generate_series(1, 7) b, generate_series(1, 4) a where (a + b) % 3 = 0;
    insert into book_language (isbn, language_id)
      select 'i|' || b, l from generate_series(1, 6) b, generate_series(1, 3) l where (b * l) % 2 = 0;
    insert into book_language (isbn, language_id) values ('i|2', 1);
    insert into rating select b * 10 + r, 'i|' || b, r, 1 + (b + r) % 3, (b * r) % 5
      from generate_series(1, 6) b, generate_series(1, 4) r where (b + r) % 2 = 0"#;

const BOOKSTORE_DEFINITION: &str = r#"
    [root]
    table = "book"
    cursor = "modified"
    [relation.publisher]
    table = "publisher"
    cursor = "modified"
    on = { id = "publisher_id" }
    [relation.shelf]
    table = "shelf"
    cursor = "modified"
    on = { id = "shelf_id" }
    [relation.sheet]
    table = "sheet"
    cursor = "modified"
    on = { isbn = "isbn" }
    [relation.author]
    table = "people.author"
    cursor = "modified"
    through = { table = "book_author", on = { isbn = "isbn" }, cursor = "modified" }
    on = { id = "author_id" }
    [relation.city]
    table = "place.city"
    below = "author"
    cursor = "modified"
    on = { id = "city_id" }
    [relation.country]
    table = "place.country"
    below = "city"
    cursor = "modified"
    on = { id = "country_id" }
    [relation.continent]
    table = "place.continent"
    below = "country"
    cursor = "modified"
    on = { id = "continent_id" }
    [relation.language]
    table = "language"
    cursor = "modified"
    through = { table = "book_language", on = { isbn = "isbn" }, cursor = "modified" }
    on = { id = "language_id" }
    [relation.rating]
    table = "rating"
    cursor = "modified"
    on = { isbn = "isbn" }
    [relation.rated_subject]
    table = "subject"
    below = "rating"
    cursor = "modified"
    on = { id = "subject_id" }
    [relation.reader]
    table = "people.reader"
    cursor = "modified"
    through = { table = "rating", on = { isbn = "isbn" }, cursor = "modified" }
    on = { id = "reader_id" }
    [document]
    title = "title"
    publisher = { one = "publisher", value = "name" }
    shelf = { one = "shelf", object = { label = "label" } }
    pages = { one = "sheet", value = "pages" }
    languages = { list = "language", value = "code" }
    ratings = { list = "rating", object = { stars = "stars", subject = { one = "rated_subject", value = "name" } }, order = ["-stars", "id"] }
    readers = { list = "reader", object = { name = "name", stars = "through.stars" }, order = ["name"] }
    [document.authors]
    list = "author"
    [document.authors.object]
    name = "name"
    [document.authors.object.city]
    one = "city"
    [document.authors.object.city.object]
    name = "name"
    country = { one = "country", object = { name = "name", continent = { one = "continent", value = "name" } } }"#;

const BOOKSTORE_QUERY: &str = r#"
    select b.isbn, json_build_object('title', b.title,
      'publisher', (select p.name from publisher p where p.id = b.publisher_id),
      'shelf', (select json_build_object('label', s.label) from shelf s where s.id = b.shelf_id),
      'pages', (select s.pages from sheet s where s.isbn = b.isbn),
      'languages', coalesce((select json_agg(l.code order by l.code collate "C") from language l
          where l.id in (select k.language_id from book_language k where k.isbn = b.isbn)), '[]'),
      'ratings', coalesce((select json_agg(json_build_object('stars', r.stars, 'subject',
              (select s.name from subject s where s.id = r.subject_id)) order by r.stars desc nulls last, r.id)
          from rating r where r.isbn = b.isbn), '[]'),
      'readers', coalesce((select json_agg(json_build_object('name', x.name, 'stars', x.stars)
              order by x.name collate "C", x.stars)
          from (select distinct p.id, p.name, r.stars from rating r join people.reader p on p.id = r.reader_id
                 where r.isbn = b.isbn) x), '[]'),
      'authors', coalesce((select json_agg(json_build_object('name', a.name, 'city',
              case when c.id is not null then json_build_object('name', c.name, 'country',
                case when n.id is not null then json_build_object('name', n.name, 'continent', k.name) end) end)
              order by a.name collate "C")
          from book_author l join people.author a on a.id = l.author_id
          left join place.city c on c.id = a.city_id
          left join place.country n on n.id = c.country_id
          left join place.continent k on k.id = n.continent_id
          where l.isbn = b.isbn), '[]'))::text
      from book b"#;

#[test]
fn fourteen_tables_with_three_links_one_of_which_is_a_child_too() {
    let shape =
        Shape::new("bookstore", &format!("{PLACES};{BOOKSTORE}"), BOOKSTORE_DEFINITION, BOOKSTORE_QUERY);
    shape.after("insert into book values ('i|9', 'nine', 2, 5); insert into sheet values ('i|9', 99)");
    shape.after("insert into book_author values ('i|9', 1), ('i|8', 3); insert into book_language (isbn, language_id) values ('i|9', 3)");
    shape.after(
        "insert into rating values (900, 'i|9', 2, 1, 5), (901, 'i|9', 2, 3, 4), (902, 'i|1', 1, 1, 1)",
    );
    after_changes_of_places(&shape);
    shape.after("update shelf set label = 'top', modified = now() where id = 1");
    shape.after("update sheet set pages = 1, modified = now() where isbn = 'i|3'");
    shape.after("update publisher set name = 'Press', modified = now() where id = 2");
    shape.after("update language set code = 'no', modified = now() where id = 2");
    // The row of `rating` is a child with a child of its own, and leads to a reader.
    shape.after(
        "update rating set stars = 0, subject_id = 2, reader_id = 4, modified = now() where isbn = 'i|2'",
    );
    shape.after("update people.reader set name = 'Zoe', modified = now() where id = 1");
    shape.after("update subject set name = 'art', modified = now() where id = 3");
    shape.after_unseen("update book_language set isbn = 'i|8', modified = now() where isbn = 'i|4'");
    shape.after_unseen(
        "delete from rating where stars = 4; delete from book_author where author_id = 2;
         update people.author set city_id = null where city_id = 2; delete from place.city where id = 2",
    );
    shape.after_unseen(
        "delete from sheet where isbn = 'i|9'; delete from rating where isbn = 'i|9';
         delete from book_author where isbn = 'i|9'; delete from book_language where isbn = 'i|9';
         delete from book where isbn = 'i|9'; delete from shelf where id = 5",
    );
}

const CUSTOMERS: &str = "
    create schema sales;
    create table customer (id int primary key, name text, modified timestamptz not null default now());
    create table sales.basket (id int primary key, customer_id int references customer, at int,
                               modified timestamptz not null default now());
    create table sales.line (id int primary key, basket_id int references sales.basket, what text,
                             modified timestamptz not null default now());
    create table sales.claim (id int primary key, line_id int references sales.line, reason text,
                              modified timestamptz not null default now());
    insert into customer select g, 'c' || g from generate_series(1, 4) g;
    insert into sales.basket select g, 1 + g % 3, g * 10 from generate_series(1, 7) g;
    insert into sales.line select g, 1 + g % 6, 'w' || g % 5 from generate_series(1, 20) g;
    insert into sales.claim select g, 1 + g % 15, 'r' || g from generate_series(1, 12) g";

const CUSTOMERS_DEFINITION: &str = r#"
    [root]
    table = "customer"
    cursor = "modified"
    [relation.line]
    table = "sales.line"
    cursor = "modified"
    through = { table = "sales.basket", on = { customer_id = "id" }, cursor = "modified" }
    on = { basket_id = "id" }
    [relation.claim]
    table = "sales.claim"
    below = "line"
    cursor = "modified"
    on = { line_id = "id" }
    [document]
    name = "name"
    lines = { list = "line", object = { what = "what", at = "through.at", claims = { list = "claim", value = "reason" } }, order = ["-through.at", "what", "id"] }
    line_count = { count = "line" }"#;

const CUSTOMERS_QUERY: &str = r#"
    select c.id::text, json_build_object('name', c.name,
      'lines', coalesce((select json_agg(json_build_object('what', l.what, 'at', b.at, 'claims',
              coalesce((select json_agg(m.reason order by m.reason collate "C") from sales.claim m
                         where m.line_id = l.id), '[]')) order by b.at desc nulls last, l.what collate "C", l.id)
          from sales.basket b join sales.line l on l.basket_id = b.id where b.customer_id = c.id), '[]'),
      'line_count', (select count(*) from sales.basket b join sales.line l on l.basket_id = b.id
                      where b.customer_id = c.id))::text
      from customer c"#;

#[test]
fn a_through_table_that_is_no_junction_leads_from_one_to_many_to_many_to_many() {
    let shape = Shape::new("customers", CUSTOMERS, CUSTOMERS_DEFINITION, CUSTOMERS_QUERY);
    shape.after(
        "insert into customer values (5, 'five'); insert into sales.basket values (8, 5, 1), (9, 4, 2)",
    );
    shape.after("insert into sales.line values (21, 8, 'new'), (22, 9, 'newer'), (23, 1, 'more')");
    shape.after("insert into sales.claim values (13, 21, 'broken'), (14, 1, 'late')");
    shape.after("update customer set name = 'one', modified = now() where id = 1");
    shape.after("update sales.basket set at = 99, modified = now() where id = 2");
    shape.after("update sales.line set what = 'tea', modified = now() where basket_id = 3");
    shape.after("update sales.claim set reason = 'none', modified = now() where id = 4");
    shape.after_unseen("update sales.basket set customer_id = 4, modified = now() where id = 1");
    shape.after_unseen("update sales.line set basket_id = 4, modified = now() where basket_id = 2");
    shape.after_unseen("delete from sales.claim where id < 5; delete from sales.claim where line_id in (21, 22); delete from sales.line where id > 20");
    shape.after_unseen("delete from sales.basket where id in (8, 9); delete from customer where id = 5");
}
