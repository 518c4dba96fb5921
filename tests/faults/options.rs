//! The options on the command line.
//!
//! This program is also started as one test binary among others, so it understands the test
//! harness's arguments well enough to stay out of the way: a filter that does not name it, `--list`.

/// The kinds, as filters name them.
const KINDS: [&str; 4] = ["calls", "cuts", "damage", "silent"];
/// Arguments of the test harness that are followed by a value.
const WITH_VALUE: [&str; 6] = [
    "--color",
    "--format",
    "--logfile",
    "--shuffle-seed",
    "--test-threads",
    "-Z",
];

/// The options of a run.
pub struct Options {
    /// How many cases of each kind; `None`: a short run.
    pub cases: Option<usize>,
    /// Decides every choice.
    pub seed: u64,
    /// Only this case.
    pub only: Option<usize>,
    kinds: Vec<&'static str>,
}

impl Options {
    /// Asks for so many cases, by another seed.
    pub fn part(&self, seed: u64, cases: usize) -> Self {
        Self {
            cases: Some(cases),
            seed,
            only: self.only,
            kinds: self.kinds.clone(),
        }
    }

    pub fn wants(&self, kind: &str) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Reads the arguments; `None` if they ask for other tests only.
pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        cases: None,
        seed: 1,
        only: None,
        kinds: KINDS.to_vec(),
    };
    let mut filters: Vec<String> = Vec::new();
    let mut listing = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--cases" => options.cases = Some(value(&argument, arguments.next())?),
            "--seed" => options.seed = value(&argument, arguments.next())?,
            "--only" => options.only = Some(value(&argument, arguments.next())?),
            "--list" => listing = true,
            "--skip" => {
                if let Some(name) = arguments.next() {
                    options
                        .kinds
                        .retain(|kind| !full_name(kind).contains(&name));
                }
            }
            known if WITH_VALUE.contains(&known) => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    if !filters.is_empty() {
        let is_named = |kind: &&str| {
            let name = full_name(kind);
            filters.iter().any(|filter| name.contains(filter.as_str()))
        };
        options.kinds.retain(is_named);
    }
    if listing {
        for kind in &options.kinds {
            println!("{}: test", full_name(kind));
        }
        return Ok(None);
    }
    Ok((!options.kinds.is_empty()).then_some(options))
}

fn full_name(kind: &str) -> String {
    format!("faults::{kind}")
}

fn value<T: std::str::FromStr>(name: &str, given: Option<String>) -> Result<T, String> {
    given
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{name} needs a whole number"))
}
