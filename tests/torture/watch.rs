//! What the daemon takes of its host: memory, descriptors, threads.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

/// How many per cent of the second quarter the last may take.
const GROWTH: u64 = 115;
/// More by this much is no growth, whatever the share: the window of duplicates fills, and connections come and go.
const SMALL: [u64; 3] = [8 * 1024, 10, 1];
/// Fewer samples say nothing of a trend.
const ENOUGH: usize = 40;
/// The least time between two samples.
const EVERY: Duration = Duration::from_secs(1);
const NAMES: [&str; 3] = ["resident kB", "descriptors", "threads"];

/// A look at a process.
type Sample = [u64; 3];

/// Samples, in order.
#[derive(Default)]
pub struct Watch {
    samples: Vec<Sample>,
    last: Option<Instant>,
    /// Where the lives of daemons begin that were left running for long.
    lives: Vec<Vec<Sample>>,
}

impl Watch {
    /// Looks at a process, if it is there and the last look is not just past. `in_long_life`: it is left running.
    pub fn look_at(&mut self, process: u32, in_long_life: bool) {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let Some(sample) = sample(process) else {
            return;
        };
        self.samples.push(sample);
        if in_long_life && let Some(life) = self.lives.last_mut() {
            life.push(sample);
        }
    }

    /// Notes that a daemon is now left running.
    pub fn begin_long_life(&mut self) {
        self.lives.push(Vec::new());
    }

    /// The most of each, and how each went on, for people.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "most {}",
            in_words(&(0..3).map(|place| self.most(place)).collect::<Vec<_>>())
        )];
        let whole = [("the whole run".to_owned(), &self.samples)];
        let lives = self.lives.iter().enumerate();
        let lives = lives.map(|(number, life)| (format!("long life {}", number + 1), life));
        for (name, samples) in whole.into_iter().chain(lives) {
            if samples.len() >= ENOUGH {
                let medians = [1, 2, 3].map(|quarter| {
                    in_words(
                        &(0..3)
                            .map(|place| median(samples, quarter, place))
                            .collect::<Vec<_>>(),
                    )
                });
                lines.push(format!(
                    "{name}, medians of the second, third and last quarter: {}",
                    medians.join(" | ")
                ));
            }
        }
        lines
    }

    /// What grew.
    pub fn grown(&self) -> Vec<String> {
        let mut grown = Vec::new();
        for samples in [&self.samples].into_iter().chain(&self.lives) {
            if samples.len() < ENOUGH {
                continue;
            }
            for (place, name) in NAMES.iter().enumerate() {
                let (before, last) = (median(samples, 1, place), median(samples, 3, place));
                if last > before + SMALL[place] && last * 100 > before * GROWTH {
                    let count = samples.len();
                    grown.push(format!(
                        "{name} grew from {before} to {last} in {count} samples"
                    ));
                }
            }
        }
        grown
    }

    fn most(&self, place: usize) -> u64 {
        let values = self.samples.iter().map(|sample| sample[place]);
        values.max().unwrap_or_default()
    }
}

fn in_words(values: &[u64]) -> String {
    let parts = NAMES
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name} {value}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The median of a quarter of the samples, from 0.
fn median(samples: &[Sample], quarter: usize, place: usize) -> u64 {
    let length = samples.len() / 4;
    let from = quarter * length;
    let mut values: Vec<u64> = (samples[from..from + length].iter())
        .map(|sample| sample[place])
        .collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn sample(process: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let files = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    Some([number("VmRSS:")?, files as u64, number("Threads:")?])
}
