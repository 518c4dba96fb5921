//! The table of ratios, from what criterion wrote down.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Stages beside their floors.
pub struct Ratios {
    folder: PathBuf,
    rows: Vec<Row>,
}

struct Row {
    stage: &'static str,
    floor: &'static str,
    /// Microseconds per event.
    took: f64,
    least: f64,
}

impl Ratios {
    /// Reads figures from where criterion wrote them.
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds a stage and its floor, each with the number of events that one run of it handles. One
    /// that was left out of this run is left out of the table.
    pub fn row(
        &mut self,
        stage: &'static str,
        events: u32,
        (floor, floor_events): (&'static str, u32),
    ) {
        let figures = self
            .micros(stage, events)
            .zip(self.micros(floor, floor_events));
        if let Some((took, least)) = figures {
            self.rows.push(Row {
                stage,
                floor,
                took,
                least,
            });
        }
    }

    fn micros(&self, name: &str, events: u32) -> Option<f64> {
        let file = self.folder.join(name).join("new/estimates.json");
        let text = fs::read_to_string(file).ok()?;
        let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
        let nanos = estimates["median"]["point_estimate"].as_f64()?;
        Some(nanos / 1e3 / f64::from(events))
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| stage | µs per event | floor | µs per event | ratio |")?;
        writeln!(f, "| --- | ---: | --- | ---: | ---: |")?;
        for row in &self.rows {
            let Row {
                stage,
                floor,
                took,
                least,
            } = row;
            let ratio = took / least;
            writeln!(
                f,
                "| {stage} | {took:.3} | {floor} | {least:.3} | {ratio:.2} |"
            )?;
        }
        Ok(())
    }
}
