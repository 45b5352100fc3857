//! Reads a relation of a range of a full load with its rows kept in memory.
//!
//! What is in the cache may be older than the batch's snapshot. Two rules make that safe. The documents carry the
//! version that was drawn before the cache was begun, so they never replace what was read later than any row in it. And
//! a poll that sees a changed row drops it here before it looks for the documents that the row reaches: of those, the
//! ones read until then are stale now, and the others are read with the row as it is.

use std::time::{Duration, Instant};

use crate::batch::{Version, Work};
use crate::cell::CellFormat;
use crate::error::{Error, Result};
use crate::plan::PlannedColumn;
use crate::postgres::Source;
use crate::postgres::groups::{Groups, NumberByKey, push_cells, push_framed};
use crate::postgres::plan::RelationPlan;
use crate::postgres::related_cache::{Place, RelatedCache};
use crate::postgres::related_plan::{CellOrigin, KeptRelation};
use crate::postgres::select::GROUP_NUMBER;
use crate::postgres::source::{raw_cell, stream};
use crate::postgres::sql::{Parameters, rows_of_texts};
use crate::postgres::watched::WatchedTable;
use crate::rows::Rows;

/// After this time the cache is begun anew: what no poll can see, such as a deleted row, does not stay in it for the
/// whole of a long load, and the version that its documents carry does not fall far behind.
const MAX_AGE: Duration = Duration::from_secs(900);

/// What a row of a related table takes at least: to guess how many fit.
const ROW_BYTES: usize = 40;

/// Rows kept over the ranges of a full load.
pub(super) struct KeptRows {
    cache: RelatedCache,
    /// When it was begun, and the version drawn before; none while it is empty.
    begun: Option<(Instant, Version)>,
    /// Which relations' tables were read as a whole.
    is_filled: Vec<bool>,
}

/// A relation's rows, and which group each belongs to.
pub(super) type RowsOfGroups = (Rows, Vec<u32>);

/// Where the related row of a link's row is.
enum Found {
    Kept(Place),
    Fetched(u32),
}

impl Source {
    /// Lets ranges of a full load keep related rows in memory, up to `related_cache_bytes` of the limits, from now on.
    pub fn keep_related_rows(&mut self) {
        let is_useful = self.plan.relations.iter().any(|relation| relation.kept.is_some());
        if self.kept.is_none() && self.limits.related_cache_bytes > 0 && is_useful {
            self.kept = Some(KeptRows {
                cache: RelatedCache::new(self.limits.related_cache_bytes),
                begun: None,
                is_filled: vec![false; self.plan.relations.len()],
            });
        }
    }

    /// Gives the memory of the kept rows back.
    pub fn release_related_rows(&mut self) {
        self.kept = None;
    }

    /// The version for what is read of `work`: that of the kept rows where they are used, which is older than `drawn`.
    pub(super) fn version_for(&mut self, work: &Work, drawn: Version) -> Version {
        let (Some(kept), Work::Range(_)) = (&mut self.kept, work) else { return drawn };
        match kept.begun {
            Some((at, version)) if at.elapsed() < MAX_AGE => version,
            _ => {
                kept.cache.clear();
                kept.is_filled.fill(false);
                kept.begun = Some((Instant::now(), drawn));
                drawn
            }
        }
    }

