//! How fast verify compares, beside the two things it does: reading the rows, and asking for the documents.
//!
//! Needs the servers of `dev/services` and a full load made before with the same settings:
//!
//!     eval "$(dev/services env)"; export PG_DSN__DBNAME=… ELASTIC_INDEX=… STORAGE_SUBDIR=…
//!     pgsluice once && cargo bench --bench verify

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measuring program")]

use std::time::Instant;

use pgsluice::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use pgsluice::definition;
use pgsluice::document::Action;
use pgsluice::elastic::{Client, IdPosition, get_documents, next_ids};
use pgsluice::postgres::{Source, SourceLimits};
use pgsluice::settings::Settings;
use pgsluice::shutdown::Shutdown;
use pgsluice::store::{Store, VerifyCaller, VerifyPass};
use pgsluice::transform::{RenderLimits, render};
use pgsluice::verify::{Comparer, Repair, Verifier, VerifyLimits};

fn main() {
    let settings = Settings::load().unwrap();
    let index = settings.index.clone().unwrap();
    let definition = definition::built_in().unwrap().with_index(&index);
    let client = Client::new(&settings.elastic).unwrap();
    let limits = SourceLimits {
        chunk_size: settings.chunk_size,
        batch_bytes: settings.batch_bytes.min(4 << 20),
        document_max_bytes: settings.document_max_bytes,
        related_cache_bytes: 0,
        statement_timeout: settings.statement_timeout,
        initial_timestamp: None,
    };
    let render_limits = RenderLimits { document_max_bytes: settings.document_max_bytes };
    let connect = || Source::connect(&settings.source, &definition, limits);
    for round in 0..3 {
        let mut ids = Vec::new();
        let mut source = connect().unwrap();
        let (mut low, began) = (None, Instant::now());
        loop {
            let high = source.cut_range(low.as_ref(), settings.chunk_size).unwrap();
            let work = Work::Range(KeyRange { low, high });
            let read =
                source.read(Batch { number: BatchNumber(0), work, attempt_count: 0 }, Version(0)).unwrap();
            low = match &read.extracted.batch.work {
                Work::Range(range) => range.high.clone(),
                Work::Keys(_) => None,
            };
            ids.extend(render(read.extracted, render_limits).actions.iter().map(Action::address));
            if low.is_none() {
                break;
            }
        }
        let extraction = ids.len() as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        for ids in ids.chunks(settings.chunk_size) {
            get_documents(&client, &index, ids).unwrap();
        }
        let multi_get = ids.len() as f64 / began.elapsed().as_secs_f64();

        let (mut position, mut count, began) = (IdPosition::start(), 0, Instant::now());
        let generation = generation(&settings, &index);
        loop {
            let page = next_ids(&client, &generation, &mut position, 5_000).unwrap();
            if page.is_empty() {
                break;
            }
            count += page.len();
        }
        let walk = f64::from(u32::try_from(count).unwrap()) / began.elapsed().as_secs_f64();

        let dir = std::env::temp_dir().join(format!("pgsluice-bench-{}-{round}", std::process::id()));
        let store = Store::open(&dir).unwrap();
        let comparer = Comparer::of(&definition);
        let verifier = Verifier {
            generation: &generation,
            comparer: &comparer,
            store: &store,
            client: &client,
            limits: VerifyLimits {
                chunk_size: settings.chunk_size,
                document_max_bytes: settings.document_max_bytes,
                max_delete_percent: 10,
                initial_timestamp: None,
            },
            connect: &connect,
            settle: &|| Ok(()),
            end: &Shutdown::new(),
            passed_over: std::cell::RefCell::default(),
            caller: VerifyCaller::Command,
            repair: Repair::No,
        };
        let began = Instant::now();
        verifier.verify_all().unwrap();
        let whole = began.elapsed().as_secs_f64();
        let documents = verifier.progress(VerifyPass::Documents).unwrap();
        let extras = verifier.progress(VerifyPass::Extras).unwrap();
        assert_eq!((documents.missing, documents.different, extras.extra), (0, 0, 0));
        let seconds =
            |from: i64, to: Option<i64>| f64::from(u32::try_from(to.unwrap() - from).unwrap()) / 1e6;
        let first = seconds(documents.started_at, documents.finished_at);
        let second = whole - first;
        let rate = documents.looked_at as f64 / first;
        let id_rate = extras.looked_at as f64 / second;
        println!(
            "{} films: extraction {extraction:.0}/s, _mget {multi_get:.0}/s, verify {rate:.0}/s, ratio {:.2}; \
             ids {walk:.0}/s, looked up {id_rate:.0}/s, ratio {:.2}; both passes {whole:.1} s",
            ids.len(),
            rate / extraction.min(multi_get),
            id_rate / walk,
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}

fn generation(settings: &Settings, index: &str) -> String {
    let store = Store::open_read_only(&settings.storage_dir).unwrap().unwrap();
    store.current_generation(index).unwrap().unwrap().name
}
