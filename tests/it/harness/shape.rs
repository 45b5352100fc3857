//! A small schema with its definition, and the SQL that says what its documents must be.

use std::time::{Duration, Instant};

use super::oracle::{assert_same, differences, documents};
use super::{Database, Index, Program, Running, Server};

/// Tables, a definition of them, and an index that is filled by it.
///
/// It is kept in sync by `run` from the first load on: a step is as quick as the servers are.
pub struct Shape {
    running: Option<Running>,
    pub database: Database,
    pub index: Index,
    pub program: Program,
    query: String,
}

impl Shape {
    /// Makes the tables, lets `check` judge the definition, loads, and compares; `query` gives `_id` and document.
    pub fn new(label: &str, tables: &str, definition: &str, query: &str) -> Self {
        Self::with_mapping(label, tables, definition, r#"{ "mappings": { "dynamic": true } }"#, query)
    }

    /// The same with a mapping of its own.
    pub fn with_mapping(label: &str, tables: &str, definition: &str, mapping: &str, query: &str) -> Self {
        let mut shape = Self::unloaded(label, tables, definition, mapping, query);
        let checked = shape.program.command(&["check"]);
        assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
        shape.running = Some(shape.program.run());
        shape.compare();
        shape
    }

    /// The same before anything is tried.
    pub fn unloaded(label: &str, tables: &str, definition: &str, mapping: &str, query: &str) -> Self {
        Self::unloaded_on(Server::Elasticsearch, label, tables, definition, mapping, query)
    }

    /// The same on one of the two servers.
    pub fn unloaded_on(
        server: Server,
        label: &str,
        tables: &str,
        definition: &str,
        mapping: &str,
        query: &str,
    ) -> Self {
        let database = Database::new(label);
        database.execute(tables);
        let index = Index::on(server, label);
        let mut program = Program::new(&database, &index);
        // Small batches, so that ranges end everywhere.
        program.set("DEFINITION", "shape.toml").set("CHUNK_SIZE", "2");
        program.write("shape.json", mapping);
        let shape = Self { running: None, database, index, program, query: query.to_owned() };
        shape.define(definition);
        shape
    }

    /// Writes another definition.
    pub fn define(&self, definition: &str) {
        let head = "version = 1\nindex = \"shape\"\nmapping = \"shape.json\"\n";
        self.program.write("shape.toml", &format!("{head}{definition}"));
    }

    /// Compares all documents with the query.
    pub fn compare(&self) {
        assert_same(&self.index.documents(), &documents(&mut self.database.connect(), &self.query));
    }

    /// After changes that polling sees.
    pub fn after(&self, sql: &str) {
        let mut client = self.database.connect();
        let before = documents(&mut client, &self.query);
        self.database.execute(sql);
        let after = documents(&mut client, &self.query);
        assert_ne!(before, after, "the change shows in no document: {sql}");
        let mut found = before;
        let arrived = || {
            found = self.index.documents();
            differences(&found, &after).is_empty()
        };
        if !wait_within(LIMIT, arrived) {
            assert_same(&found, &after);
        }
    }

    /// After changes that polling cannot see: deleted rows, removed links, children that moved.
    pub fn after_unseen(&self, sql: &str) {
        self.database.execute(sql);
        let verified = self.program.command(&["verify", "--repair"]);
        assert!(matches!(verified.code, 0 | 1), "{}{}", verified.log, verified.output);
        self.compare();
        let again = self.program.command(&["verify"]);
        assert_eq!(again.code, 0, "{}{}", again.log, again.output);
    }
}

const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a state; false if it never comes.
fn wait_within(limit: Duration, mut is_reached: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_reached() {
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
