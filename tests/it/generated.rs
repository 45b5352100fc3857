//! Random trees of tables with random rows and random changes: every document equals what one SQL statement builds
//! that is written from the same model, and shares no line with the program.
//!
//! `PGSLUICE_GENERATED_SEED=7` runs one seed, `PGSLUICE_GENERATED_SEED=100-199` a range of them.

mod changes;
mod document;
mod model;
mod oracle;
mod schema;
mod written;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use fastrand::Rng;
use postgres::Client;

use crate::harness::{Database, Finished, Index, Program, Server, assert_same, documents, is_full, is_same};

use changes::Rows;
use model::{FEATURES, Model};

const SEED: &str = "PGSLUICE_GENERATED_SEED";

/// Seeds of every run, in which each feature is found, and of a full one.
const SEEDS: [u64; 4] = [1, 2, 109, 116];
const FULL_SEEDS: Range<u64> = 1..101;

/// Rounds of changes for each seed of a full run; others have the first two.
const ROUNDS: [Round; 4] = [Round::Visible, Round::Any, Round::Visible, Round::Any];

const CHANGES_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// What polling sees.
    Visible,
    /// Deletions, moved children and links, changed keys and what has no cursor too.
    Any,
}

#[test]
fn documents_of_generated_trees_equal_one_query() {
    let mut failed = Vec::new();
    for seed in seeds() {
        let (mut rng, model) = model_of(seed);
        // All of the other seeds too: what several of them have in common is the bug.
        let began = Instant::now();
        let tried =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_out(seed, &mut rng, &model)));
        eprintln!(
            "seed {seed}: {} tables, {} relations, {:.1} s, with {}",
            model.tables.len(),
            model.relations.len(),
            began.elapsed().as_secs_f64(),
            model.features().into_iter().collect::<Vec<_>>().join(", ")
        );
        if tried.is_err() {
            failed.push(seed);
            eprintln!("seed {seed} failed:\n{}\n{}", written::tables(&model), written::definition(&model));
        }
    }
    assert!(failed.is_empty(), "the seeds {failed:?} failed, {SEED} runs one of them");
}

#[test]
fn a_short_run_has_every_feature() {
    let found: BTreeSet<&str> = SEEDS.iter().flat_map(|seed| model_of(*seed).1.features()).collect();
    assert_eq!(found, BTreeSet::from(FEATURES));
}

fn model_of(seed: u64) -> (Rng, Model) {
    let mut rng = Rng::with_seed(seed);
    let mut model = schema::tree(&mut rng);
    model.document = document::document(&mut rng, &model);
    (rng, model)
}

fn seeds() -> Vec<u64> {
    let Ok(wanted) = std::env::var(SEED) else {
        return if is_full() { FULL_SEEDS.collect() } else { SEEDS.to_vec() };
    };
    let (first, last) = wanted.split_once('-').unwrap_or((&wanted, &wanted));
    let number = |text: &str| {
        text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{SEED} is 7 or 100-199: {wanted}"))
    };
    (number(first)..=number(last)).collect()
}

fn try_out(seed: u64, rng: &mut Rng, model: &Model) {
    let database = Database::new("generated");
    database.execute(&written::tables(model));
    let (mut rows, inserts) = Rows::new(rng, model);
    database.execute(&inserts.join(";\n"));
    let server = if seed.is_multiple_of(2) { Server::OpenSearch } else { Server::Elasticsearch };
    let index = Index::on(server, "generated");
    let mut program = Program::new(&database, &index);
    // What polling misses must not be healed by verify, nor by reading all rows of the last seconds once more.
    program.set("VERIFY_INTERVAL", "0").set("CURSOR_SKEW", "0.001");
    // Small batches, so that ranges end everywhere.
    program.set("DEFINITION", "generated.toml").set("CHUNK_SIZE", &rng.usize(1..=4).to_string());
    program.write("generated.json", &written::mapping(model));
    program.write("generated.toml", &written::definition(model));

    let query = oracle::query(model);
    let mut client = database.connect();
    // Compiling a statement of so many parts takes a thousand times as long as running it.
    client.batch_execute("set timezone = 'UTC'; set jit = off").unwrap();
    let rounds = if is_full() { &ROUNDS[..] } else { &ROUNDS[..2] };
    if is_full() {
        expect_code(&program, &["check"], 0);
    }
    program.once();
    compare("the full load", &index, &mut client, &query);
    for (number, round) in rounds.iter().enumerate() {
        let mut changes = Vec::new();
        for _ in 0..rng.usize(1..=CHANGES_MAX) {
            changes.extend(match round {
                Round::Visible => rows.visible_change(rng),
                Round::Any => rows.any_change(rng),
            });
        }
        let sql = changes.join(";\n");
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        match round {
            Round::Visible => {
                program.once();
            }
            Round::Any => {
                expect_code(&program, &["verify", "--repair"], 0);
            }
        }
        compare(&format!("round {number}:\n{sql}"), &index, &mut client, &query);
    }
}

fn expect_code(program: &Program, arguments: &[&str], code: i32) -> Finished {
    let finished = program.command(arguments);
    assert_eq!(finished.code, code, "{}{}", finished.log, finished.output);
    finished
}

fn compare(after: &str, index: &Index, client: &mut Client, query: &str) {
    let found = index.documents();
    let expected = documents(client, query);
    // The name of the step is told only where it is needed.
    if !is_same(&found, &expected) {
        eprintln!("after {after}");
    }
    assert_same(&found, &expected);
}
