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
use crate::key_hash::KeyHash;
use crate::postgres::Source;
use crate::postgres::framed::{Cells, push_framed};
use crate::postgres::groups::{Groups, NumberByKey};
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

/// What a row of a related table takes, with its place in the table of places, if it has a key and a name: to guess how many
/// fit.
const ROW_BYTES: usize = 56;

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

/// Links that wait to be looked up together: enough that the processor waits for many rows of the cache at once, few
/// enough that all of them are still near it when they are joined.
const LOOKED_UP_TOGETHER: usize = 64;

/// Rows of a link table, or of the nearer table, on their way to become rows of the relation: at once where the related
/// row is kept, later where it is to be fetched.
pub(super) struct Joined<'a> {
    cache: &'a RelatedCache,
    position: u16,
    plan: &'a KeptRelation,
    found: Links,
    /// Links that are not looked up yet, with the cells that the relation's rows have of them.
    links: Vec<Link>,
    link_cells: Rows,
    /// Their keys, framed, one behind the other.
    keys: Vec<u8>,
    /// The numbers of the keys to fetch by.
    missing: NumberByKey,
    /// Of the link at hand.
    related: Vec<Option<&'a [u8]>>,
}

/// The rows of a relation as far as they were kept, and the links whose row is to be fetched.
pub(super) struct Links {
    rows: Rows,
    group_of_row: Vec<u32>,
    /// Of the links that wait for a row that is to be fetched: the cells that the relation's rows have of them.
    waiting: Rows,
    /// For each of these the number of the row to fetch, and the group.
    targets: Vec<(u32, u32)>,
    /// The texts of the keys to fetch by, column by column.
    texts: Vec<Vec<String>>,
}

impl Links {
    /// Whether rows are to be fetched.
    pub(super) fn are_missing_rows(&self) -> bool {
        !self.targets.is_empty()
    }
}

/// A link that is not looked up yet.
struct Link {
    group: u32,
    hash: KeyHash,
    /// Where its key ends in the keys.
    key_end: usize,
    place: Option<Place>,
}

impl<'a> Joined<'a> {
    fn new(cache: &'a RelatedCache, position: u16, plan: &'a KeptRelation) -> Self {
        let link_width = plan.link_columns().count();
        Self {
            cache,
            position,
            plan,
            found: Links {
                rows: Rows::new(plan.origins.len()),
                group_of_row: Vec::new(),
                waiting: Rows::new(link_width),
                targets: Vec::new(),
                texts: vec![Vec::new(); plan.link_key.len()],
            },
            links: Vec::with_capacity(LOOKED_UP_TOGETHER),
            link_cells: Rows::new(link_width),
            keys: Vec::new(),
            missing: NumberByKey::default(),
            related: Vec::new(),
        }
    }

