//! Medians and spreads as tables of markdown, and samples beside each other.

use super::meter::Sample;
use super::report::Report;

/// What was measured under one name, a sample a round.
pub struct Row {
    pub name: String,
    pub samples: Vec<Sample>,
}

/// The rows in the order of their first sample.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub fn add(&mut self, name: &str, sample: Sample) {
        println!("  {name}: {:.0} documents/s", sample.rate());
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { name: name.to_owned(), samples: vec![sample] }),
        }
    }

    /// What was measured under that name so far.
    pub fn samples(&self, name: &str) -> &[Sample] {
        self.rows.iter().find(|row| row.name == name).map_or(&[], |row| &row.samples)
    }

    pub fn print(&self) {
        let heads = [
            "median [min..max]",
            "documents/s",
            "MB/s",
            "peak MB",
            "user s",
            "system s",
            "PostgreSQL s",
            "index server s",
            "others",
        ];
        let lines: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let median = |value: fn(&Sample) -> f64| middle(&row.sorted(value));
                // Processor time is given for 100,000 documents, so that sizes compare.
                let cost = |value: fn(&Sample) -> f64| {
                    format!("{:.2}", middle(&row.sorted(|sample| value(sample) / sample.documents * 1e5)))
                };
                let peak = median(|sample| sample.peak_rss / 1e6);
                vec![
                    row.name.clone(),
                    spread(&row.sorted(Sample::rate), 0),
                    format!("{:.1}", median(|sample| sample.bytes / sample.seconds / 1e6)),
                    if peak > 0.0 { format!("{peak:.1}") } else { "-".to_owned() },
                    cost(|sample| sample.user_seconds),
                    cost(|sample| sample.system_seconds),
                    cost(|sample| sample.postgres_seconds),
                    cost(|sample| sample.server_seconds),
                    format!("{:.2}", median(|sample| sample.others)),
                ]
            })
            .collect();
        print_markdown(&heads, &lines);
        println!(
            "\nuser, system: of the program named (or of the bare client); PostgreSQL, index server: of the backends and of\n\
             the index server; all in processor seconds for 100,000 documents. others: processors busy with something else.\n"
        );
    }

    /// Reports the rate of one row as a part of another's, round by round.
    pub fn ratio_of_rates(&self, report: &mut Report, name: &str, limit: &str) {
        self.ratio(report, &format!("{name} / {limit}"), name, limit, Sample::rate);
    }

    /// Reports how many times the processor time of one row another needed for a document, PostgreSQL's included.
    pub fn ratio_of_costs(&self, report: &mut Report, name: &str, limit: &str) {
        let per_cost = |sample: &Sample| {
            // Where the clock's ticks are too coarse for so little work.
            sample.documents / (sample.program_seconds() + sample.postgres_seconds).max(0.01)
        };
        self.ratio(report, &format!("processor time, {limit} / {name}"), name, limit, per_cost);
    }

    /// Reports how many times the processor time of one row's connections to PostgreSQL another's needed for a document.
    pub fn ratio_of_postgres(&self, report: &mut Report, name: &str, limit: &str) {
        let per_cost = |sample: &Sample| sample.documents / sample.postgres_seconds.max(0.001);
        self.ratio(report, &format!("PostgreSQL's processor time, {limit} / {name}"), name, limit, per_cost);
    }

    /// Reports how many times the memory of one row another needed.
    pub fn ratio_of_memory(&self, report: &mut Report, name: &str, limit: &str) {
        let per_byte = |sample: &Sample| 1.0 / sample.peak_rss.max(1.0);
        self.ratio(report, &format!("memory, {limit} / {name}"), name, limit, per_byte);
    }

    /// More is better of `value`, as of what is reported.
    fn ratio(&self, report: &mut Report, what: &str, name: &str, limit: &str, value: fn(&Sample) -> f64) {
        let pairs = self.samples(name).iter().zip(self.samples(limit));
        let ratios: Vec<f64> = pairs.map(|(own, limit)| value(own) / value(limit)).collect();
        if !ratios.is_empty() {
            report.higher_is_better(what, &ratios);
        }
    }
}

impl Row {
    fn sorted(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        sorted(self.samples.iter().map(value).collect())
    }
}

pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of sorted values.
pub fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// The part of sorted values that is not above what is returned: `part` of 0.99 is the 99th percentile.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

/// Median and range of sorted values.
pub fn spread(sorted: &[f64], digits: usize) -> String {
    let (median, min, max) = (middle(sorted), sorted[0], sorted[sorted.len() - 1]);
    format!("{median:.digits$} [{min:.digits$}..{max:.digits$}]")
}

/// Prints a table as markdown, its columns in line, figures to the right.
pub fn print_markdown(heads: &[&str], lines: &[Vec<String>]) {
    let width = |place: usize| {
        let cells = lines.iter().map(|line| line[place].chars().count());
        cells.chain([heads[place].chars().count(), 4]).max().unwrap_or(4)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from("|");
        for (place, (cell, width)) in cells.zip(&widths).enumerate() {
            let cell = if place == 0 { format!(" {cell:<width$} |") } else { format!(" {cell:>width$} |") };
            text.push_str(&cell);
        }
        println!("{text}");
    };
    println!();
    print(&mut heads.iter().copied());
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(place, width)| {
            let dashes = "-".repeat(width - 1);
            if place == 0 { format!("{dashes}-") } else { format!("{dashes}:") }
        })
        .collect();
    print(&mut rules.iter().map(String::as_str));
    for line in lines {
        print(&mut line.iter().map(String::as_str));
    }
}
