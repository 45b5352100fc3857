//! Trees in one table: an adjacency list to a stated depth, downwards and upwards.

use crate::harness::Shape;

const CATEGORIES: &str = "
    create table category (id int primary key, parent_id int references category, name text,
                           modified timestamptz not null default now());
    create table item (id int primary key, category_id int, name text, modified timestamptz not null default now());
    insert into category select g, nullif(g / 2, 0), 'c' || g from generate_series(1, 20) g;
    insert into item select g, 1 + g % 20, 'i' || g from generate_series(1, 40) g";

const DEFINITION: &str = r#"
    [root]
    table = "category"
    cursor = "modified"
    [relation.child]
    table = "category"
    cursor = "modified"
    on = { parent_id = "id" }
    depth = 3
    [relation.item]
    table = "item"
    below = "child"
    cursor = "modified"
    on = { category_id = "id" }
    [relation.parent]
    table = "category"
    cursor = "modified"
    on = { id = "parent_id" }
    depth = 4
    [document]
    name = "name"
    children = { list = "child", object = { name = "name", items = { list = "item", value = "name" } } }
    parent = { one = "parent", object = { name = "name" } }"#;

/// The children of a row of `category` called `above`, and theirs, so many levels.
fn children(above: &str, level: u32, depth: u32) -> String {
    let own = format!("c{level}");
    let deeper = if level < depth {
        format!(", 'children', {}", children(&own, level + 1, depth))
    } else {
        String::new()
    };
    format!(
        "coalesce((select json_agg(json_build_object('name', {own}.name, 'items',
            coalesce((select json_agg(i.name order by i.name collate \"C\") from item i where i.category_id = {own}.id), '[]')
            {deeper}) order by {own}.name collate \"C\") from category {own} where {own}.parent_id = {above}.id), '[]')"
    )
}

fn parents(below: &str, level: u32, depth: u32) -> String {
    let own = format!("p{level}");
    let higher = if level < depth {
        format!(", 'parent', {}", parents(&own, level + 1, depth))
    } else {
        String::new()
    };
    format!(
        "(select json_build_object('name', {own}.name {higher}) from category {own} where {own}.id = {below}.parent_id)"
    )
}

#[test]
fn a_tree_is_read_to_its_depth_and_a_change_at_any_level_reaches_the_root() {
    let query = format!(
        "select r.id::text, json_build_object('name', r.name, 'children', {}, 'parent', {})::text from category r",
        children("r", 1, 3),
        parents("r", 1, 4)
    );
    let shape = Shape::new("tree", CATEGORIES, DEFINITION, &query);
    for id in [1, 2, 5, 10, 20] {
        shape.after(&format!("update category set name = 'n{id}', modified = now() where id = {id}"));
    }
    shape.after("update item set name = 'thing', modified = now() where category_id = 16");
    shape.after("insert into category values (21, 10, 'new'); insert into item values (50, 21, 'newer')");
    shape.after_unseen("update category set parent_id = 3, modified = now() where id = 5");
    shape.after_unseen("delete from item where id = 50; delete from category where id = 21");
    // A circle ends where the depth does.
    shape.after("update category set parent_id = 16, modified = now() where id = 1");
}
