//! Reads which of the related rows count, in which order, and how many: `where`, `order` and `limit`.

use std::ops::Range;

use toml::de::DeValue;

use crate::definition::document::{DocumentReader, THROUGH};
use crate::definition::section::{Section, Text, Value, kind, text_of};
use crate::definition::{Comparison, Expression, Filter, FilterTest, OrderColumn, RelationId};

const TEST_ADVICE: &str =
    "write a value, an array of values, { null = true }, { ne = <value> } or { gte = <value>, lt = <value> }";

impl DocumentReader<'_, '_, '_> {
    pub(super) fn filters(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<Filter> {
        let advice = "write { <column> = <value>, … } or a condition in SQL as a text";
        if section.get("where").is_some_and(|value| value.get_ref().is_str()) {
            return section
                .text("where", self.problems)
                .map(|sql| Filter::Sql(sql.text))
                .into_iter()
                .collect();
        }
        let Some(conditions) = section.section("where", advice, self.problems) else { return Vec::new() };
        let mut filters = Vec::new();
        let mut add = |reader: &mut Self, name: &str, span: Range<usize>, value: &Value<'_>| {
            let place = section.place_of(&format!("where.{name}"));
            let column = reader.column(&Text { text: name.to_owned(), span }, &place, Some(relation));
            for test in reader.tests(value, &place) {
                filters.extend(column.clone().map(|column| Filter::Column { column, test }));
            }
        };
        for (name, span, value) in conditions.entries() {
            // `through.role = …` is a table `through` to TOML.
            let Some(link) = value.get_ref().as_table().filter(|_| name == "through") else {
                add(self, name, span, value);
                continue;
            };
            for (name, value) in link {
                add(self, &format!("{THROUGH}{}", name.get_ref()), name.span(), value);
            }
        }
        if conditions.entries().next().is_none() {
            self.problems.add(
                &conditions.span,
                &conditions.place,
                format!("must not be empty, {advice} or leave it out"),
            );
        }
        filters
    }

    /// What must hold for one column.
    fn tests(&mut self, value: &Value<'_>, place: &str) -> Vec<FilterTest> {
        if !value.get_ref().is_table() {
            return self.values(value, place, TEST_ADVICE).map(FilterTest::OneOf).into_iter().collect();
        }
        let Some(section) = Section::of(value, place.to_owned(), TEST_ADVICE, self.problems) else {
            return Vec::new();
        };
        let mut known = vec!["null", "ne"];
        known.extend(Comparison::ALL.map(Comparison::word));
        section.refuse_unknown(&known, self.problems);
        let mut tests = Vec::new();
        let mut has_test = false;
        if let Some(value) = section.get("null") {
            has_test = true;
            match value.get_ref().as_bool() {
                Some(is_null) => tests.push(FilterTest::IsNull(is_null)),
                None => {
                    self.problems.add(&value.span(), &section.place_of("null"), "write true or false");
                }
            }
        }
        if let Some(value) = section.get("ne") {
            has_test = true;
            let advice = "write a value or an array of values";
            tests.extend(self.values(value, &section.place_of("ne"), advice).map(FilterTest::NoneOf));
        }
        for comparison in Comparison::ALL {
            let Some(value) = section.get(comparison.word()) else { continue };
            has_test = true;
            let literal = self.literal(value, &section.place_of(comparison.word()), "write a plain value");
            tests.extend(literal.map(|literal| FilterTest::Compared(comparison, literal)));
        }
        if !has_test {
            self.problems.add(&section.span, place, TEST_ADVICE);
        }
        tests
    }

    /// A plain value, or an array of at least one.
    fn values(&mut self, value: &Value<'_>, place: &str, advice: &str) -> Option<Vec<String>> {
        let Some(array) = value.get_ref().as_array() else {
            return self.literal(value, place, advice).map(|text| vec![text]);
        };
        if array.is_empty() {
            self.problems.add(
                &value.span(),
                place,
                "an empty array lets no row through, write at least one value",
            );
        }
        let mut values: Vec<String> = Vec::new();
        for item in array {
            values.extend(
                self.literal(item, place, "write plain values in the array")
                    .filter(|text| !values.contains(text)),
            );
        }
        (!values.is_empty()).then_some(values)
    }

    /// A plain value in PostgreSQL's text form.
    fn literal(&mut self, value: &Value<'_>, place: &str, advice: &str) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => None,
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Boolean(is_true) => Some(is_true.to_string()),
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::Float(number) => {
                Some(number.as_str().to_owned()).filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
            }
            DeValue::Array(_) | DeValue::Table(_) => None,
        };
        if text.is_none() {
            self.problems.add(&value.span(), place, format!("{advice}, this is {}", kind(value)));
        }
        text
    }

    /// Reads `order = ["-year", "name", { sql = "lower(t.name)", descending = true }]`; a minus is for largest first.
    pub(super) fn order(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<OrderColumn> {
        const ADVICE: &str = "write columns as [\"-year\", \"name\"], with - for largest first, or { sql = \"…\", descending = true }";
        let Some(value) = section.get("order") else { return Vec::new() };
        let place = section.place_of("order");
        let Some(array) = value.get_ref().as_array() else {
            self.problems.add(&value.span(), &place, format!("{ADVICE}, this is {}", kind(value)));
            return Vec::new();
        };
        if array.is_empty() {
            self.problems.add(&value.span(), &place, format!("must not be empty, {ADVICE} or leave it out"));
        }
        let mut order: Vec<OrderColumn> = Vec::new();
        for item in array {
            let Some((expression, descending)) = self.order_part(item, &place, relation, ADVICE) else {
                continue;
            };
            if order.iter().any(|known| known.expression == expression) {
                let problem = match &expression {
                    Expression::Column(column) => format!("names the column {} twice", column.column),
                    Expression::Sql(_) => "has the same sql twice".to_owned(),
                };
                self.problems.add(&item.span(), &place, problem);
            }
            order.push(OrderColumn { expression, descending });
        }
        order
    }

    fn order_part(
        &mut self,
        item: &Value<'_>,
        place: &str,
        relation: RelationId,
        advice: &str,
    ) -> Option<(Expression, bool)> {
        if item.get_ref().is_table() {
            let part = Section::of(item, place.to_owned(), advice, self.problems)?;
            let descending = match part.get("descending").map(|value| (value, value.get_ref().as_bool())) {
                None => false,
                Some((_, Some(descending))) => descending,
                Some((value, None)) => {
                    self.problems.add(&value.span(), &part.place_of("descending"), "write true or false");
                    return None;
                }
            };
            return Some((self.sql_of(&part, &["descending"])?, descending));
        }
        let Text { text, span } = text_of(item, place, self.problems)?;
        let descending = text.starts_with('-');
        let column = Text { text: text.strip_prefix('-').unwrap_or(&text).to_owned(), span };
        Some((Expression::Column(self.column(&column, place, Some(relation))?), descending))
    }

    pub(super) fn limit(&mut self, section: &Section<'_>) -> Option<usize> {
        let value = section.get("limit")?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        let limit = number.filter(|number| *number > 0);
        if limit.is_none() {
            self.problems.add(
                &value.span(),
                &section.place_of("limit"),
                "write a whole number of at least 1",
            );
        }
        limit
    }
}
