//! Rendering of bulk bodies where one part outweighs the others: deletes, narrow documents, long texts.
//!
//! Beside each: copying the same bytes, and `serde_json` writing the same lines from ready values.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use pgsluice::transform::render;
use serde_json::Value;

mod common;
use common::Films;

const OWN: &str = "render";
const COPY: &str = "memcpy of the body";
const VALUES: &str = "serde_json of ready values";

fn main() {
    let mut criterion = common::criterion();
    for (name, films) in
        [("deletes", Films::gone()), ("narrow documents", Films::narrow()), ("long texts", Films::wordy())]
    {
        measure(&mut criterion, name, &films);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, name: &str, films: &Films) {
    let rendered = films.rendered();
    let lines: Result<Vec<Value>, _> =
        serde_json::Deserializer::from_slice(&rendered.body).into_iter().collect();
    let lines = lines.expect("a rendered body is lines of JSON");
    let mut group = common::group(criterion, name, &rendered);
    group.bench_function(OWN, |bencher| {
        bencher.iter_batched(
            || films.batch(),
            |batch| render(batch, common::limits()),
            BatchSize::LargeInput,
        );
    });
    group.bench_function(COPY, |bencher| bencher.iter(|| black_box(&rendered.body).clone()));
    group.bench_function(VALUES, |bencher| {
        bencher.iter(|| {
            let mut body = Vec::with_capacity(rendered.body.len());
            for line in &lines {
                serde_json::to_writer(&mut body, black_box(line)).expect("a value serialises into memory");
                body.push(b'\n');
            }
            body
        });
    });
    group.finish();
    common::print_ratios(name, &rendered, OWN, &[COPY, VALUES]);
}
