//! Brings source, index and state together before a pipeline runs: which generation is written to, and whether a
//! full load has to come first.
//!
//! The index is made before the state knows of it. Should the process end between the two, the next start finds an
//! index with our mark that the state does not know, which is the same as a lost state: it is loaded again in full.

use chrono::{TimeDelta, Utc};

use crate::backoff::Backoff;
use crate::clock::now_micros;
use crate::definition::Definition;
use crate::elastic::{
    Client, EnsureRequest, Ensured, MARK_FORMAT, OwnershipMark, ensure_generation, generation_name,
    must_have_pipeline, put_mapping_additions, put_mark,
};
use crate::error::{Error, Result};
use crate::pipeline::first_load;
use crate::pipeline::identity::{keep_identity, kept_identity};
use crate::pipeline::run::{Mode, PipelineSettings};
use crate::postgres::{Source, SourceIdentity};
use crate::shutdown::Shutdown;
use crate::store::{GenerationRecord, Purpose, Store};

/// What a pipeline is to start with.
pub struct Start<'a> {
    /// What it needs of the settings.
    pub settings: &'a PipelineSettings,
    /// What documents are made of.
    pub definition: &'a Definition,
    /// The state.
    pub store: &'a Store,
    /// The index server.
    pub client: &'a Client,
    /// When it is to end.
    pub mode: Mode,
    /// Ends the wait for a server.
    pub shutdown: &'a Shutdown,
    /// Whether an index of someone else may be taken over.
    pub adopt: bool,
    /// Whether everything is to be loaded again, whatever state and index say.
    pub resync: bool,
    /// Whether an index that is new and empty is loaded without refreshes and replicas.
    pub fresh: bool,
    /// Whether an index that is gone is made anew and loaded in full.
    pub recreate: bool,
}

/// Where a pipeline writes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The physical index.
    pub generation: String,
    /// The alias that is written to.
    pub write_alias: String,
    /// About how many documents a full load is going to write; none when no full load is under way or the planner
    /// does not know.
    pub expected: Option<u64>,
    /// What its full load leaves out: rows of which the root cursor is older, in microseconds since 1970. As it was
    /// when the load began: a load that goes on under another setting would leave a hole.
    pub initial_timestamp: Option<i64>,
}

