//! Lays the environment over the file, with the `config` crate.
//!
//! Three things keep that crate's habits from doing harm: each layer stands under one root key, so
//! that no key of the file is taken for a path; the variables are looked through first, since it
//! lower-cases their names and applies them in no certain order; and it never parses their values.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use config::{ConfigError as LayerError, Environment, Source, Value, ValueKind};

use crate::config::ConfigError;
use crate::config::node::{ENVIRONMENT, LoadContext, toml_values};

/// What the name of every variable begins with.
const PREFIX: &str = "PIXEL_RELAY";

/// What separates the levels of a key in the name of a variable.
const SEPARATOR: &str = "__";

/// The key under which every layer stands: the prefix, as the `config` crate writes it.
const LAYER: &str = "pixel_relay";

/// Lays the layers over one another, or says why there is no TOML to read.
pub(super) fn merged(
    text: &str,
    environment: &[(String, String)],
    context: &LoadContext,
) -> Result<Value, String> {
    let variables = variables(environment, context);
    let file = text
        .parse::<toml::Table>()
        .map_err(|error| describe(&error, text))
        .and_then(|_| Layer::of_toml(text).map_err(|error| error.to_string()))?;
    Layer::of_environment(variables)
        .and_then(|environment| lay([file, environment]))
        .map_err(|error| error.to_string())
}

/// Looks through the variables: keeps those that name a key, and notes those that cannot.
fn variables(environment: &[(String, String)], context: &LoadContext) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut names: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    let mut sorted: Vec<&(String, String)> = environment.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        let lower = name.to_ascii_lowercase();
        let Some(behind) = lower.strip_prefix(LAYER) else {
            continue;
        };
        let Some(key) = behind.strip_prefix(SEPARATOR) else {
            if behind.starts_with('_') && behind.contains(SEPARATOR) {
                let message = format!(
                    "not the name of a key, expected two underscores behind {PREFIX}, as between all levels"
                );
                context.note(ConfigError::new(name.clone(), message));
            }
            continue;
        };
        // An empty variable counts as unset.
        if value.is_empty() {
            continue;
        }
        let levels: Vec<String> = key.split(SEPARATOR).map(str::to_owned).collect();
        if let Some(message) = refuse_variable(&levels, &names) {
            context.note(ConfigError::new(name.clone(), message));
            continue;
        }
        names.insert(levels, name);
        kept.insert(name.clone(), value.clone());
    }
    kept
}

/// Why a variable cannot be taken, if so.
fn refuse_variable(levels: &[String], others: &BTreeMap<Vec<String>, &str>) -> Option<String> {
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
        .map(|(_, name)| format!("contradicts {name}, expected one of the two"))
}

fn lay<const LAYERS: usize>(layers: [Layer; LAYERS]) -> Result<Value, LayerError> {
    let merged = layers
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| {
            builder.add_source(layer)
        })
        .build()?;
    Ok(Value::new(None, merged.get_table(LAYER)?))
}

/// One layer, under [`LAYER`].
#[derive(Clone)]
struct Layer(HashMap<String, Value>);

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its values may be secrets.
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}

impl Layer {
    /// Puts the text's table under one key, below which the `config` crate takes keys as they are.
    fn of_toml(text: &str) -> Result<Self, LayerError> {
        let table = Value::new(None, toml_values(text)?);
        Ok(Self(HashMap::from([(LAYER.to_owned(), table)])))
    }

    /// Takes variables as texts, and lists of texts where they are written as such.
    fn of_environment(variables: BTreeMap<String, String>) -> Result<Self, LayerError> {
        let values = Environment::with_prefix(PREFIX)
            .keep_prefix(true)
            .separator(SEPARATOR)
            .source(Some(variables.into_iter().collect()))
            .collect()?;
        let values = values.into_iter().map(|(name, value)| {
            let list = match &value.kind {
                ValueKind::String(text) => list_of_texts(text),
                _ => None,
            };
            let list = list.map(|items| Value::new(Some(&ENVIRONMENT.to_owned()), items));
            (name, list.unwrap_or(value))
        });
        Ok(Self(values.collect()))
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, LayerError> {
        Ok(self.0.clone())
    }
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
    // This complaint alone repeats the value.
    let message = match error.message() {
        message if message.starts_with("invalid type: ") => "a number out of range",
        message => message,
    };
    format!("not TOML, line {line}: {message}")
}