    /// Takes a link by its cells; returns whether the relation's rows are still within `left` bytes.
    pub(super) fn take<'c>(
        &mut self,
        group: u32,
        link: impl Fn(usize) -> Option<&'c [u8]>,
        left: &mut usize,
    ) -> Result<bool> {
        let start = self.keys.len();
        for column in &self.plan.link_key {
            let Some(cell) = link(column.position) else {
                // A link without a key leads nowhere.
                self.keys.truncate(start);
                return Ok(true);
            };
            push_framed(&mut self.keys, cell);
        }
        for column in self.plan.link_columns() {
            push(&mut self.link_cells, link(column))?;
        }
        let hash = self.cache.hash(self.position, &self.keys[start..]);
        self.links.push(Link { group, hash, key_end: self.keys.len(), place: None });
        if self.links.len() < LOOKED_UP_TOGETHER {
            return Ok(true);
        }
        self.look_up(left)
    }

    /// Joins the links that wait with the rows kept; returns whether the relation's rows are within `left` bytes.
    fn look_up(&mut self, left: &mut usize) -> Result<bool> {
        let mut links = std::mem::take(&mut self.links);
        for link in &mut links {
            link.place = self.cache.candidate(link.hash);
        }
        let touched = links.iter().filter_map(|link| link.place).map(|place| self.cache.touch(place));
        std::hint::black_box(touched.fold(0, u8::wrapping_add));
        let byte_count = |found: &Links| found.rows.byte_count() + found.waiting.byte_count();
        let before = byte_count(&self.found);
        let keys = std::mem::take(&mut self.keys);
        let mut start = 0;
        for (number, link) in links.iter().enumerate() {
            self.join(number, link, &keys[start..link.key_end])?;
            start = link.key_end;
        }
        (self.links, self.keys) = (links, keys);
        self.links.clear();
        self.keys.clear();
        self.link_cells.truncate(0);
        Ok(spend(left, byte_count(&self.found) - before))
    }

    /// Joins what still waits; nothing if the rows are over `left` bytes.
    pub(super) fn finish(mut self, left: &mut usize) -> Result<Option<Links>> {
        Ok(self.look_up(left)?.then_some(self.found))
    }

    fn join(&mut self, number: usize, link: &Link, key: &[u8]) -> Result<()> {
        let kept = link.place.and_then(|place| {
            self.cache
                .cells_if(place, self.position, key)
                .or_else(|| self.cache.find(link.hash, self.position, key))
        });
        let link_width = self.plan.link_columns().count();
        let cells = (0..link_width).map(|column| self.link_cells.cell(number, column));
        if let Some(kept) = kept {
            self.related.clear();
            self.related.extend(kept);
            let related = |column: usize| self.related.get(column).copied().flatten();
            push_joined(&mut self.found.rows, self.plan, cells, related)?;
            self.found.group_of_row.push(link.group);
            return Ok(());
        }
        for cell in cells {
            push(&mut self.found.waiting, cell)?;
        }
        let next = self.missing.len() as u32;
        let number = self.missing.get(key).copied().unwrap_or(next);
        if number == next {
            self.missing.insert(key.to_vec(), next);
            for ((texts, column), cell) in
                self.found.texts.iter_mut().zip(&self.plan.link_key).zip(Cells::new(key))
            {
                texts.push(column.format.text(cell.unwrap_or_default()));
            }
        }
        self.found.targets.push((number, link.group));
        Ok(())
    }
}

/// Adds a row of the relation, put together from cells of the link and of the related row.
fn push_joined<'l, 'r>(
    rows: &mut Rows,
    plan: &KeptRelation,
    mut link: impl Iterator<Item = Option<&'l [u8]>>,
    related: impl Fn(usize) -> Option<&'r [u8]>,
) -> Result<()> {
    for origin in &plan.origins {
        let cell = match origin {
            CellOrigin::Group => None,
            CellOrigin::Link(_) => link.next().flatten(),
            CellOrigin::Related(column) => related(*column),
        };
        push(rows, cell)?;
    }
    Ok(())
}

/// Adds a cell, if the buffer can hold it.
pub(super) fn push(rows: &mut Rows, cell: Option<&[u8]>) -> Result<()> {
    if rows.push_cell(cell) {
        return Ok(());
    }
    Err(Error::wrong("the rows of one batch have more than 4 GiB").hint("lower BATCH_BYTES"))
}

