//! Generated films as the extractor hands them over, and ratios between measurements of one run.

#![allow(dead_code, reason = "each benchmark uses what it needs")]
#![allow(unreachable_pub, reason = "a benchmark has no outside")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use pgsluice::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use pgsluice::cell::CellFormat;
use pgsluice::document::RenderedBatch;
use pgsluice::key::Key;
use pgsluice::plan::{
    DocumentPlan, ExtractedBatch, PlannedColumn, PlannedField, PlannedFilter, PlannedItem, PlannedRelation,
    PlannedSource, RelatedRows,
};
use pgsluice::rows::Rows;
use pgsluice::transform::{RenderLimits, render};

/// The rows of a batch, as many as `CHUNK_SIZE` allows by default.
pub const FILM_COUNT: usize = 2_000;

const NAMES: [&str; 8] = [
    "Carrie F. Hamill",
    "Евгения Соловьёва",
    "Harrison K. O'Brien",
    "Фёдор Щербаков",
    "Daisy B. Wright",
    "Ксения Орлова",
    "Mark T. Lucas",
    "Юрий Комаров",
];
const TITLES: [&str; 4] = [
    "Return of the lost starship",
    "Тайна забытого океана",
    "The \"glass\" kingdom 3",
    "Хроники звёздных дорог",
];
const SENTENCES: [&str; 4] = [
    "A former soldier searches for a map of forgotten seas in an abandoned city. ",
    "Капитан звёздного корабля ищет дорогу домой на краю далёкой галактики. ",
    "The watchmaker's apprentice steals \"the key\" to the city gates during the storm.\n",
    "Старый сыщик прячет письмо из будущего под чужим небом. ",
];
const GENRES: [&str; 4] = ["Fantasy", "Фантастика", "Drama", "Детектив"];

/// What a batch is made of; a batch itself is used up by rendering.
pub struct Films {
    plan: Arc<DocumentPlan>,
    roots: Rows,
    relations: Vec<RelatedRows>,
    missing: Vec<Key>,
}

