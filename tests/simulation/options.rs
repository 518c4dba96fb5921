//! The options on the command line.
//!
//! This program is also started as one test binary among others, so it understands the test harness's arguments
//! well enough to stay out of the way: a filter that does not name it, `--list`.

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// One seed alone, with its trace.
    pub replays: bool,
    /// All seeds are run, and those that fail are named in a line each.
    pub goes_on: bool,
    /// Only a seed that breaks this promise counts.
    pub promise: Option<String>,
    /// Seeds that run at the same time.
    pub threads: usize,
}

const NAME: &str = "simulation";
/// What is run where nothing is said. Without optimisation a seed takes many times as long.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 2000 };
/// Arguments of the test harness that are followed by a value.
const WITH_VALUE: [&str; 5] = [
    "--color",
    "--format",
    "--logfile",
    "--shuffle-seed",
    "--test-threads",
];

/// Reads the arguments; `None` if they ask for other tests only.
pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        from: 1,
        seeds: SEEDS,
        replays: false,
        goes_on: false,
        promise: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut filters = Vec::new();
    let mut listing = false;
    let mut skipped = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => options.seeds = number(&argument, arguments.next())?,
            "--from" => options.from = number(&argument, arguments.next())?,
            "--threads" => options.threads = number(&argument, arguments.next())?,
            "--seed" => {
                options.from = number(&argument, arguments.next())?;
                options.seeds = 1;
                options.replays = true;
            }
            "--promise" => options.promise = arguments.next(),
            "--keep-going" => options.goes_on = true,
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
