//! Reads the rows of every relation of a batch: by the range of root keys where the first table holds them, else by the
//! rows of the table nearer to the root.

use postgres::Row;
use tokio_postgres::RowStream;

use crate::batch::{KeyRange, Work};
use crate::error::Result;
use crate::plan::{RelatedRows, root_key};
use crate::postgres::Source;
use crate::postgres::client::Sent;
use crate::postgres::framed::push_framed;
use crate::postgres::groups::{Groups, NumberByKey, attach, cells};
use crate::postgres::plan::{RelationPlan, SourcePlan};
use crate::postgres::range_select::RangeSelect;
use crate::postgres::ranges::range_condition;
use crate::postgres::related_plan::KeptRelation;
use crate::postgres::related_read::{Links, RowsOfGroups, push, take_groups};
use crate::postgres::repeats::{repeated_byte_count, uses_of_rows};
use crate::postgres::select::SelectList;
use crate::postgres::source::{raw_cell, stream, take_rows};
use crate::postgres::sql::{Parameters, row_of, rows_of_texts};
use crate::rows::Rows;

/// A relation that is being read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'p> {
    /// Its position in the definition.
    pub(super) position: usize,
    /// How it is read.
    pub(super) relation: &'p RelationPlan,
    /// How it is read with its rows kept, where they are.
    pub(super) kept: Option<&'p KeptRelation>,
}

impl<'p> Reading<'p> {
    /// How the rows are read that lead to the relation's: those of its link table where its own rows are kept.
    pub(super) fn first(self) -> &'p RelationPlan {
        self.kept.and_then(|kept| kept.link.as_ref()).unwrap_or(self.relation)
    }
}

/// The rows of a relation as far as its first statement gives them.
pub(super) enum FirstRows {
    /// All of them.
    Whole(RowsOfGroups),
    /// Links, of which some may miss the row that they lead to.
    Linked(Links),
}

impl FirstRows {
    /// Whether rows are still to be fetched.
    pub(super) fn misses_rows(&self) -> bool {
        matches!(self, Self::Linked(links) if links.are_missing_rows())
    }
}

/// Where rows come from.
pub(super) enum Answer {
    /// A statement that is still to be sent.
    Of(String, Parameters),
    /// One that was sent.
    Sent(Sent<RowStream>),
}

/// What takes a related row and the number of its group; returns whether there is room for more in the bytes left.
type Take<'a> = dyn FnMut(RelatedRow<'_>, u32, &mut usize) -> Result<bool> + 'a;

/// A related row by the columns of the relation's plan, the first of which is the number of its group.
#[derive(Clone, Copy)]
struct RelatedRow<'r> {
    row: &'r Row,
    /// Where the columns are, if they are elsewhere.
    range: Option<&'r RangeSelect>,
}

impl<'r> RelatedRow<'r> {
    fn cell(self, column: usize) -> Option<&'r [u8]> {
        let column = match self.range {
            Some(range) => range.place_of(column)?,
            None => column,
        };
        raw_cell(self.row, column)
    }
}

/// The number of each root row by its key.
pub(super) fn root_numbers(plan: &SourcePlan, roots: &Rows) -> NumberByKey {
    (0..roots.len()).map(|row| (cells(roots, row, &plan.document.key), row as u32)).collect()
}

/// The statement that reads the rows of a relation whose root rows are in a range.
pub(super) fn range_statement(
    plan: &SourcePlan,
    relation: &RelationPlan,
    range: &KeyRange,
) -> (String, Parameters) {
    let mut parameters = Parameters::default();
    let key = row_of(&relation.first_columns);
    let statement = format!(
        "select {} from {}{} where {}",
        relation.range.select().sql(),
        relation.first_table,
        relation.joins,
        range_condition(&plan.root, &key, range, &mut parameters)
    );
    (statement, parameters)
}

