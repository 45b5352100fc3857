//! From rows to documents: a batch of 2,000 films built and rendered, beside what only copies or only serialises.
//!
//! The limits get what the transformer has to find out first: the bytes as they will be, or documents that are grouped,
//! ordered and chosen already.

use std::hint::black_box;

use criterion::BatchSize;
use pgsluice::document::RenderedBatch;
use pgsluice::transform::render;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod common;

#[derive(Deserialize, Serialize)]
struct Film {
    id: String,
    imdb_rating: f64,
    title: String,
    description: String,
    genres: Vec<String>,
    directors_names: Vec<String>,
    directors: Vec<Person>,
    writers_names: Vec<String>,
    writers: Vec<Person>,
    actors_names: Vec<String>,
    actors: Vec<Person>,
}

#[derive(Deserialize, Serialize)]
struct Person {
    id: String,
    name: String,
}

const GROUP: &str = "transform";
const OWN: &str = "rows to documents";
const COPY: &str = "memcpy of the body";
const TYPED: &str = "serde_json of ready structs";
const VALUES: &str = "serde_json of ready values";

fn main() {
    let mut criterion = common::criterion();
    let films = common::Films::with_links();
    let rendered = films.rendered();
    let typed: Vec<Film> = documents(&rendered);
    let values: Vec<Value> = documents(&rendered);
    let mut group = common::group(&mut criterion, GROUP, &rendered);
    group.bench_function(OWN, |bencher| {
        bencher.iter_batched(
            || films.batch(),
            |batch| render(batch, common::limits()),
            BatchSize::SmallInput,
        );
    });
    group.bench_function(COPY, |bencher| bencher.iter(|| black_box(&rendered.body).clone()));
    group.bench_function(TYPED, |bencher| bencher.iter(|| written(&typed, rendered.body.len())));
    group.bench_function(VALUES, |bencher| bencher.iter(|| written(&values, rendered.body.len())));
    group.finish();
    common::print_ratios(GROUP, &rendered, OWN, &[COPY, TYPED, VALUES]);
    criterion.final_summary();
}

fn documents<T: for<'a> Deserialize<'a>>(rendered: &RenderedBatch) -> Vec<T> {
    let parse = |range: &std::ops::Range<usize>| serde_json::from_slice(&rendered.body[range.clone()]);
    let parsed: Result<_, _> = rendered.actions.iter().map(|action| parse(&action.document)).collect();
    parsed.expect("a rendered document is JSON of these fields")
}

fn written<T: Serialize>(documents: &[T], capacity: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(capacity);
    for document in documents {
        serde_json::to_writer(&mut body, black_box(document)).expect("a document serialises into memory");
        body.push(b'\n');
    }
    body
}