impl Start<'_> {
    /// Waits for both servers and decides; for ever in `run`, until the deadline in `once`.
    pub fn prepare(&self) -> Result<Target> {
        let mut backoff = Backoff::new(self.settings.retry_deadline(self.mode)).named(&self.definition.index);
        loop {
            match self.try_to_prepare() {
                Ok(target) => return Ok(target),
                Err(error) => backoff.wait_after(error, None, self.shutdown)?,
            }
        }
    }

    fn try_to_prepare(&self) -> Result<Target> {
        let kept = kept_identity(self.store, &self.definition.index)?;
        let mut source =
            Source::connect(&self.settings.source, self.definition, self.settings.source_limits)?;
        let known = self.store.current_generation(&self.definition.index)?;
        if !self.resync {
            self.must_continue(source.identity(), kept.as_ref(), known.as_ref())?;
        }
        if self.resync || known.is_none() {
            // Before an index is made for what cannot be loaded.
            source.check_root_key()?;
            source.try_statements()?;
            if self.settings.source_limits.initial_timestamp.is_some()
                && self.definition.root.cursor.is_none()
            {
                return Err(Error::wrong(
                    "INITIAL_TIMESTAMP is set, but the root table has no cursor to compare it with",
                )
                .hint("name root.cursor in the definition, or unset INITIAL_TIMESTAMP"));
            }
        }
        // What is no index server, or too old a one, may answer requests in ways that look like a passing trouble.
        self.client.server_info()?;
        if let Some(pipeline) = &self.definition.pipeline {
            must_have_pipeline(self.client, pipeline)?;
        }
        let mark = OwnershipMark {
            format: MARK_FORMAT,
            definition_hash: self.definition.hash.clone(),
            source: source.identity().mark(),
            first_load: None,
        };
        let ensured = ensure_generation(
            self.client,
            &EnsureRequest {
                alias: &self.definition.index,
                index_body: &self.definition.mapping,
                mark: &mark,
                adopt: self.adopt,
                known_generation: known.as_ref().filter(|_| !self.resync).map(|known| known.name.as_str()),
                recreate: self.recreate,
            },
            &self.new_generation(known.as_ref())?,
        )?;
        for notice in &ensured.notices {
            log::warn!("{}: {notice}", self.definition.index);
        }
        if !ensured.created {
            self.settle_mark(&ensured, &mark)?;
        }
        let is_known = known.as_ref().is_some_and(|known| known.name == ensured.generation);
        let begins_load = self.resync || !is_known;
        let is_loading =
            begins_load || self.store.full_load(&ensured.generation)?.is_some_and(|load| !load.finished);
        first_load::prepare(&first_load::Wish {
            client: self.client,
            store: self.store,
            ensured: &ensured,
            mark: &mark,
            is_wanted: self.fresh,
            begins_load,
            is_loading,
        })?;
        if begins_load {
            self.begin_full_load(&ensured, &source)?;
        }
        log::info!("{}: writing to {}", self.definition.index, ensured.generation);
        let initial_timestamp = kept_initial_timestamp(self.store, &ensured.generation)?;
        if is_loading && initial_timestamp != self.settings.source_limits.initial_timestamp {
            log::warn!(
                "{}: the full load goes on with the INITIAL_TIMESTAMP that it began with; for another one, run \
                 `pgsluice resync`",
                self.definition.index
            );
        }
        Ok(Target {
            generation: ensured.generation,
            write_alias: ensured.write_alias,
            expected: source.plan().root.row_estimate.filter(|_| is_loading),
            initial_timestamp,
        })
    }

    /// The name for an index, if one has to be created: kept before it is, so that after a kill the creation that is
    /// still on its way and the one of the next start are the same.
    fn new_generation(&self, known: Option<&GenerationRecord>) -> Result<String> {
        let mut began = Utc::now();
        let mut name = generation_name(&self.definition.index, began);
        // An index of the name that the state knows would be taken for the one that it has loaded.
        if known.is_some_and(|known| known.name == name) {
            began += TimeDelta::seconds(1);
            name = generation_name(&self.definition.index, began);
        }
        if known.is_some() && !self.resync && !self.recreate {
            return Ok(name);
        }
        let place = format!("new_generation/{}", self.definition.index);
        if let Some(kept) = self.store.meta(&place)?
            && known.is_none_or(|known| known.name != kept)
        {
            return Ok(kept);
        }
        self.store.set_meta(&place, &name)?;
        Ok(name)
    }

    /// Refuses to go on with a state that belongs to another database or another definition.
    fn must_continue(
        &self,
        identity: &SourceIdentity,
        kept: Option<&SourceIdentity>,
        known: Option<&GenerationRecord>,
    ) -> Result<()> {
        if let Some(kept) = kept {
            identity.must_continue(kept)?;
        }
        match known {
            Some(known) if known.definition_hash != self.definition.hash => {
                Err(definition_changed(&format!(
                    "the definition of {} is not the one that the state was made with",
                    self.definition.index
                )))
            }
            _ => Ok(()),
        }
    }

    /// Compares the mark on an index that existed with ours, or replaces it in a resync.
    fn settle_mark(&self, ensured: &Ensured, mark: &OwnershipMark) -> Result<()> {
        if self.resync {
            put_mapping_additions(self.client, &ensured.generation, &self.definition.mapping)?;
            let first_load = ensured.mark.as_ref().and_then(|mark| mark.first_load.clone());
            let mark = OwnershipMark { first_load, ..mark.clone() };
            return put_mark(self.client, &ensured.generation, &mark);
        }
        let Some(found) = &ensured.mark else { return Ok(()) };
        let generation = &ensured.generation;
        if found.source != mark.source {
            return Err(Error::wrong(format!(
                "the index {generation} was filled from another database ({}) than this one ({})",
                found.source, mark.source
            ))
            .hint(
                "run `pgsluice resync` to fill it from this one, or set another ELASTIC_INDEX, or point PG_DSN at the \
                 database of before",
            ));
        }
        if found.definition_hash != mark.definition_hash {
            return Err(definition_changed(&format!(
                "the index {generation} was filled by another definition"
            )));
        }
        Ok(())
    }

    fn begin_full_load(&self, ensured: &Ensured, source: &Source) -> Result<()> {
        let may_hold_extras = ensured.document_count > 0;
        let initial = self.settings.source_limits.initial_timestamp;
        self.store.set_meta(
            &initial_timestamp_place(&ensured.generation),
            &initial.map_or_else(String::new, |micros| micros.to_string()),
        )?;
        self.store.set_meta(&key_order_place(&ensured.generation), &source.plan().root.key_order())?;
        self.store.begin_generation(
            &GenerationRecord {
                name: ensured.generation.clone(),
                index_alias: self.definition.index.clone(),
                write_alias: ensured.write_alias.clone(),
                definition_hash: self.definition.hash.clone(),
            },
            if may_hold_extras { Purpose::Resync } else { Purpose::First },
            may_hold_extras,
            now_micros(),
        )?;
        keep_identity(self.store, &self.definition.index, source.identity())?;
        let place = if ensured.created { "made" } else { "taken over" };
        log::info!(
            "{}: index {} {place}, {} documents in it; a full load begins",
            self.definition.index,
            ensured.generation,
            ensured.document_count
        );
        Ok(())
    }
}

/// What the full load of a generation leaves out, as it was when the load began.
pub fn kept_initial_timestamp(store: &Store, generation: &str) -> Result<Option<i64>> {
    let place = initial_timestamp_place(generation);
    let kept = store.meta(&place)?.filter(|kept| !kept.is_empty());
    kept.map(|kept| {
        kept.parse().map_err(|error| {
            Error::wrong(format!("{place} of the state cannot be read"))
                .because(error)
                .hint("run `pgsluice resync`")
        })
    })
    .transpose()
}

fn initial_timestamp_place(generation: &str) -> String {
    format!("initial_timestamp/{generation}")
}

/// Refuses to go on with a full load whose ranges are in the order of another type of key.
pub(super) fn must_keep_key_order(store: &Store, generation: &str, source: &Source) -> Result<()> {
    let Some(load) = store.full_load(generation)?.filter(|load| !load.finished) else { return Ok(()) };
    let Some(kept) = store.meta(&key_order_place(generation))? else { return Ok(()) };
    if load.frontier.is_none() || kept == source.plan().root.key_order() {
        return Ok(());
    }
    Err(Error::wrong(format!(
        "the type or collation of the key of {} was changed while a full load was under way, which goes by its order",
        source.plan().root.name
    ))
    .hint("run `pgsluice resync` to begin the load again"))
}

fn key_order_place(generation: &str) -> String {
    format!("key_order/{generation}")
}

fn definition_changed(attempt: &str) -> Error {
    Error::wrong(attempt).hint(
        "run `pgsluice resync` to build every document by the new definition, or set DEFINITION back to the old one",
    )
}
