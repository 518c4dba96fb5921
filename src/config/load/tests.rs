//! What is written, and what it comes to mean: layers, traps, and every kind of error.

use super::*;

mod consent;
mod layers;
mod meaning;
mod errors;
mod values;

/// The least that loads.
const LEAST: &str = "[ingest]\nsecret = 's'\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n\
    consent = 'not_required'\n";

fn variables_of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads what follows the least that loads; its first lines stand in `[sync.web]`.
#[track_caller]
fn loaded(more: &str) -> Config {
    from_toml(&format!("{LEAST}{more}"), &[]).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[track_caller]
fn sync(more: &str) -> SyncConfig {
    let mut config = loaded(more);
    config.syncs.remove(&SyncName::new("web").unwrap()).unwrap()
}

/// The errors in what follows the least that loads, a line each.
#[track_caller]
fn errors(more: &str) -> String {
    errors_in(&format!("{LEAST}{more}"), &[])
}

#[track_caller]
fn errors_in(text: &str, environment: &[(&str, &str)]) -> String {
    let errors = from_toml(text, &variables_of(environment)).unwrap_err();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The warnings of what is written, a line each.
fn warnings_in(text: &str, environment: &[(&str, &str)]) -> String {
    let written = RawConfig {
        text: text.to_owned(),
        file: PathBuf::from(DEFAULT_FILE),
        environment: variables_of(environment),
    };
    let warnings = match written.load() {
        Ok(loaded) => loaded.warnings,
        Err(unusable) => unusable.warnings,
    };
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
