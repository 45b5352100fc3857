//! Full loads of the films: by the program into the null sink and into real index servers, and by a bare client that
//! sends the bodies of such a load again.

use std::ops::Range;

use serde_json::Value;

use super::bodies::Bodies;
use super::films::Films;
use super::index::{Index, fresh};
use super::meter::{Sample, measure, measure_program};
use super::program::{Place, command};
use super::settings::Settings;
use super::sink::Sink;

pub struct Loads {
    pub settings: Settings,
    pub films: Films,
    /// Those of one load.
    pub bodies: Bodies,
    sink: Sink,
    /// What that load made its index with.
    index_body: Value,
}

/// Settings of an index while it is filled.
#[derive(Clone, Copy, PartialEq)]
pub enum Filled {
    /// With those of the mapping file.
    AsItIs,
    /// With those of `--fresh`.
    Fresh,
}

impl Loads {
    /// Loads once, unmeasured: that fills the caches and gives the bodies.
    pub fn prepare(settings: Settings, films: Films) -> Self {
        let sink = Sink::start();
        let (bodies, mut index_body) = sink.keep(|| {
            load_into_sink(&settings, &films, &sink, None);
        });
        if let Some(body) = index_body.as_object_mut() {
            // The program's own, for its writing; the bare client writes to the index itself.
            body.remove("aliases");
        }
        Self { settings, films, bodies, sink, index_body }
    }

    /// By the program, or by another command, into the null sink.
    pub fn load_sink(&self, other: Option<&str>) -> Sample {
        load_into_sink(&self.settings, &self.films, &self.sink, other)
    }

    /// By the program into a real index server.
    pub fn load_server(&self, url: &str, filled: Filled) -> Sample {
        let index = Index::named(url);
        let state = tempfile::tempdir().unwrap();
        let database = &self.films.database;
        let place = Place { database, url, index_name: &index.name, state: state.path() };
        let mut command = command(&self.settings, None, "once", place);
        if filled == Filled::Fresh {
            command.arg("--fresh");
        }
        let sample = measure_program(database, Some(url), command, || self.all());
        self.must_be_whole(&index);
        sample
    }

    /// By a bare client into a real index server: these pieces of the bodies, over so many connections.
    pub fn replayed(
        &self,
        url: &str,
        pieces: &[Range<u64>],
        connection_count: usize,
        filled: Filled,
    ) -> Sample {
        let index = Index::named(url);
        match filled {
            Filled::AsItIs => index.make(&self.index_body),
            Filled::Fresh => index.make(&fresh(&self.index_body)),
        }
        let sample = measure(&self.films.database, Some(url), || {
            index.replay(&self.bodies, pieces, connection_count);
            if filled == Filled::Fresh {
                // As the program does in the end.
                index.refresh();
            }
            self.all()
        });
        self.must_be_whole(&index);
        sample
    }

    /// What a plain `COPY` of the tables costs PostgreSQL while a bare client sends these pieces, taken at the pace at
    /// which the server takes those: they take about so many `seconds`.
    pub fn copied_beside(
        &self,
        url: &str,
        pieces: &[Range<u64>],
        connection_count: usize,
        seconds: f64,
    ) -> Sample {
        let index = Index::named(url);
        index.make(&self.index_body);
        let bytes = self.films.copy_tables() as f64;
        let sample = measure(&self.films.database, Some(url), || {
            std::thread::scope(|scope| {
                scope.spawn(|| index.replay(&self.bodies, pieces, connection_count));
                self.films.copy_tables_at(bytes / seconds);
            });
            (self.films.count, bytes as u64)
        });
        self.must_be_whole(&index);
        sample
    }

    /// Documents and bytes of a load.
    fn all(&self) -> (u64, u64) {
        (self.films.count, self.bodies.bytes())
    }

    fn must_be_whole(&self, index: &Index<'_>) {
        assert_eq!(index.count(), self.films.count, "documents in the index");
    }
}

fn load_into_sink(settings: &Settings, films: &Films, sink: &Sink, other: Option<&str>) -> Sample {
    sink.reset();
    let state = tempfile::tempdir().unwrap();
    let database = &films.database;
    let place = Place { database, url: &sink.url, index_name: "movies", state: state.path() };
    let command = command(settings, other, "once", place);
    let sample = measure_program(database, None, command, || sink.taken());
    assert_eq!(sample.documents as u64, films.count, "documents that reached the sink");
    sample
}
