//! The figures that are worth following: printed with their spread, and compared with those of the last runs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::settings::{Settings, machine_name};
use super::table::{middle, print_markdown, sorted, spread};

/// How many earlier runs the median is of.
const RUNS: usize = 10;

/// How much worse than their median is worth a word.
const TOLERANCE: f64 = 0.1;

pub struct Report {
    settings: Settings,
    /// What sizes were measured: figures of other sizes do not compare.
    sizes: String,
    figures: Vec<Figure>,
}

struct Figure {
    name: String,
    values: Vec<f64>,
    higher_is_better: bool,
}

/// A line of the history.
#[derive(Serialize, Deserialize)]
struct Line {
    bench: String,
    date: String,
    commit: String,
    machine: String,
    sizes: String,
    rounds: usize,
    figures: BTreeMap<String, f64>,
}

impl Report {
    pub fn new(settings: &Settings, sizes: &str) -> Self {
        Self { settings: settings.clone(), sizes: sizes.to_owned(), figures: Vec::new() }
    }

    /// A figure of which more is better, a value a round.
    pub fn higher_is_better(&mut self, name: &str, values: &[f64]) {
        self.add(name, values, true);
    }

    /// A figure of which less is better, a value a round.
    pub fn lower_is_better(&mut self, name: &str, values: &[f64]) {
        self.add(name, values, false);
    }

    fn add(&mut self, name: &str, values: &[f64], higher_is_better: bool) {
        let values = sorted(values.to_vec());
        self.figures.push(Figure { name: name.to_owned(), values, higher_is_better });
    }

    /// Prints the figures; with a history, also what became worse, and adds them to it.
    pub fn finish(self) {
        let lines: Vec<Vec<String>> = self
            .figures
            .iter()
            .map(|figure| vec![figure.name.clone(), spread(&figure.values, digits(middle(&figure.values)))])
            .collect();
        print_markdown(&[&format!("{}: {}", self.settings.bench, self.sizes), "median [min..max]"], &lines);
        println!();
        // A part of the figures is no run to compare with.
        if let Some(path) = self.settings.history.as_deref().filter(|_| self.settings.words.is_empty()) {
            self.compare(path);
            self.append(path);
        }
    }

    fn compare(&self, path: &Path) {
        let machine = machine_name();
        let text = fs::read_to_string(path).unwrap_or_default();
        let earlier: Vec<Line> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &Line| {
                (&*line.bench, &line.machine, &line.sizes) == (self.settings.bench, &machine, &self.sizes)
            })
            .collect();
        for figure in &self.figures {
            let known = earlier.iter().rev().filter_map(|line| line.figures.get(&figure.name).copied());
            let known = sorted(known.take(RUNS).collect());
            if known.is_empty() {
                continue;
            }
            let (now, before) = (middle(&figure.values), middle(&known));
            let change = if figure.higher_is_better { now / before } else { before / now };
            if change < 1.0 - TOLERANCE {
                println!(
                    "WORSE: {}: {now:.3}, and {before:.3} was the median of the last {} runs",
                    figure.name,
                    known.len()
                );
            }
        }
    }

    fn append(&self, path: &Path) {
        let line = Line {
            bench: self.settings.bench.to_owned(),
            date: chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            commit: commit(),
            machine: machine_name(),
            sizes: self.sizes.clone(),
            rounds: self.settings.round_count,
            figures: self
                .figures
                .iter()
                .map(|figure| (figure.name.clone(), middle(&figure.values)))
                .collect(),
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{}", serde_json::to_string(&line).unwrap()).unwrap();
    }
}

/// Three figures that mean something, whatever the size.
fn digits(value: f64) -> usize {
    if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 0.1 {
        2
    } else {
        4
    }
}

/// What was measured, as git names it; with `-dirty` if it is not exactly that.
fn commit() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
