//! A chain of tables that several shapes have: authors in cities of countries of continents.

use super::Shape;

/// The tables and their rows.
pub const PLACES: &str = "
    create schema place; create schema people;
    create table place.continent (id int primary key, name text, modified timestamptz not null default now());
    create table place.country (id int primary key, name text, continent_id int references place.continent,
                                modified timestamptz not null default now());
    create table place.city (id int primary key, name text, country_id int references place.country,
                             modified timestamptz not null default now());
    create table people.author (id int primary key, name text, city_id int references place.city,
                                modified timestamptz not null default now());
    insert into place.continent values (1, 'Europe'), (2, 'Asia');
    insert into place.country values (1, 'Norway', 1), (2, 'Japan', 2), (3, 'Nowhere', null);
    insert into place.city values (1, 'Oslo', 1), (2, 'Kyoto', 2), (3, 'Lost', 3);
    insert into people.author values (1, 'Ann', 1), (2, 'Bo', 2), (3, 'Cy', 3), (4, 'Di', null);";

/// An update at each link of the chain; the documents of all authors must have theirs.
pub fn after_changes_of_places(shape: &Shape) {
    shape.after("update place.continent set name = 'Asien', modified = now() where id = 2");
    shape.after("update place.country set continent_id = 1, modified = now() where id = 3");
    shape.after("update place.city set name = 'Nara', modified = now() where id = 2");
    shape.after("update people.author set city_id = 3, modified = now() where id = 1");
}
