//! The part of the plan that is about the document: which cells each field is made of, and which rows count.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cell::CellFormat;
use crate::definition::{
    ColumnReference, Expression, Field, Filter, FilterTest, Item, JoinName, RelationId, Source,
};
use crate::json_string::write_json_string;
use crate::plan::{
    PlannedColumn, PlannedField, PlannedFilter, PlannedItem, PlannedJoinName, PlannedRelation, PlannedSource,
};
use crate::postgres::catalog::Column;
use crate::postgres::plan::Planner;
use crate::postgres::select::{
    SelectList, Side, for_document, for_document_expression, has_equal_bytes_as_text,
};
use crate::postgres::sql::{literal, name};
use crate::postgres::written::WrittenCondition;

/// What is selected of the root and of each relation.
pub(super) struct SelectLists<'l> {
    pub(super) root: &'l mut SelectList,
    pub(super) relations: &'l mut [SelectList],
}

impl SelectLists<'_> {
    fn add(&mut self, at: Option<usize>, side: Side, selected: (String, CellFormat)) -> PlannedColumn {
        match at {
            None => self.root.add_of(side, selected),
            Some(relation) => self.relations[relation].add_of(side, selected),
        }
    }
}

impl Planner<'_> {
    /// Plans all fields of the document.
    pub(super) fn document(&mut self, lists: &mut SelectLists<'_>) -> Vec<PlannedField> {
        let definition = self.definition;
        self.object(&definition.document, None, lists)
    }

    /// Plans the fields of an object, those that come into it by inlining included.
    fn object(
        &mut self,
        fields: &[Field],
        at: Option<usize>,
        lists: &mut SelectLists<'_>,
    ) -> Vec<PlannedField> {
        let mut names = HashSet::new();
        collect_names(fields, &mut names);
        self.fields(fields, at, &Arc::new(names), lists)
    }

    fn fields(
        &mut self,
        fields: &[Field],
        at: Option<usize>,
        taken: &Arc<HashSet<String>>,
        lists: &mut SelectLists<'_>,
    ) -> Vec<PlannedField> {
        let mut planned = Vec::new();
        for field in fields {
            if let Some(source) = self.source(field, at, taken, lists) {
                let mut label = Vec::new();
                write_json_string(&mut label, &field.name);
                label.push(b':');
                planned.push(PlannedField { label, source });
            }
        }
        planned
    }

    fn source(
        &mut self,
        field: &Field,
        at: Option<usize>,
        taken: &Arc<HashSet<String>>,
        lists: &mut SelectLists<'_>,
    ) -> Option<PlannedSource> {
        let place = field.name.as_str();
        Some(match &field.source {
            Source::Value(expression) => PlannedSource::Cell(self.select(expression, at, lists, place)?),
            Source::Constant(value) => PlannedSource::Constant(value.to_string().into_bytes()),
            Source::One { relation, item, filters } => {
                let item = self.item(item, *relation, lists, place)?;
                PlannedSource::One(self.related(*relation, item, filters, lists, place))
            }
            Source::Inline { relation, fields, filters } => {
                let item = PlannedItem::Object(self.fields(fields, Some(relation.0), taken, lists));
                PlannedSource::Inline(self.related(*relation, item, filters, lists, place))
            }
            Source::List { relation, item, filters, order, limit } => {
                let item = self.item(item, *relation, lists, place)?;
                let mut related = self.related(*relation, item, filters, lists, place);
                related.limit = *limit;
                for part in order {
                    if let Some(column) = self.select(&part.expression, Some(relation.0), lists, place) {
                        related.order.push((column, part.descending));
                    }
                }
                PlannedSource::List(related)
            }
            Source::Count { relation, filters } => {
                let nothing = PlannedItem::Object(Vec::new());
                PlannedSource::Count(self.related(*relation, nothing, filters, lists, place))
            }
            Source::Flatten(expression) => {
                let column = self.select(expression, at, lists, place)?;
                if !matches!(column.format, CellFormat::Json | CellFormat::Jsonb) {
                    self.problems.push(format!("document.{place}: only json and jsonb can be flattened"));
                }
                PlannedSource::Flatten { column, taken: Arc::clone(taken) }
            }
            Source::Geo { lat, lon } => PlannedSource::Geo {
                lat: self.select(lat, at, lists, place)?,
                lon: self.select(lon, at, lists, place)?,
            },
            Source::Join { name, parent } => PlannedSource::Join {
                name: match name {
                    JoinName::Constant(name) => {
                        let mut json = Vec::new();
                        write_json_string(&mut json, name);
                        PlannedJoinName::Constant(json)
                    }
                    JoinName::Of(expression) => {
                        PlannedJoinName::Of(self.select_text(expression, at, lists, place)?)
                    }
                },
                parent: match parent {
                    Some(parent) => Some(self.select_text(parent, at, lists, place)?),
                    None => None,
                },
            },
        })
    }

    fn item(
        &mut self,
        item: &Item,
        RelationId(relation): RelationId,
        lists: &mut SelectLists<'_>,
        place: &str,
    ) -> Option<PlannedItem> {
        match item {
            Item::Value(expression) => {
                self.select(expression, Some(relation), lists, place).map(PlannedItem::Value)
            }
            Item::Object(fields) => Some(PlannedItem::Object(self.object(fields, Some(relation), lists))),
        }
    }

    fn related(
        &mut self,
        RelationId(relation): RelationId,
        item: PlannedItem,
        filters: &[Filter],
        lists: &mut SelectLists<'_>,
        place: &str,
    ) -> PlannedRelation {
        let filter = self.filter(relation, filters, lists, place);
        PlannedRelation { relation, filter, order: Vec::new(), limit: None, item }
    }

    /// Selects a value of the row at hand.
    fn select(
        &mut self,
        expression: &Expression,
        at: Option<usize>,
        lists: &mut SelectLists<'_>,
        place: &str,
    ) -> Option<PlannedColumn> {
        let (side, selected) = match expression {
            Expression::Column(reference) => {
                let (side, column) = self.referred(reference, at, &format!("document.{place}"))?;
                (side, for_document(side.alias(), &column))
            }
            // What is wrong with it was found when it was described.
            Expression::Sql(sql) => {
                (Side::Unknown, for_document_expression(&enclosed(sql), self.written.form(at, sql)?))
            }
        };
        Some(lists.add(at, side, selected))
    }

    /// Selects a value of the row at hand as PostgreSQL's own text, as it is in an `_id`.
    fn select_text(
        &mut self,
        expression: &Expression,
        at: Option<usize>,
        lists: &mut SelectLists<'_>,
        place: &str,
    ) -> Option<PlannedColumn> {
        let (side, value) = match expression {
            Expression::Column(reference) => {
                let (side, _) = self.referred(reference, at, &format!("document.{place}"))?;
                (side, written(side, reference))
            }
            Expression::Sql(sql) => (Side::Unknown, enclosed(sql)),
        };
        Some(lists.add(at, side, (format!("{value}::text"), CellFormat::Text)))
    }

    /// The column that a reference names, and of which row it is; a problem at `place` if there is none.
    fn referred(
        &mut self,
        reference: &ColumnReference,
        at: Option<usize>,
        place: &str,
    ) -> Option<(Side, Column)> {
        let relation = at.map(|relation| &self.definition.relations[relation]);
        let (side, table) = if !reference.through {
            (Side::Row, relation.map_or(&self.definition.root.table, |relation| &relation.table))
        } else if let Some(through) = relation.and_then(|relation| relation.through.as_ref()) {
            (Side::Link, &through.table)
        } else {
            self.problems.push(format!(
                "{place}: through.{} names a link table, and there is none here",
                reference.column
            ));
            return None;
        };
        let table = table.clone();
        Some((side, self.column(&table, &reference.column, place)?))
    }

    /// Selects whether a row meets the relation's own condition and all filters, decided by PostgreSQL with the
    /// column's own type; nothing if every row counts.
    ///
    /// Texts that one filter looks for are sent as they are and compared here: several lists of the same rows then need
    /// one cell, and not one each.
    fn filter(
        &mut self,
        relation: usize,
        filters: &[Filter],
        lists: &mut SelectLists<'_>,
        place: &str,
    ) -> Option<PlannedFilter> {
        if let Some(known) = self.filters.get(&(relation, filters.to_vec())) {
            return Some(known.clone());
        }
        let mut conditions: Vec<(Side, String)> = Vec::new();
        let mut text = None;
        let own = self.definition.relations[relation].condition.as_ref();
        conditions.extend(own.map(|sql| (Side::Unknown, enclosed(sql))));
        for filter in filters {
            conditions.push(match filter {
                Filter::Sql(sql) => (Side::Unknown, enclosed(sql)),
                Filter::Column { column, test } => {
                    let (side, found) =
                        self.referred(column, Some(relation), &format!("document.{place}.where"))?;
                    if let FilterTest::OneOf(values) = test
                        && has_equal_bytes_as_text(&found)
                    {
                        text = Some((side, written(side, column), values));
                    }
                    (side, condition(&written(side, column), test))
                }
            });
        }
        let side = conditions.iter().map(|(side, _)| *side).reduce(Side::and)?;
        let conditions: Vec<String> = conditions.into_iter().map(|(_, sql)| sql).collect();
        let sql = format!("({})", conditions.join(" and "));
        self.conditions.push(WrittenCondition {
            place: format!("document.{place}.where"),
            relation,
            sql: sql.clone(),
        });
        let filter = match text.filter(|_| conditions.len() == 1) {
            Some((side, column, values)) => PlannedFilter::OneOf {
                position: lists.add(Some(relation), side, (column, CellFormat::Text)).position,
                values: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
            },
            None => PlannedFilter::Holds {
                position: lists.add(Some(relation), side, (sql, CellFormat::Bool)).position,
            },
        };
        self.filters.insert((relation, filters.to_vec()), filter.clone());
        Some(filter)
    }
}

/// The column as it is written in SQL.
fn written(side: Side, reference: &ColumnReference) -> String {
    format!("{}.{}", side.alias(), name(&reference.column))
}

fn condition(column: &str, test: &FilterTest) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
        values.join(", ")
    };
    match test {
        FilterTest::IsNull(true) => format!("{column} is null"),
        FilterTest::IsNull(false) => format!("{column} is not null"),
        FilterTest::OneOf(values) => format!("{column} in ({})", list(values)),
        FilterTest::NoneOf(values) => format!("({column} in ({})) is not true", list(values)),
        FilterTest::Compared(comparison, value) => {
            format!("{column} {} {}", comparison.operator(), literal(value))
        }
    }
}

/// What the definition says in SQL, as one term; the line break ends a comment at its end.
pub(super) fn enclosed(sql: &str) -> String {
    format!("({sql}\n)")
}

/// The names of an object's fields, those that inlining brings into it included.
fn collect_names(fields: &[Field], names: &mut HashSet<String>) {
    for field in fields {
        match &field.source {
            Source::Inline { fields, .. } => collect_names(fields, names),
            Source::Flatten(_) => {}
            _ => {
                names.insert(field.name.clone());
            }
        }
    }
}