impl Source {
    /// Reads every relation's rows; nothing if they are more bytes than are `left`, a row counted as often as the
    /// documents show it.
    ///
    /// `first_rows` has what was read of each relation before, where anything was.
    pub(super) fn read_relations(
        &mut self,
        plan: &SourcePlan,
        work: &Work,
        is_cut: bool,
        roots: &Rows,
        mut first_rows: Vec<Option<FirstRows>>,
        left: &mut usize,
    ) -> Result<Option<Vec<RelatedRows>>> {
        let mut relations: Vec<RelatedRows> = Vec::with_capacity(plan.relations.len());
        let mut uses: Vec<Option<Vec<u64>>> = Vec::with_capacity(plan.relations.len());
        let mut numbers: Option<NumberByKey> = None;
        // A document by itself is not to be refused for what is held beside its rows.
        let keeps_rows = self.kept.is_some() && roots.len() > 1 && matches!(work, Work::Range(_));
        for (position, relation) in plan.relations.iter().enumerate() {
            let kept = relation.kept.as_deref().filter(|_| keeps_rows);
            let reading = Reading { position, relation, kept };
            let nearer = relation.below.map_or(roots, |below| &relations[below].rows);
            let is_by_range = relation.is_by_root_key && matches!(work, Work::Range(_));
            let mut groups = Groups::default();
            if !is_by_range {
                groups.add_rows(nearer, relation);
            }
            let mut first = first_rows.get_mut(position).and_then(Option::take);
            if first.is_none() {
                if let Some(kept) = kept {
                    self.fill(position, relation, kept)?;
                }
                first = match work {
                    Work::Range(range) if is_by_range => {
                        let mut range = range.clone();
                        if is_cut && !roots.is_empty() {
                            range.high = Some(root_key(&plan.document.key, roots, roots.len() - 1));
                        }
                        let (statement, parameters) = range_statement(plan, reading.first(), &range);
                        let numbers = numbers.get_or_insert_with(|| root_numbers(plan, roots));
                        let answer = Answer::Of(statement, parameters);
                        self.read_by_range(reading, answer, numbers, left)?
                    }
                    _ => self.read_by_groups(reading, nearer, &groups, left)?,
                };
            }
            let related = match (first, kept) {
                (Some(FirstRows::Whole(rows)), _) => Some(rows),
                (Some(FirstRows::Linked(links)), Some(kept)) => {
                    self.complete(position, relation, kept, links, left)?
                }
                // Links are read of kept relations alone.
                (Some(FirstRows::Linked(_)), None) | (None, _) => None,
            };
            let Some((rows, group_of_row)) = related else { return Ok(None) };
            let (group_count, group_of_nearer_row) = if is_by_range {
                (roots.len(), (0..roots.len()).map(|row| Some(row as u32)).collect())
            } else {
                (groups.count, groups.of_nearer_row)
            };
            let related = attach(rows, &group_of_row, group_count, group_of_nearer_row);
            // A single document is judged by its own size, when it is rendered.
            if roots.len() > 1 {
                let nearer = relation.below.and_then(|below| uses[below].as_deref());
                let used = if is_by_range { None } else { uses_of_rows(&related, nearer) };
                let repeated = used.as_ref().map_or(0, |used| repeated_byte_count(&related.rows, used));
                match left.checked_sub(usize::try_from(repeated).unwrap_or(usize::MAX)) {
                    Some(rest) => *left = rest,
                    None => return Ok(None),
                }
                uses.push(used);
            }
            relations.push(related);
        }
        Ok(Some(relations))
    }

    /// Reads the rows of a relation whose root rows are in a range; nothing when they are more bytes than `left`.
    pub(super) fn read_by_range(
        &mut self,
        reading: Reading<'_>,
        answer: Answer,
        numbers: &NumberByKey,
        left: &mut usize,
    ) -> Result<Option<FirstRows>> {
        let of = reading.first();
        let mut group = Vec::new();
        let mut last: (Vec<u8>, Option<u32>) = (Vec::new(), None);
        self.collect(reading, left, |source, left, take| {
            source.read_related(of, of.range.select(), answer, left, &mut |row, left| {
                group.clear();
                for column in of.range.key() {
                    push_framed(&mut group, raw_cell(row, column.position).unwrap_or_default());
                }
                // An index gives the rows of one root together.
                if group != last.0 {
                    last.1 = numbers.get(&group).copied();
                    last.0.clone_from(&group);
                }
                // Rows whose root is filtered out or gone belong to no document.
                let row = RelatedRow { row, range: Some(&of.range) };
                last.1.map_or(Ok(true), |number| take(row, number, left))
            })
        })
    }

