//! Schemas of every shape: a full load, then an insert, an update and a deletion at each level, with all documents
//! compared after each step with what a query of its own says.

use crate::harness::{PLACES, Shape, after_changes_of_places};

const LIBRARY: &str = "
    create table book (id int primary key, title text, author_id int references people.author,
                       modified timestamptz not null default now());
    create table book_detail (book_id int primary key references book, pages int,
                              modified timestamptz not null default now());
    insert into book select g, 'b' || g, case when g < 8 then 1 + g % 4 end from generate_series(1, 9) g;
    insert into book_detail select g, g * 100 from generate_series(1, 5) g";

const LIBRARY_DEFINITION: &str = r#"
    [root]
    table = "book"
    cursor = "modified"
    [relation.detail]
    table = "book_detail"
    cursor = "modified"
    on = { book_id = "id" }
    [relation.author]
    table = "people.author"
    cursor = "modified"
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
    [document]
    title = "title"
    pages = { one = "detail", value = "pages" }
    [document.author]
    one = "author"
    [document.author.object]
    name = "name"
    [document.author.object.city]
    one = "city"
    [document.author.object.city.object]
    name = "name"
    country = { one = "country", object = { name = "name", continent = { one = "continent", value = "name" } } }"#;

const LIBRARY_QUERY: &str = "
    select b.id::text, json_build_object('title', b.title, 'pages', d.pages, 'author',
        case when a.id is not null then json_build_object('name', a.name, 'city',
          case when c.id is not null then json_build_object('name', c.name, 'country',
            case when l.id is not null then json_build_object('name', l.name, 'continent', k.name) end) end) end)::text
      from book b
      left join book_detail d on d.book_id = b.id
      left join people.author a on a.id = b.author_id
      left join place.city c on c.id = a.city_id
      left join place.country l on l.id = c.country_id
      left join place.continent k on k.id = l.continent_id";

#[test]
fn a_chain_of_five_to_one_relations_over_three_schemas_with_foreign_keys_on_either_side() {
    let shape = Shape::new("chain", &format!("{PLACES};{LIBRARY}"), LIBRARY_DEFINITION, LIBRARY_QUERY);
    shape.after("insert into book values (10, 'new', 1); insert into book_detail values (8, 1)");
    after_changes_of_places(&shape);
    shape.after("update book set author_id = 3, modified = now() where id = 1");
    shape.after("update book_detail set pages = 7, modified = now() where book_id = 2");
    shape.after_unseen(
        "delete from book where id = 10;
         delete from book_detail where book_id in (1, 8);
         update place.city set country_id = null where country_id = 2;
         delete from place.country where id = 2",
    );
    shape.after_unseen("update book_detail set book_id = 9, modified = now() where book_id = 2");
}

const SHOP: &str = "
    create table person (id int primary key, name text, modified timestamptz not null default now());
    create table product (id int primary key, name text, modified timestamptz not null default now());
    create table tag (id int primary key, name text, modified timestamptz not null default now());
    create table product_tag (product_id int references product, tag_id int references tag, weight int,
                              created timestamptz not null default now(), primary key (product_id, tag_id));
    create table orders (id int primary key, note text, modified timestamptz not null default now());
    create table line (order_id int references orders, number int, product_id int references product,
                       modified timestamptz not null default now(), primary key (order_id, number));
    create table buyer (order_id int references orders, person_id int references person,
                        created timestamptz not null default now(), primary key (order_id, person_id));
    create table seller (id serial primary key, order_id int references orders, person_id int references person,
                         share int, created timestamptz not null default now());
    insert into person select g, 'p' || g from generate_series(1, 5) g;
    insert into product select g, 'x' || g from generate_series(1, 4) g;
    insert into tag select g, 't' || g from generate_series(1, 3) g;
    insert into product_tag select p, t, p * t from generate_series(1, 3) p, generate_series(1, 3) t where p <> t;
    insert into orders select g, 'o' || g from generate_series(1, 5) g;
    insert into line select o, n, 1 + (o + n) % 4 from generate_series(1, 4) o, generate_series(1, o) n;
    insert into buyer select o, 1 + o % 5 from generate_series(1, 4) o;
    insert into seller (order_id, person_id, share)
      select o, 1 + (o + s) % 5, 10 * s from generate_series(1, 4) o, generate_series(1, 2) s";