    /// Drops the rows of a watched table that a poll has read.
    pub(super) fn drop_polled(&mut self, table: &WatchedTable, rows: &[Vec<u8>]) {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.begun.is_some() && !rows.is_empty()) else {
            return;
        };
        for (position, relation) in self.plan.relations.iter().enumerate() {
            let Some(plan) = relation.kept.as_deref().filter(|plan| plan.table == table.table) else {
                continue;
            };
            // A row is found by its key if that is what the table's rows are told apart by.
            let is_by_key = plan.key.len() == table.key.len()
                && plan.key.iter().zip(&table.key).all(|((key, _), row_key)| {
                    key.split_once('.').map(|(_, column)| column)
                        == row_key.expression.split_once('.').map(|(_, column)| column)
                });
            if !is_by_key {
                kept.cache.clear();
                kept.is_filled.fill(false);
                return;
            }
            for row in rows {
                kept.cache.forget(position as u16, row);
            }
        }
    }

    /// Reads the rows of a relation for the rows of a link table, or of the nearer table, that were read before.
    ///
    /// Nothing if they are more than `left` bytes.
    pub(super) fn read_kept(
        &mut self,
        position: usize,
        relation: &RelationPlan,
        plan: &KeptRelation,
        (links, group_of_link): (&Rows, Vec<u32>),
        left: &mut usize,
    ) -> Result<Option<RowsOfGroups>> {
        let Some(mut kept) = self.kept.take() else { return Ok(None) };
        let read = self.fill(position, relation, plan, &mut kept).and_then(|()| {
            self.read_with(&mut kept.cache, position, relation, plan, (links, group_of_link), left)
        });
        self.kept = Some(kept);
        read
    }

    fn read_with(
        &mut self,
        cache: &mut RelatedCache,
        position: usize,
        relation: &RelationPlan,
        plan: &KeptRelation,
        (links, group_of_link): (&Rows, Vec<u32>),
        left: &mut usize,
    ) -> Result<Option<RowsOfGroups>> {
        let mut missing = NumberByKey::default();
        let mut texts: Vec<Vec<String>> = vec![Vec::new(); plan.link_key.len()];
        let mut found = Vec::with_capacity(links.len());
        let mut key = Vec::new();
        for row in 0..links.len() {
            // A link without a key leads nowhere.
            if plan.link_key.iter().any(|column| links.cell(row, column.position).is_none()) {
                found.push(None);
                continue;
            }
            key.clear();
            push_cells(&mut key, links, row, &plan.link_key);
            found.push(Some(match cache.find(position as u16, &key) {
                Some(place) => Found::Kept(place),
                None => {
                    let next = missing.len() as u32;
                    let number = missing.get(&key).copied().unwrap_or(next);
                    if number == next {
                        missing.insert(key.clone(), next);
                        for (texts, column) in texts.iter_mut().zip(&plan.link_key) {
                            let cell = links.cell(row, column.position).unwrap_or_default();
                            texts.push(column.format.text(cell));
                        }
                    }
                    Found::Fetched(number)
                }
            }));
        }
        let Some((fetched, row_of_missing)) = self.fetch(relation, plan, texts, missing.len(), left)? else {
            return Ok(None);
        };
        let mut rows = Rows::new(plan.origins.len());
        let mut group_of_row = Vec::with_capacity(links.len());
        let mut related: Vec<Option<&[u8]>> = Vec::new();
        for (link, (found, group)) in found.iter().zip(group_of_link).enumerate() {
            related.clear();
            match found {
                None => continue,
                Some(Found::Kept(place)) => related.extend(cache.cells(*place)),
                Some(Found::Fetched(number)) => {
                    // The row is gone, or was never there.
                    let Some(row) = row_of_missing[*number as usize] else { continue };
                    let width = plan.select.formats().len();
                    related.extend((0..width).map(|column| fetched.cell(row as usize, column)));
                }
            }
            let before = rows.byte_count();
            for origin in &plan.origins {
                let cell = match origin {
                    CellOrigin::Group => None,
                    CellOrigin::Link(column) => links.cell(link, *column),
                    CellOrigin::Related(column) => related.get(*column).copied().flatten(),
                };
                if !rows.push_cell(cell) {
                    return Err(too_many_bytes());
                }
            }
            group_of_row.push(group);
            let cost = rows.byte_count() - before;
            if cost > *left {
                return Ok(None);
            }
            *left -= cost;
        }
        for (key, number) in &missing {
            if let Some(row) = row_of_missing[*number as usize] {
                let width = plan.select.formats().len();
                let cells = (0..width).map(|column| fetched.cell(row as usize, column));
                cache.insert(position as u16, key, cells);
            }
        }
        Ok(Some((rows, group_of_row)))
    }

    /// Reads related rows by their keys; says which row each key has. Nothing if they are more than `left` bytes.
    fn fetch(
        &mut self,
        relation: &RelationPlan,
        plan: &KeptRelation,
        texts: Vec<Vec<String>>,
        count: usize,
        left: &mut usize,
    ) -> Result<Option<(Rows, Vec<Option<u32>>)>> {
        let width = plan.select.formats().len();
        let mut fetched = Rows::new(width);
        let mut row_of_missing = vec![None; count];
        if count == 0 {
            return Ok(Some((fetched, row_of_missing)));
        }
        let mut parameters = Parameters::default();
        let mut types = Vec::new();
        let mut pairs = Vec::new();
        for (place, ((column, type_name), texts)) in plan.key.iter().zip(texts).enumerate() {
            parameters.texts(texts);
            types.push(type_name.as_str());
            pairs.push(format!("{column} = p.pgsluice_k{}", place + 1));
        }
        let mut select = plan.select.clone();
        let number = select.add((GROUP_NUMBER.to_owned(), CellFormat::Int8)).position;
        let statement = format!(
            "select {} from {} join {} on {}",
            select.sql(),
            rows_of_texts(&types, "p", "pgsluice_k", true),
            plan.from,
            pairs.join(" and "),
        );
        let what = format!("{} (relation {})", relation.table, relation.name);
        let mut is_within = true;
        stream(&mut self.client, &statement, parameters, select.formats(), &what, &mut |row| {
            let cost = row.raw_size_bytes() + 8 * row.len();
            if cost > *left {
                is_within = false;
                return Ok(false);
            }
            let place = raw_cell(row, number).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
            let place = place.and_then(|place| usize::try_from(place - 1).ok());
            if let Some(slot) = place.and_then(|place| row_of_missing.get_mut(place)) {
                *slot = Some(fetched.len() as u32);
                for column in 0..width {
                    if !fetched.push_cell(raw_cell(row, column)) {
                        return Err(too_many_bytes());
                    }
                }
            }
            Ok(true)
        })?;
        Ok(is_within.then_some((fetched, row_of_missing)))
    }

    /// Reads the related table as a whole where it has room in memory: one scan costs far less than a look-up of each
    /// row.
    fn fill(
        &mut self,
        position: usize,
        relation: &RelationPlan,
        plan: &KeptRelation,
        kept: &mut KeptRows,
    ) -> Result<()> {
        if std::mem::replace(&mut kept.is_filled[position], true) {
            return Ok(());
        }
        let Some(estimate) = plan.row_estimate else { return Ok(()) };
        let room = (kept.cache.bytes_left() / ROW_BYTES) as u64;
        // A table far larger than the root's would be read for little.
        let root_rows = self.plan.root.row_estimate.unwrap_or(0);
        if estimate > room || estimate > root_rows.saturating_mul(2) {
            return Ok(());
        }
        let statement = format!("select {} from {} limit {room}", plan.select.sql(), plan.from);
        let width = plan.select.formats().len();
        let key: Vec<PlannedColumn> = (0..plan.key.len())
            .map(|position| PlannedColumn { position, format: plan.select.formats()[position] })
            .collect();
        let what = format!("{} (relation {})", relation.table, relation.name);
        let mut bytes = Vec::new();
        let cache = &mut kept.cache;
        stream(
            &mut self.client,
            &statement,
            Parameters::default(),
            plan.select.formats(),
            &what,
            &mut |row| {
                bytes.clear();
                for column in &key {
                    push_framed(&mut bytes, raw_cell(row, column.position).unwrap_or_default());
                }
                cache.insert(position as u16, &bytes, (0..width).map(|column| raw_cell(row, column)));
                Ok(true)
            },
        )
    }
}

/// The rows of the nearer table as those of a link: one for each group.
pub(super) fn groups_as_links(
    nearer: &Rows,
    groups: &Groups,
    relation: &RelationPlan,
) -> Result<RowsOfGroups> {
    let width = relation.nearer.iter().map(|nearer| nearer.column.position + 1).max().unwrap_or(0);
    let mut links = Rows::new(width);
    let mut group_of_link = Vec::new();
    for (row, group) in groups.of_nearer_row.iter().enumerate() {
        // Groups are numbered in the order of the first row of each.
        if let Some(group) = group
            && *group as usize == group_of_link.len()
        {
            for column in 0..width {
                let is_key = relation.nearer.iter().any(|nearer| nearer.column.position == column);
                if !links.push_cell(if is_key { nearer.cell(row, column) } else { None }) {
                    return Err(too_many_bytes());
                }
            }
            group_of_link.push(*group);
        }
    }
    Ok((links, group_of_link))
}

/// What the buffer of a batch's rows cannot hold.
pub(super) fn too_many_bytes() -> Error {
    Error::wrong("the rows of one batch have more than 4 GiB").hint("lower BATCH_BYTES")
}
