//! What the daemon takes of its host: memory, descriptors, threads.

use std::fs;

/// How many per cent of the first quarter of a run the last may take: the window of duplicates fills.
const GROWTH: u64 = 160;
/// Less than this is no growth.
const SMALL: [u64; 3] = [128 * 1024, 200, 40];
/// Fewer samples say nothing of a trend.
const ENOUGH: usize = 40;
const NAMES: [&str; 3] = ["resident kB", "descriptors", "threads"];

/// Samples, in order.
#[derive(Default)]
pub struct Watch(Vec<[u64; 3]>);

impl Watch {
    /// Looks at a process, if it is there.
    pub fn look_at(&mut self, process: u32) {
        let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else {
            return;
        };
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
        if let (Some(resident), Some(threads)) = (number("VmRSS:"), number("Threads:")) {
            self.0.push([resident, files as u64, threads]);
        }
    }

    /// The most of each, for people.
    pub fn most(&self) -> String {
        let most = most(&self.0);
        let parts = NAMES
            .iter()
            .zip(most)
            .map(|(name, most)| format!("{name} {most}"));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// What grew.
    pub fn grown(&self) -> Vec<String> {
        let quarter = self.0.len() / 4;
        if self.0.len() < ENOUGH {
            return Vec::new();
        }
        let (first, last) = (
            most(&self.0[..quarter]),
            most(&self.0[self.0.len() - quarter..]),
        );
        (0..NAMES.len())
            .filter(|place| {
                let (first, last) = (first[*place], last[*place]);
                last > SMALL[*place] && last * 100 > first * GROWTH
            })
            .map(|place| {
                let (name, first, last) = (NAMES[place], first[place], last[place]);
                format!("{name} grew from {first} to {last}")
            })
            .collect()
    }
}

fn most(samples: &[[u64; 3]]) -> [u64; 3] {
    let mut most = [0; 3];
    for sample in samples {
        for (most, value) in most.iter_mut().zip(sample) {
            *most = (*most).max(*value);
        }
    }
    most
}