const SHOP_DEFINITION: &str = r#"
    [root]
    table = "orders"
    cursor = "modified"
    [relation.line]
    table = "line"
    cursor = "modified"
    on = { order_id = "id" }
    [relation.product]
    table = "product"
    below = "line"
    cursor = "modified"
    on = { id = "product_id" }
    [relation.tag]
    table = "tag"
    below = "product"
    cursor = "modified"
    through = { table = "product_tag", on = { product_id = "id" }, cursor = "created" }
    on = { id = "tag_id" }
    [relation.buyer]
    table = "person"
    cursor = "modified"
    through = { table = "buyer", on = { order_id = "id" }, cursor = "created" }
    on = { id = "person_id" }
    [relation.seller]
    table = "person"
    cursor = "modified"
    through = { table = "seller", on = { order_id = "id" }, cursor = "created" }
    on = { id = "person_id" }
    [relation.deal]
    table = "seller"
    cursor = "created"
    on = { order_id = "id" }
    [document]
    note = "note"
    buyers = { list = "buyer", value = "name" }
    sellers = { list = "seller", object = { name = "name", share = "through.share" }, order = ["-through.share"] }
    shares = { list = "deal", value = "share", order = ["id"] }
    [document.lines]
    list = "line"
    order = ["number"]
    [document.lines.object]
    number = "number"
    [document.lines.object.product]
    one = "product"
    [document.lines.object.product.object]
    name = "name"
    tags = { list = "tag", object = { name = "name", weight = "through.weight" }, order = ["-through.weight"] }"#;

