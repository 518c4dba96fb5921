//! The options on the command line.
//!
//! This program is also started as one test binary among others, so it understands the test
//! harness's arguments well enough to stay out of the way: a filter that does not name it, `--list`.

use std::time::Duration;

/// The options of a run.
#[derive(Clone, Copy)]
pub struct Options {
    /// How long faults are caused.
    pub length: Duration,
    /// Decides every choice.
    pub seed: u64,
    /// Whether the clock is wrong at times.
    pub clock: bool,
}

const NAME: &str = "torture";
const SHORT: Duration = Duration::from_secs(20);
/// A run of this length has time for daemons that live for minutes.
const SOAK: Duration = Duration::from_secs(600);
const LONGEST_MINUTES: u64 = 24 * 60;
/// Arguments of the test harness that are followed by a value.
const WITH_VALUE: [&str; 6] = [
    "--color",
    "--format",
    "--logfile",
    "--shuffle-seed",
    "--test-threads",
    "-Z",
];

impl Options {
    /// Whether some daemons are left running for long, to see whether they grow.
    pub fn is_soak(&self) -> bool {
        self.length >= SOAK
    }

    /// How long the queue may take to drain once everything is healed.
    pub fn patience(&self) -> Duration {
        // A wait that a wrong clock has stored begins anew.
        Duration::from_secs(if self.length > SHORT || self.clock {
            300
        } else {
            60
        })
    }
}

/// Reads the arguments; `None` if they ask for other tests only.
pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        length: SHORT,
        seed: 1,
        clock: false,
    };
    let mut filters = Vec::new();
    let mut listing = false;
    let mut skipped = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--minutes" => {
                let minutes: u64 = number(&argument, arguments.next())?;
                if !(1..=LONGEST_MINUTES).contains(&minutes) {
                    return Err(format!("--minutes is between 1 and {LONGEST_MINUTES}"));
                }
                options.length = Duration::from_secs(minutes * 60);
            }
            "--seed" => options.seed = number(&argument, arguments.next())?,
            "--clock" => options.clock = true,
            "--list" => listing = true,
            "--skip" => skipped |= arguments.next().is_some_and(|name| NAME.contains(&name)),
            value if WITH_VALUE.contains(&value) => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    if listing {
        println!("{NAME}: test");
        return Ok(None);
    }
    let wanted = filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str()));
    Ok((wanted && !skipped).then_some(options))
}

fn number<T: std::str::FromStr>(name: &str, value: Option<String>) -> Result<T, String> {
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| format!("{name} needs a whole number"))
}
