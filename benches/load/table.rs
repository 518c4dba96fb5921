//! What was measured, for a person and for a program.

use std::fmt;

use crate::process::Measured;

/// Named figures, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, String, f64)>);

impl Table {
    /// Adds seconds, shown in microseconds.
    pub fn micros(&mut self, name: String, seconds: f64) {
        self.figure(name, seconds * 1e6, " µs");
    }

    /// Adds seconds, shown in milliseconds.
    pub fn millis(&mut self, name: String, seconds: f64) {
        self.figure(name, seconds * 1e3, " ms");
    }

    /// Adds a large number.
    pub fn count(&mut self, name: String, count: f64) {
        self.row(name, format!("{count:.0}"), count);
    }

    /// Adds a figure and its unit.
    pub fn figure(&mut self, name: String, value: f64, unit: &str) {
        self.row(name, format!("{value:.2}{unit}"), value);
    }

    /// Adds the peak and the present size of a process.
    pub fn memory(&mut self, name: &str, measured: &Measured) {
        for (what, bytes) in [("peak", measured.peak_memory), ("final", measured.memory)] {
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            self.figure(format!("{name}: {what} memory"), mebibytes, " MiB");
        }
    }

    fn row(&mut self, name: String, shown: String, value: f64) {
        eprintln!("{name}: {shown}");
        self.0.push((name, shown, value));
    }

    /// The figures as one JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        self.0
            .iter()
            .map(|(name, _, value)| (name.clone(), serde_json::json!(value)))
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|(name, ..)| name.chars().count())
            .max()
            .unwrap_or(0);
        writeln!(
            f,
            "| {:width$} | figure |\n| {:-<width$} | --- |",
            "what", ""
        )?;
        for (name, shown, _) in &self.0 {
            writeln!(f, "| {name:width$} | {shown} |")?;
        }
        Ok(())
    }
}

/// The middle of the samples.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The value below which this share of the samples lies, in per cent; the samples are in order.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
