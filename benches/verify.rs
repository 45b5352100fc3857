//! How fast verify compares, beside what it cannot do without: reading and building the documents, asking for those of the
//! index, going through the index's ids.
//!
//! `cargo bench --bench verify` with the settings that `dev/services env` prints. It loads the films into the index server itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::path::Path;
use std::time::Instant;

use pgsluice::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use pgsluice::definition::{self, Definition};
use pgsluice::document::{Action, DocumentAddress};
use pgsluice::elastic::{Client, IdPosition, get_documents, next_ids};
use pgsluice::postgres::{Source, SourceLimits};
use pgsluice::settings::Settings as OwnSettings;
use pgsluice::shutdown::Shutdown;
use pgsluice::store::{Store, VerifyCaller, VerifyPass};
use pgsluice::transform::{RenderLimits, render};
use pgsluice::verify::{Comparer, Repair, Verifier, VerifyLimits};
use servers::films::Films;
use servers::index::Index;
use servers::meter::measure;
use servers::program::{Place, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::table::Table;

/// Ids that are asked for at a time, as verify asks.
const ID_PAGE: usize = 5_000;

fn main() {
    let Some(settings) = Settings::read("verify", Defaults { films: 50_000, rounds: 3 }) else { return };
    if settings.servers.is_empty() {
        println!("skipped: ELASTIC_URL and OPENSEARCH_URL say where index servers are");
        return;
    }
    let films = Films::find_or_make(&settings, settings.film_count);
    settings.announce(&format!("{} films", films.count));
    let mut table = Table::default();
    let mut report = Report::new(&settings, &format!("{} films", films.count));
    for (server, url) in &settings.servers {
        println!("{server}");
        let index = Index::named(url);
        let state = tempfile::tempdir().unwrap();
        let place = Place { database: &films.database, url, index_name: &index.name, state: state.path() };
        let mut load = command(&settings, None, "once", place);
        assert!(load.status().unwrap().success(), "the load failed");
        index.refresh();
        let variables = load
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
        let own = OwnSettings::from_variables(variables).unwrap();
        Bench { server, url, films: &films, loaded: Loaded::of(own, &index.name, state.path()) }.run(
            settings.round_count,
            &mut table,
            &mut report,
        );
    }
    table.print();
    report.finish();
}

/// An index that was loaded, and what is needed to compare it.
struct Loaded {
    settings: OwnSettings,
    definition: Definition,
    client: Client,
    generation: String,
}

impl Loaded {
    fn of(settings: OwnSettings, index_name: &str, state: &Path) -> Self {
        let store = Store::open_read_only(state).unwrap().unwrap();
        let generation = store.current_generation(index_name).unwrap().unwrap().name;
        let client = Client::new(&settings.elastic).unwrap();
        let definition = definition::built_in().unwrap().with_index(index_name);
        Self { settings, definition, client, generation }
    }

    fn connect(&self) -> pgsluice::error::Result<Source> {
        let limits = SourceLimits {
            chunk_size: self.settings.chunk_size,
            batch_bytes: self.settings.batch_bytes.min(4 << 20),
            document_max_bytes: self.settings.document_max_bytes,
            related_cache_bytes: 0,
            statement_timeout: self.settings.statement_timeout,
            initial_timestamp: None,
        };
        Source::connect(&self.settings.source, &self.definition, limits)
    }

    /// Reads and builds all documents and throws them away; returns their ids.
    fn build_all(&self) -> Vec<DocumentAddress> {
        let limits = RenderLimits { document_max_bytes: self.settings.document_max_bytes };
        let mut source = self.connect().unwrap();
        let (mut ids, mut low) = (Vec::new(), None);
        loop {
            let high = source.cut_range(low.as_ref(), self.settings.chunk_size).unwrap();
            let work = Work::Range(KeyRange { low, high });
            let batch = Batch { number: BatchNumber(0), work, attempt_count: 0 };
            let read = source.read(batch, Version(0)).unwrap();
            low = match &read.extracted.batch.work {
                Work::Range(range) => range.high.clone(),
                Work::Keys(_) => None,
            };
            ids.extend(render(read.extracted, limits).actions.iter().map(Action::address));
            if low.is_none() {
                return ids;
            }
        }
    }

    /// Asks for all documents by their ids.
    fn get_all(&self, ids: &[DocumentAddress]) {
        for ids in ids.chunks(self.settings.chunk_size) {
            get_documents(&self.client, &self.definition.index, ids).unwrap();
        }
    }

    /// Goes through the ids of the index; returns how many there are.
    fn walk_ids(&self) -> usize {
        let (mut position, mut count) = (IdPosition::start(), 0);
        loop {
            let page = next_ids(&self.client, &self.generation, &mut position, ID_PAGE).unwrap();
            if page.is_empty() {
                return count;
            }
            count += page.len();
        }
    }

    /// Compares everything; returns the seconds of the first pass, which compares documents, and of the second.
    fn verify(&self) -> (f64, f64) {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let comparer = Comparer::of(&self.definition);
        let verifier = Verifier {
            generation: &self.generation,
            comparer: &comparer,
            store: &store,
            client: &self.client,
            limits: VerifyLimits {
                chunk_size: self.settings.chunk_size,
                document_max_bytes: self.settings.document_max_bytes,
                max_delete_percent: 10,
                initial_timestamp: None,
            },
            connect: &|| self.connect(),
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
        assert_eq!(documents.looked_at, extras.looked_at);
        let first = (documents.finished_at.unwrap() - documents.started_at) as f64 / 1e6;
        (first, whole - first)
    }
}

struct Bench<'a> {
    server: &'a str,
    url: &'a str,
    films: &'a Films,
    loaded: Loaded,
}

impl Bench<'_> {
    fn run(&self, round_count: usize, table: &mut Table, report: &mut Report) {
        let Self { server, url, films, loaded } = self;
        let count = films.count;
        let (mut first_ratios, mut second_ratios, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..round_count {
            let mut add = |what: &str, work: &mut dyn FnMut()| {
                let sample = measure(&films.database, Some(url), || {
                    work();
                    (count, 0)
                });
                table.add(&format!("{what}, {server}"), sample);
                sample.rate()
            };
            let (mut ids, mut walked, mut seconds) = (Vec::new(), 0, (0.0, 0.0));
            let built = add("documents built", &mut || ids = loaded.build_all());
            let got = add("documents asked for", &mut || loaded.get_all(&ids));
            let gone_through = add("ids gone through", &mut || walked = loaded.walk_ids());
            let verified = add("verify, both passes", &mut || seconds = loaded.verify());
            assert_eq!((ids.len() as u64, walked as u64), (count, count), "documents");
            let (first, second) = (count as f64 / seconds.0, count as f64 / seconds.1);
            first_ratios.push(first / built.min(got));
            second_ratios.push(second / gone_through);
            rates.push(verified);
        }
        let name = |what: &str| format!("{what}, {server}");
        report
            .higher_is_better(&name("verify's comparing / the slower of building and asking"), &first_ratios);
        report.higher_is_better(
            &name("verify's looking for extra documents / going through the ids"),
            &second_ratios,
        );
        report.higher_is_better(&name("documents verified in a second, both passes"), &rates);
    }
}