impl Films {
    /// Films as the built-in definition makes documents of: about two genres and five persons each.
    pub fn with_links() -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let roots = roots(&mut random, 4);
        let genres = related(&mut random, 1..=3, &mut |random, rows| {
            let genre = random.usize(..GENRES.len());
            push(rows, &(genre as u128).to_be_bytes());
            push(rows, GENRES[genre].as_bytes());
        });
        let persons = related(&mut random, 3..=7, &mut |random, rows| {
            push(rows, &random.u128(..).to_be_bytes());
            push(rows, NAMES[random.usize(..NAMES.len())].as_bytes());
            let role = random.usize(..5);
            for is_role in [role == 0, role == 1, role > 1] {
                push(rows, &[u8::from(is_role)]);
            }
        });
        Self { plan: Arc::new(movies_plan()), roots, relations: vec![genres, persons], missing: Vec::new() }
    }

    /// Films whose documents have an id and a title alone: the action lines weigh most.
    pub fn narrow() -> Self {
        let roots = roots(&mut fastrand::Rng::with_seed(7), 0);
        let fields = vec![field("id", cell(0, CellFormat::Uuid)), field("title", cell(2, CellFormat::Text))];
        Self { plan: Arc::new(plan(fields, 0)), roots, relations: Vec::new(), missing: Vec::new() }
    }

    /// Films with descriptions of about 4 kB: text weighs most.
    pub fn wordy() -> Self {
        let roots = roots(&mut fastrand::Rng::with_seed(7), 40);
        Self { plan: Arc::new(plan(own_fields(), 0)), roots, relations: Vec::new(), missing: Vec::new() }
    }

    /// Films that are gone: a body of deletes.
    pub fn gone() -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let missing = (0..FILM_COUNT)
            .map(|_| Key::from_columns(&[CellFormat::Uuid.text(&random.u128(..).to_be_bytes())]))
            .collect();
        Self { plan: Arc::new(plan(Vec::new(), 0)), roots: Rows::new(1), relations: Vec::new(), missing }
    }

    /// A batch of them.
    pub fn batch(&self) -> ExtractedBatch {
        ExtractedBatch {
            batch: Batch {
                number: BatchNumber(1),
                work: Work::Range(KeyRange { low: None, high: None }),
                attempt_count: 0,
            },
            version: Version(1_767_225_600_000_000),
            plan: Arc::clone(&self.plan),
            roots: self.roots.clone(),
            relations: self.relations.clone(),
            missing: self.missing.clone(),
            settled: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The batch rendered.
    pub fn rendered(&self) -> RenderedBatch {
        render(self.batch(), limits())
    }
}

/// The default limits.
pub fn limits() -> RenderLimits {
    RenderLimits { document_max_bytes: 50 << 20 }
}

/// Root rows: id, rating, title, description of `sentence_count` sentences.
fn roots(random: &mut fastrand::Rng, sentence_count: usize) -> Rows {
    let mut rows = Rows::new(4);
    for _ in 0..FILM_COUNT {
        push(&mut rows, &random.u128(..).to_be_bytes());
        push(&mut rows, &(f64::from(random.u32(10..100)) / 10.0).to_be_bytes());
        push(&mut rows, TITLES[random.usize(..TITLES.len())].as_bytes());
        let description: String =
            (0..sentence_count).map(|_| SENTENCES[random.usize(..SENTENCES.len())]).collect();
        push(&mut rows, description.as_bytes());
    }
    rows
}

/// Rows that hang on the root rows, in the order of the roots as an index gives them; the first cell is their group.
fn related(
    random: &mut fastrand::Rng,
    counts: std::ops::RangeInclusive<u32>,
    push_row: &mut dyn FnMut(&mut fastrand::Rng, &mut Rows),
) -> RelatedRows {
    let mut rows = Rows::new(if *counts.end() == 3 { 3 } else { 6 });
    let mut starts = vec![0];
    for root in 0..FILM_COUNT {
        for _ in 0..random.u32(counts.clone()) {
            push(&mut rows, &(root as i64).to_be_bytes());
            push_row(random, &mut rows);
        }
        starts.push(rows.len() as u32);
    }
    let order = (0..rows.len() as u32).collect();
    RelatedRows { rows, group_of_nearer_row: (0..FILM_COUNT as u32).map(Some).collect(), starts, order }
}

fn push(rows: &mut Rows, cell: &[u8]) {
    assert!(rows.push_cell(Some(cell)), "a generated batch is far below 4 GiB");
}

/// The plan of the built-in definition.
fn movies_plan() -> DocumentPlan {
    let person = |position, item| PlannedSource::List(relation(1, Some(position), item));
    let name = || PlannedItem::Value(column(2, CellFormat::Text));
    let object = || {
        PlannedItem::Object(vec![
            field("id", cell(1, CellFormat::Uuid)),
            field("name", cell(2, CellFormat::Text)),
        ])
    };
    let mut fields = own_fields();
    fields.push(field("genres", PlannedSource::List(relation(0, None, name()))));
    for (role, position) in [("directors", 3), ("writers", 4), ("actors", 5)] {
        fields.push(field(&format!("{role}_names"), person(position, name())));
        fields.push(field(role, person(position, object())));
    }
    plan(fields, 2)
}

fn own_fields() -> Vec<PlannedField> {
    vec![
        field("id", cell(0, CellFormat::Uuid)),
        field("imdb_rating", cell(1, CellFormat::Float8)),
        field("title", cell(2, CellFormat::Text)),
        field("description", cell(3, CellFormat::Text)),
    ]
}

fn plan(fields: Vec<PlannedField>, relation_count: usize) -> DocumentPlan {
    DocumentPlan {
        key: vec![column(0, CellFormat::Uuid)],
        fields,
        relation_keys: vec![vec![column(1, CellFormat::Uuid)]; relation_count],
        routing: Vec::new(),
        refuses_nan: false,
    }
}

fn relation(relation: usize, filter: Option<usize>, item: PlannedItem) -> PlannedRelation {
    let filter = filter.map(|position| PlannedFilter::Holds { position });
    PlannedRelation { relation, filter, order: Vec::new(), limit: None, item }
}

fn field(name: &str, source: PlannedSource) -> PlannedField {
    PlannedField { label: format!("\"{name}\":").into_bytes(), source }
}

fn column(position: usize, format: CellFormat) -> PlannedColumn {
    PlannedColumn { position, format }
}

fn cell(position: usize, format: CellFormat) -> PlannedSource {
    PlannedSource::Cell(column(position, format))
}

/// Criterion with its arguments, and where it keeps its figures.
pub fn criterion() -> Criterion {
    Criterion::default()
        .output_directory(&figures())
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args()
}

fn figures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion")
}

/// A group of measurements of the same documents.
pub fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    rendered: &RenderedBatch,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::ElementsAndBytes {
        elements: rendered.actions.len() as u64,
        bytes: rendered.body.len() as u64,
    });
    group
}

/// Prints a group's medians side by side; `first` is what the others are the limits of.
#[allow(clippy::print_stdout, reason = "a benchmark's output")]
pub fn print_ratios(name: &str, rendered: &RenderedBatch, first: &str, limits: &[&str]) {
    let Some(own) = median_seconds(name, first) else { return };
    let documents = rendered.actions.len() as f64;
    let megabytes = rendered.body.len() as f64 / 1e6;
    println!(
        "\n{name}: {documents} actions, {megabytes:.2} MB      documents/s       MB/s   beside the first"
    );
    for what in std::iter::once(&first).chain(limits) {
        let Some(seconds) = median_seconds(name, what) else { continue };
        println!(
            "  {what:<42}{:>12.0}{:>11.0}{:>15.2}",
            documents / seconds,
            megabytes / seconds,
            own / seconds
        );
    }
}

/// The median that criterion has just kept; none if it measured nothing (as under `cargo test`).
fn median_seconds(group: &str, what: &str) -> Option<f64> {
    let path = figures().join(group).join(what).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(estimates["median"]["point_estimate"].as_f64()? / 1e9)
}
