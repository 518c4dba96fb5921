//! Lays the environment over the file, with the `config` crate.
//!
//! That crate reads a top-level key as a path, and applies overrides in any order. So the whole file
//! stands under one key, and variables that contradict each other are refused first. A value stays a
//! text, or becomes a list of texts.

use std::collections::BTreeMap;

use config::Value;

use crate::config::ConfigError;
use crate::config::node::{ENVIRONMENT, LoadContext, toml_values};

/// The start of every variable's name.
const PREFIX: &str = "PIXEL_RELAY";

/// What separates the levels of a key in the name of a variable.
const SEPARATOR: &str = "__";

/// The prefix in lower case; the key under which the file stands.
const ROOT: &str = "pixel_relay";

/// The variables that name a key, by its levels: each with its name and its value.
type Variables<'e> = BTreeMap<Vec<String>, (&'e str, &'e str)>;

/// Lays the variables over the file, or says why the file is not TOML.
pub(super) fn merged(
    text: &str,
    environment: &[(String, String)],
    context: &LoadContext,
) -> Result<Value, String> {
    let variables = variables(environment, context);
    if let Err(error) = text.parse::<toml::Table>() {
        return Err(describe(&error, text));
    }
    lay(text, &variables).map_err(|error| error.to_string())
}

/// Keeps the variables that name a key, and notes those that cannot.
fn variables<'e>(environment: &'e [(String, String)], context: &LoadContext) -> Variables<'e> {
    let mut kept = Variables::new();
    let mut sorted: Vec<&(String, String)> = environment.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        let lower = name.to_ascii_lowercase();
        let Some(behind) = lower.strip_prefix(ROOT) else {
            continue;
        };
        let Some(key) = behind.strip_prefix(SEPARATOR) else {
            if behind.starts_with('_') && behind.contains(SEPARATOR) {
                let message = format!(
                    "not the name of a key, expected two underscores behind {PREFIX}, as between all levels"
                );
                context.note(ConfigError::new(name, message));
            }
            continue;
        };
        // An empty variable counts as unset.
        if value.is_empty() {
            continue;
        }
        let levels: Vec<String> = key.split(SEPARATOR).map(str::to_owned).collect();
        if let Some(message) = refuse_variable(&levels, &kept) {
            context.note(ConfigError::new(name, message));
        } else {
            kept.insert(levels, (name, value));
        }
    }
    kept
}

/// Why a variable cannot be taken, if so.
fn refuse_variable(levels: &[String], others: &Variables<'_>) -> Option<String> {
    let names_a_key = |level: &String| {
        !level.is_empty()
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !levels.iter().all(names_a_key) {
        return Some(format!(
            "not the name of a key, expected letters, digits and underscores, as in {PREFIX}__SERVER__LISTEN"
        ));
    }
    if let ["sync", _, table @ ("events" | "test"), ..] =
        levels.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        return Some(format!(
            "the `{table}` of a sync cannot come from the environment, which does not keep upper case; write \
             it in the file"
        ));
    }
    others
        .iter()
        .find(|(other, _)| levels.starts_with(other) || other.starts_with(levels))
        .map(|(_, (name, _))| format!("contradicts {name}, expected one of the two"))
}

fn lay(text: &str, variables: &Variables<'_>) -> Result<Value, config::ConfigError> {
    let file = Value::new(None, toml_values(text)?);
    let mut layers = config::Config::builder().set_default(ROOT, file)?;
    let origin = ENVIRONMENT.to_owned();
    for (levels, (_, text)) in variables {
        let key = format!("{ROOT}.{}", levels.join("."));
        let value = match list_of_texts(text) {
            Some(items) => Value::new(Some(&origin), items),
            None => Value::new(Some(&origin), *text),
        };
        layers = layers.set_override(key, value)?;
    }
    let merged = layers.build()?.get_table(ROOT)?;
    Ok(Value::new(None, merged))
}

/// A list written as in TOML: `["a", "b"]`.
fn list_of_texts(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let origin = ENVIRONMENT.to_owned();
    let table: toml::Table = format!("list = {text}").parse().ok()?;
    let items = table.get("list")?.as_array()?;
    items
        .iter()
        .map(|item| Some(Value::new(Some(&origin), item.as_str()?)))
        .collect()
}

/// Says where a text is not TOML, without repeating any of it: a secret may stand there.
fn describe(error: &toml::de::Error, text: &str) -> String {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    // Only this message repeats the value.
    let message = match error.message() {
        message if message.starts_with("invalid type: ") => "a number out of range",
        message => message,
    };
    format!("not TOML, line {line}: {message}")
}