    /// Reads the rows of a relation by the values that join it; nothing when they are more bytes than `left`.
    fn read_by_groups(
        &mut self,
        reading: Reading<'_>,
        nearer: &Rows,
        groups: &Groups,
        left: &mut usize,
    ) -> Result<Option<FirstRows>> {
        if let Some(kept) = reading.kept.filter(|kept| kept.link.is_none()) {
            let links = self.read_links(reading.position, kept, left, |_, joined, left| {
                take_groups(nearer, groups, joined, left)
            })?;
            return Ok(links.map(FirstRows::Linked));
        }
        let of = reading.first();
        self.collect(reading, left, |source, left, take| {
            if groups.count == 0 {
                return Ok(true);
            }
            let (statement, parameters) = groups_statement(of, groups);
            let answer = Answer::Of(statement, parameters);
            source.read_related(of, &of.select, answer, left, &mut |row, left| {
                let number =
                    raw_cell(row, 0).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
                let row = RelatedRow { row, range: None };
                take(row, u32::try_from(number - 1).unwrap_or(0), left)
            })
        })
    }

    /// Gathers the rows that `read` hands over, as the relation's own or as links to kept ones; nothing if it says that
    /// they are more bytes than `left`.
    fn collect(
        &mut self,
        reading: Reading<'_>,
        left: &mut usize,
        read: impl FnOnce(&mut Self, &mut usize, &mut Take<'_>) -> Result<bool>,
    ) -> Result<Option<FirstRows>> {
        if let Some(kept) = reading.kept {
            let links = self.read_links(reading.position, kept, left, |source, joined, left| {
                read(source, left, &mut |row, group, left| {
                    joined.take(group, |column| row.cell(column), left)
                })
            })?;
            return Ok(links.map(FirstRows::Linked));
        }
        let column_count = reading.relation.select.formats().len();
        let mut rows = Rows::new(column_count);
        let mut group_of_row = Vec::new();
        let is_within = read(self, left, &mut |row, group, _| {
            group_of_row.push(group);
            for column in 0..column_count {
                push(&mut rows, row.cell(column))?;
            }
            Ok(true)
        })?;
        Ok(is_within.then_some(FirstRows::Whole((rows, group_of_row))))
    }

    /// Streams related rows to `keep`; returns false when there are more bytes than `left`, or `keep` says so.
    fn read_related(
        &mut self,
        relation: &RelationPlan,
        select: &SelectList,
        answer: Answer,
        left: &mut usize,
        keep: &mut dyn FnMut(&Row, &mut usize) -> Result<bool>,
    ) -> Result<bool> {
        let mut is_within = true;
        let what = format!("{} (relation {})", relation.table, relation.name);
        let mut sink = |row: &Row| {
            // A cell costs its bytes and its place.
            let cost = row.raw_size_bytes() + 8 * row.len();
            is_within = match left.checked_sub(cost) {
                Some(rest) => {
                    *left = rest;
                    keep(row, left)?
                }
                None => false,
            };
            Ok(is_within)
        };
        match answer {
            Answer::Of(statement, parameters) => {
                stream(&mut self.client, &statement, parameters, select.formats(), &what, &mut sink)?;
            }
            Answer::Sent(sent) => take_rows(&mut self.client, sent, select.formats(), &what, &mut sink)?,
        }
        Ok(is_within)
    }
}

/// The statement that reads the rows of a relation by the values that join it.
fn groups_statement(relation: &RelationPlan, groups: &Groups) -> (String, Parameters) {
    let mut parameters = Parameters::default();
    let mut types = Vec::new();
    let mut pairs = Vec::new();
    for (place, (nearer, first)) in relation.nearer.iter().zip(&relation.first_columns).enumerate() {
        parameters.texts(groups.texts[place].clone());
        types.push(nearer.type_name.as_str());
        // What the definition says in SQL may name a column without its table.
        pairs.push(format!("{first} = p.pgsluice_k{}", place + 1));
    }
    let statement = format!(
        "select {} from {} join {} on {}{}",
        relation.select.sql(),
        rows_of_texts(&types, "p", "pgsluice_k", true),
        relation.first_table,
        pairs.join(" and "),
        relation.joins,
    );
    (statement, parameters)
}