const SHOP_QUERY: &str = "
    select o.id::text, json_build_object('note', o.note,
      'buyers', coalesce((select json_agg(p.name order by p.name) from buyer b join person p on p.id = b.person_id
                           where b.order_id = o.id), '[]'),
      'sellers', coalesce((select json_agg(json_build_object('name', p.name, 'share', s.share) order by s.share desc, p.name collate \"C\")
                             from seller s join person p on p.id = s.person_id where s.order_id = o.id), '[]'),
      'shares', coalesce((select json_agg(s.share order by s.id) from seller s where s.order_id = o.id), '[]'),
      'lines', coalesce((select json_agg(json_build_object('number', l.number, 'product',
            (select json_build_object('name', x.name, 'tags', coalesce((
                select json_agg(json_build_object('name', t.name, 'weight', pt.weight) order by pt.weight desc)
                  from product_tag pt join tag t on t.id = pt.tag_id where pt.product_id = x.id), '[]'))
               from product x where x.id = l.product_id)) order by l.number)
          from line l where l.order_id = o.id), '[]'))::text
      from orders o";

#[test]
fn link_tables_below_a_child_two_to_the_same_table_and_one_that_is_a_child_too() {
    let shape = Shape::new("links", SHOP, SHOP_DEFINITION, SHOP_QUERY);
    shape.after("insert into orders values (6, 'six'); insert into line values (6, 1, 2), (5, 1, 1)");
    shape.after("update tag set name = 'red', modified = now() where id = 2");
    shape.after("insert into product_tag values (4, 1, 9)");
    shape.after("update product_tag set weight = 50, created = now() where product_id = 1 and tag_id = 3");
    shape.after("update product set name = 'tea', modified = now() where id = 3");
    shape.after(
        "insert into seller (order_id, person_id, share) values (5, 2, 77); insert into buyer values (5, 2)",
    );
    shape.after("update seller set share = 5, created = now() where order_id = 1");
    // One person is buyer of some and seller of others.
    shape.after("update person set name = 'Eve', modified = now() where id = 3");
    shape.after_unseen("delete from buyer where order_id = 1; delete from seller where order_id = 2");
    shape.after_unseen(
        "delete from product_tag where product_id = 1; delete from line where order_id = 4 and number = 2",
    );
    shape.after_unseen("delete from line where order_id = 6; delete from orders where id = 6");
}

const TENANTS: &str = "
    create table account (tenant text, id int, name text, modified timestamptz not null default now());
    create unique index on account (tenant, id);
    alter table account alter tenant set not null, alter id set not null;
    create table member (tenant text, account_id int, user_no int, region text,
                         modified timestamptz not null default now());
    create table guest (tenant text, account_id int, user_no int, region text,
                        modified timestamptz not null default now());
    create table users (no int, region text, name text, modified timestamptz not null default now());
    create table note (tenant text, account_id int, body text, modified timestamptz not null default now());
    create table word (tenant text, account_id int, body text, word text, modified timestamptz not null default now());
    insert into account select t, g, t || g from unnest(array['a', 'a|b', 'b']) t, generate_series(1, 3) g;
    insert into users select g, r, r || g from generate_series(1, 4) g, unnest(array['n', 's']) r;
    insert into member select 'a', g, g, 'n' from generate_series(1, 3) g;
    insert into member select 'b', g, 4, 's' from generate_series(1, 2) g;
    insert into guest select 'a|b', g, g + 1, 's' from generate_series(1, 3) g;
    insert into note select t, g, 'note ' || g from unnest(array['a', 'b']) t, generate_series(1, 2) g;
    insert into word select tenant, account_id, body, w from note, unnest(array['x', 'y']) w";

const TENANTS_DEFINITION: &str = r#"
    [root]
    table = "account"
    key = ["tenant", "id"]
    cursor = "modified"
    [relation.member]
    table = "users"
    key = ["no", "region"]
    cursor = "modified"
    through = { table = "member", on = { account_id = "id", tenant = "tenant" }, cursor = "modified" }
    on = { no = "user_no", region = "region" }
    [relation.guest]
    table = "users"
    key = ["no", "region"]
    cursor = "modified"
    through = { table = "guest", on = { tenant = "tenant", account_id = "id" }, cursor = "modified" }
    on = { no = "user_no", region = "region" }
    [relation.note]
    table = "note"
    cursor = "modified"
    on = { tenant = "tenant", account_id = "id" }
    [relation.word]
    table = "word"
    below = "note"
    cursor = "modified"
    on = { body = "body", tenant = "tenant", account_id = "account_id" }
    [document]
    name = "name"
    members = { list = "member", value = "name" }
    guests = { list = "guest", object = { no = "no", region = "region", name = "name" } }
    notes = { list = "note", object = { body = "body", words = { list = "word", value = "word" } } }"#;

const TENANTS_QUERY: &str = "
    select replace(a.tenant, '|', '\\|') || '|' || a.id, json_build_object('name', a.name,
      'members', coalesce((select json_agg(u.name order by u.name) from member m
                             join users u on u.no = m.user_no and u.region = m.region
                            where m.tenant = a.tenant and m.account_id = a.id), '[]'),
      'guests', coalesce((select json_agg(json_build_object('no', u.no, 'region', u.region, 'name', u.name)
                                          order by u.no, u.region) from guest m
                             join users u on u.no = m.user_no and u.region = m.region
                            where m.tenant = a.tenant and m.account_id = a.id), '[]'),
      'notes', coalesce((select json_agg(json_build_object('body', n.body, 'words',
                            coalesce((select json_agg(w.word order by w.word) from word w
                                       where w.tenant = n.tenant and w.account_id = n.account_id and w.body = n.body), '[]'))
                            order by n.body) from note n where n.tenant = a.tenant and n.account_id = a.id), '[]'))::text
      from account a";

#[test]
fn composite_keys_and_joins_without_foreign_keys_and_the_same_child_through_two_links() {
    let shape = Shape::new("tenants", TENANTS, TENANTS_DEFINITION, TENANTS_QUERY);
    shape.after("insert into account values ('c|', 1, 'new'); insert into note values ('c|', 1, 'hello')");
    shape.after("insert into word values ('c|', 1, 'hello', 'w'), ('a', 1, 'note 1', 'zzz')");
    shape.after("update users set name = 'Zoe', modified = now() where no = 4 and region = 's'");
    shape.after("insert into guest values ('a', 1, 1, 'n')");
    shape.after("update member set user_no = 2, modified = now() where tenant = 'b' and account_id = 1");
    shape.after("update word set word = 'changed', modified = now() where tenant = 'b' and account_id = 2 and word = 'x'");
    shape.after_unseen(
        "delete from guest where tenant = 'a|b' and account_id = 2;
         delete from word where tenant = 'a' and word = 'y';
         delete from account where tenant = 'c|'",
    );
}

const READINGS: &str = "
    create table device (id int primary key, name text, modified timestamptz not null default now())
      partition by hash (id);
    create table device_0 partition of device for values with (modulus 2, remainder 0);
    create table device_1 partition of device for values with (modulus 2, remainder 1);
    create table reading (device_id int, at int, value numeric, modified timestamptz not null default now(),
                          primary key (device_id, at)) partition by range (at);
    create table reading_1 partition of reading for values from (0) to (10);
    create table reading_2 partition of reading for values from (10) to (1000);
    create table kind (id int primary key, device_id int, label text, hidden bool default false,
                       modified timestamptz not null default now());
    create view shown_kind as select id, device_id, upper(label) as label, modified from kind where not hidden;
    create materialized view total as
      select device_id, sum(value) as total, max(modified) as modified from reading group by device_id;
    create unique index on total (device_id);
    insert into device select g, 'd' || g from generate_series(1, 5) g;
    insert into reading select d, a, d * a from generate_series(1, 4) d, generate_series(8, 12) a;
    insert into kind select g, 1 + g % 5, 'k' || g from generate_series(1, 6) g;
    refresh materialized view total";

const READINGS_DEFINITION: &str = r#"
    [root]
    table = "device"
    cursor = "modified"
    [relation.reading]
    table = "reading"
    cursor = "modified"
    on = { device_id = "id" }
    [relation.kind]
    table = "shown_kind"
    key = ["id"]
    cursor = "modified"
    on = { device_id = "id" }
    [relation.total]
    table = "total"
    key = ["device_id"]
    cursor = "modified"
    on = { device_id = "id" }
    [document]
    name = "name"
    readings = { list = "reading", value = "value", order = ["-at"], limit = 3 }
    kinds = { list = "kind", value = "label" }
    total = { one = "total", value = "total" }"#;

const READINGS_QUERY: &str = "
    select d.id::text, json_build_object('name', d.name,
      'readings', coalesce((select json_agg(r.value order by r.at desc)
                              from (select * from reading r where r.device_id = d.id order by at desc limit 3) r), '[]'),
      'kinds', coalesce((select json_agg(upper(k.label) order by upper(k.label)) from kind k
                          where k.device_id = d.id and not k.hidden), '[]'),
      'total', (select t.total from total t where t.device_id = d.id))::text
      from device d";

#[test]
fn partitioned_tables_views_and_materialized_views() {
    let shape = Shape::new("parts", READINGS, READINGS_DEFINITION, READINGS_QUERY);
    shape.after("insert into reading values (5, 9, 1.50), (1, 900, 0.1)");
    shape.after("refresh materialized view total");
    shape.after("update reading set value = -1, modified = now() where at = 12 and device_id in (1, 2)");
    shape.after("update kind set label = 'other', modified = now() where id = 3");
    shape.after("insert into device values (6, 'six'); insert into kind values (7, 6, 'seven')");
    // A row that leaves a view is gone from it, as a deleted one is.
    shape.after_unseen("update kind set hidden = true, modified = now() where id = 2");
    shape.after_unseen(
        "delete from reading where at > 10; delete from device where id = 6; delete from kind where id = 5",
    );
}
