//! Reads which of the related rows count, in which order, and how many: `where`, `order` and `limit`.

use std::ops::Range;

use toml::de::DeValue;

use crate::definition::document::{DocumentReader, THROUGH};
use crate::definition::section::{Section, Text, Value, kind, texts_of};
use crate::definition::{Filter, FilterTest, OrderColumn, RelationId};

impl DocumentReader<'_, '_, '_> {
    pub(super) fn filters(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<Filter> {
        let advice = "write { <column> = <value>, … }";
        let Some(conditions) = section.section("where", advice, self.problems) else { return Vec::new() };
        let mut filters = Vec::new();
        let mut add = |reader: &mut Self, name: &str, span: Range<usize>, value: &Value<'_>| {
            let place = section.place_of(&format!("where.{name}"));
            let column = reader.column(&Text { text: name.to_owned(), span }, &place, Some(relation));
            let test = reader.test(value, &place);
            filters.extend(column.zip(test).map(|(column, test)| Filter { column, test }));
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

    fn test(&mut self, value: &Value<'_>, place: &str) -> Option<FilterTest> {
        const ADVICE: &str = "write a value, an array of values or { null = true }";
        match value.get_ref() {
            DeValue::Array(array) => {
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
                (!values.is_empty()).then_some(FilterTest::OneOf(values))
            }
            DeValue::Table(_) => {
                let test = Section::of(value, place.to_owned(), ADVICE, self.problems)?;
                test.refuse_unknown(&["null"], self.problems);
                match test.get("null").map(|value| (value.get_ref().as_bool(), value)) {
                    Some((Some(is_null), _)) => Some(FilterTest::IsNull(is_null)),
                    Some((None, value)) => {
                        self.problems.add(&value.span(), &test.place_of("null"), "write true or false");
                        None
                    }
                    None => {
                        self.problems.add(&test.span, place, ADVICE);
                        None
                    }
                }
            }
            _ => self.literal(value, place, ADVICE).map(|text| FilterTest::OneOf(vec![text])),
        }
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

    /// Reads `order = ["-year", "name"]`; a minus is for largest first.
    pub(super) fn order(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<OrderColumn> {
        let Some(value) = section.get("order") else { return Vec::new() };
        let place = section.place_of("order");
        let advice = "write columns as [\"-year\", \"name\"], with - for largest first";
        let mut order: Vec<OrderColumn> = Vec::new();
        for Text { text, span } in texts_of(value, &place, advice, self.problems) {
            let descending = text.starts_with('-');
            let column =
                Text { text: text.strip_prefix('-').unwrap_or(&text).to_owned(), span: span.clone() };
            let Some(column) = self.column(&column, &place, Some(relation)) else { continue };
            if order.iter().any(|known| known.column == column) {
                self.problems.add(&span, &place, format!("names the column {} twice", column.column));
            }
            order.push(OrderColumn { column, descending });
        }
        order
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