/// Takes `cost` off what is `left`; false if it is more.
fn spend(left: &mut usize, cost: usize) -> bool {
    let rest = left.checked_sub(cost);
    *left = rest.unwrap_or(0);
    rest.is_some()
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

    /// Reads the links of a relation with the kept rows: `read_links` hands over the rows of the link table, or of the
    /// nearer table, and says whether they are within `left` bytes.
    ///
    /// Nothing if they, or the relation's rows, are more.
    pub(super) fn read_links(
        &mut self,
        position: usize,
        plan: &KeptRelation,
        left: &mut usize,
        read_links: impl FnOnce(&mut Self, &mut Joined<'_>, &mut usize) -> Result<bool>,
    ) -> Result<Option<Links>> {
        let Some(kept) = self.kept.take() else { return Ok(None) };
        let mut joined = Joined::new(&kept.cache, position as u16, plan);
        let links = match read_links(self, &mut joined, left) {
            Ok(true) => joined.finish(left),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        self.kept = Some(kept);
        links
    }

    /// Fetches the rows that links are missing, and keeps them; nothing if the relation's rows are over `left` bytes.
    pub(super) fn complete(
        &mut self,
        position: usize,
        relation: &RelationPlan,
        plan: &KeptRelation,
        links: Links,
        left: &mut usize,
    ) -> Result<Option<RowsOfGroups>> {
        let Links { mut rows, mut group_of_row, waiting, targets, texts } = links;
        let Some((fetched, row_of_missing)) = self.fetch(relation, plan, texts, left)? else {
            return Ok(None);
        };
        let before = rows.byte_count();
        let link_width = plan.link_columns().count();
        for (link, (number, group)) in targets.into_iter().enumerate() {
            // Without one the row is gone, or was never there.
            let Some(row) = row_of_missing[number as usize] else { continue };
            let link = (0..link_width).map(|column| waiting.cell(link, column));
            push_joined(&mut rows, plan, link, |column| fetched.cell(row as usize, column))?;
            group_of_row.push(group);
            if rows.byte_count() - before > *left {
                return Ok(None);
            }
        }
        *left -= rows.byte_count() - before;
        let width = plan.select.formats().len();
        if let Some(kept) = &mut self.kept {
            for row in row_of_missing.iter().flatten() {
                let cells = (0..width).map(|column| fetched.cell(*row as usize, column));
                kept.cache.insert(position as u16, plan.key.len(), cells);
            }
        }
        Ok(Some((rows, group_of_row)))
    }

    /// Whether the related table was read as a whole, if it has room, so that links can be looked up at once.
    pub(super) fn is_filled(&self, position: usize) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.is_filled[position])
    }

    /// Reads related rows by their keys; says which row each key has. Nothing if they are more than `left` bytes.
    fn fetch(
        &mut self,
        relation: &RelationPlan,
        plan: &KeptRelation,
        texts: Vec<Vec<String>>,
        left: &mut usize,
    ) -> Result<Option<(Rows, Vec<Option<u32>>)>> {
        let width = plan.select.formats().len();
        let mut fetched = Rows::new(width);
        let count = texts.first().map_or(0, Vec::len);
        let mut row_of_missing = vec![None; count];
        if count == 0 {
            return Ok(Some((fetched, row_of_missing)));
        }
        // In their order the keys that lie side by side in the index are looked up one after the other: that takes a quarter
        // less of the server's time.
        let mut order: Vec<u32> = (0..count as u32).collect();
        let key = |number: u32| texts.iter().map(move |column| &column[number as usize]);
        order.sort_unstable_by(|left, right| key(*left).cmp(key(*right)));
        let mut parameters = Parameters::default();
        let mut types = Vec::new();
        let mut pairs = Vec::new();
        for (place, ((column, type_name), mut texts)) in plan.key.iter().zip(texts).enumerate() {
            parameters
                .texts(order.iter().map(|number| std::mem::take(&mut texts[*number as usize])).collect());
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
            if let Some(number) = place.and_then(|place| order.get(place)) {
                row_of_missing[*number as usize] = Some(fetched.len() as u32);
                for column in 0..width {
                    push(&mut fetched, raw_cell(row, column))?;
                }
            }
            Ok(true)
        })?;
        Ok(is_within.then_some((fetched, row_of_missing)))
    }

    /// Reads the related table as a whole where it has room in memory: one scan costs far less than a look-up of each
    /// row.
    pub(super) fn fill(
        &mut self,
        position: usize,
        relation: &RelationPlan,
        plan: &KeptRelation,
    ) -> Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
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
        let what = format!("{} (relation {})", relation.table, relation.name);
        let cache = &mut kept.cache;
        stream(
            &mut self.client,
            &statement,
            Parameters::default(),
            plan.select.formats(),
            &what,
            &mut |row| {
                cache.insert(position as u16, plan.key.len(), (0..width).map(|column| raw_cell(row, column)));
                Ok(true)
            },
        )
    }
}

/// Hands over the rows of the nearer table as those of a link: one for each group.
pub(super) fn take_groups(
    nearer: &Rows,
    groups: &Groups,
    joined: &mut Joined<'_>,
    left: &mut usize,
) -> Result<bool> {
    let mut next = 0;
    for (row, group) in groups.of_nearer_row.iter().enumerate() {
        // Groups are numbered in the order of the first row of each.
        if *group != Some(next) {
            continue;
        }
        if !joined.take(next, |column| nearer.cell(row, column), left)? {
            return Ok(false);
        }
        next += 1;
    }
    Ok(true)
}
