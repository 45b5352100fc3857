//! Medians and spreads as a table, and rates beside each other.

use crate::meter::Sample;

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
        println!("  {name}: {:.0} documents/s", sample.documents / sample.seconds);
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { name: name.to_owned(), samples: vec![sample] }),
        }
    }

    pub fn print(&self) {
        println!(
            "\n{:<34}{:>10}{:>20}{:>8}{:>10}{:>8}{:>8}{:>10}{:>8}{:>8}",
            "median [min..max]",
            "docs/s",
            "",
            "MB/s",
            "peak MB",
            "user s",
            "sys s",
            "postgres",
            "server",
            "others"
        );
        for row in &self.rows {
            let rates = row.sorted(|sample| sample.documents / sample.seconds);
            let median = |value: fn(&Sample) -> f64| middle(&row.sorted(value));
            // Processor time is given for 100,000 documents, so that sizes compare.
            let cost = |value: fn(&Sample) -> f64| {
                let costs = row.sorted(|sample| value(sample) / sample.documents * 1e5);
                format!("{:.2}", middle(&costs))
            };
            let peak = median(|sample| sample.peak_rss / 1e6);
            println!(
                "{:<34}{:>10.0}{:>20}{:>8.1}{:>10}{:>8}{:>8}{:>10}{:>8}{:>8.2}",
                row.name,
                middle(&rates),
                format!("[{:.0}..{:.0}]", rates[0], rates[rates.len() - 1]),
                median(|sample| sample.bytes / sample.seconds / 1e6),
                if peak > 0.0 { format!("{peak:.1}") } else { "-".to_owned() },
                cost(|sample| sample.user_seconds),
                cost(|sample| sample.system_seconds),
                cost(|sample| sample.postgres_seconds),
                cost(|sample| sample.server_seconds),
                median(|sample| sample.others)
            );
        }
        println!(
            "user, sys: of the program named (or of the bare client); postgres, server: of the backends and of the index\n\
             server; all in processor seconds for 100,000 documents. others: processors busy with something else."
        );
    }

    /// Prints the rate of one row as a part of another's: of the medians, and round by round.
    pub fn print_ratio(&self, name: &str, limit: &str) {
        let find = |name: &str| self.rows.iter().find(|row| row.name == name);
        let (Some(row), Some(limit_row)) = (find(name), find(limit)) else { return };
        let rate = |sample: &Sample| sample.documents / sample.seconds;
        let ratio = middle(&row.sorted(rate)) / middle(&limit_row.sorted(rate));
        let mut ratios: Vec<f64> =
            row.samples.iter().zip(&limit_row.samples).map(|(own, limit)| rate(own) / rate(limit)).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{name} / {limit}: {ratio:.2} [{:.2}..{:.2}]", ratios[0], ratios[ratios.len() - 1]);
    }
}

impl Row {
    fn sorted(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}
