//! Makes a [`Config`] from what was written: defaults, then the file, then the environment.
//!
//! The `config` crate lays the layers over one another; `values` and its siblings read the result
//! and report every mistake at once. Three things keep that crate's habits from doing harm: each
//! layer stands under one root key, so that no key of the file is taken for a path; the variables
//! are looked through first, since it lower-cases their names and applies them in no certain order;
//! and it never parses their values.
//!
//! This is the only module that sees the environment, and only [`process_environment`] asks the
//! process for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{ConfigError as LayerError, Environment, File, FileFormat, Source, Value, ValueKind};

use crate::clock::UnixMillis;
use crate::config::delivery::MetaConfig;
use crate::config::effective;
use crate::config::ingest::IngestConfig;
use crate::config::keys::sync::{DELIVERY, LIMITED_DATA_USE, SYNC, USER_DATA, USER_MEMORY};
use crate::config::keys::{ROOT, STAGES, Section};
use crate::config::names::quoted;
use crate::config::queue::QueueConfig;
use crate::config::server::{AdminConfig, LogConfig, ServerConfig};
use crate::config::sync::SyncConfig;
use crate::config::units::format_size;
use crate::config::values::{ConfigErrors, ENVIRONMENT, KnownTable, Node};
use crate::config::{
    Config, ConfigError, SyncName, graph_versions, placeholders, stages, sync, warnings,
};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "PIXEL_RELAY_CONFIG";

/// The file that is taken where none is named.
const DEFAULT_FILE: &str = "pixel-relay.toml";

/// What the name of every variable begins with.
const PREFIX: &str = "PIXEL_RELAY";

/// What separates the levels of a key in the name of a variable.
const SEPARATOR: &str = "__";

/// The key under which every layer stands: the prefix, as the `config` crate writes it.
const LAYER: &str = "pixel_relay";

/// Where the configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file that the command line names. `None`: the one that `PIXEL_RELAY_CONFIG` names, else
    /// `pixel-relay.toml` in the working folder, if it is there.
    pub file: Option<PathBuf>,
    /// The variables of the environment.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The named file, and the environment of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: process_environment(),
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Sources")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A configuration that holds no mistake.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What is allowed, and may still not be meant.
    pub warnings: Vec<ConfigError>,
}

/// A configuration that holds mistakes, and what could be read of it nevertheless.
#[derive(Debug, Default)]
pub struct Unusable {
    /// Every mistake in what was written.
    pub mistakes: Vec<ConfigError>,
    /// What is allowed, and may still not be meant.
    pub warnings: Vec<ConfigError>,
    /// The syncs, so that their rules can be looked through too. What could not be read in them is
    /// made up: nothing may run by them.
    pub syncs: BTreeMap<SyncName, SyncConfig>,
}

impl From<Vec<ConfigError>> for Unusable {
    fn from(mistakes: Vec<ConfigError>) -> Self {
        Self {
            mistakes,
            ..Self::default()
        }
    }
}

/// Loads the configuration, or reports every mistake in it.
pub fn load(sources: Sources) -> Result<Loaded, Unusable> {
    let (parts, mistakes) = RawConfig::find(sources)?.parts();
    let warnings = parts.warnings();
    let syncs = parts.syncs.clone();
    match parts.whole() {
        Some(config) if mistakes.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(Unusable {
            mistakes,
            warnings,
            syncs: syncs.unwrap_or_default(),
        }),
    }
}

/// Loads the configuration from the text of a file and the variables of an environment.
pub fn from_toml(text: &str, environment: &[(String, String)]) -> Result<Config, Vec<ConfigError>> {
    let written = RawConfig {
        text: text.to_owned(),
        file: PathBuf::from(DEFAULT_FILE),
        environment: environment.to_vec(),
    };
    match written.parts() {
        (parts, mistakes) if mistakes.is_empty() => parts.whole().ok_or(mistakes),
        (_, mistakes) => Err(mistakes),
    }
}

/// What speaks against sending by a configuration, though it can be loaded and tried.
pub fn unfit_to_send(config: &Config) -> Vec<ConfigError> {
    placeholders::mistakes(config)
}

/// What will speak, or speaks already, against a configuration at this moment.
pub fn outdated(config: &Config, now: UnixMillis) -> Option<ConfigError> {
    graph_versions::warning(&config.meta.api_version, now)
}

/// Finds the address of the public listener, whatever else may be wrong: for a command that only
/// has to reach it.
pub fn listen_address(sources: &Sources) -> Result<SocketAddr, Vec<ConfigError>> {
    let (address, mistakes) = RawConfig::find(sources.clone())?.read(|root| {
        root.require("server")
            .and_then(|node| stages::listen(&node))
    });
    address.ok_or(mistakes)
}

/// Writes all that is in force as TOML, with secrets redacted. Rule tests are left out.
pub fn effective(config: &Config) -> String {
    effective::to_toml(config)
}

/// The environment of this process. A value that is not Unicode is taken with replacement
/// characters, which no key accepts where it matters.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the process for its environment"
)]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

fn choose_file(sources: &Sources, default_is_there: bool) -> Option<PathBuf> {
    let named_by_variable = || {
        sources
            .environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value))
    };
    let default = || default_is_there.then(|| PathBuf::from(DEFAULT_FILE));
    sources
        .file
        .clone()
        .or_else(named_by_variable)
        .or_else(default)
}

/// What was written, before it is understood. It holds secrets, so it cannot be shown.
struct RawConfig {
    text: String,
    file: PathBuf,
    environment: Vec<(String, String)>,
}

impl RawConfig {
    fn find(sources: Sources) -> Result<Self, Vec<ConfigError>> {
        let default_is_there = Path::new(DEFAULT_FILE).is_file();
        let (file, text) = match choose_file(&sources, default_is_there) {
            Some(file) => {
                let text = std::fs::read_to_string(&file);
                (file, text)
            }
            None => (PathBuf::from(DEFAULT_FILE), Ok(String::new())),
        };
        match text {
            Ok(text) => Ok(Self {
                text,
                file,
                environment: sources.environment,
            }),
            Err(error) => Err(vec![ConfigError::new(
                file.display().to_string(),
                format!("the file cannot be read: {error}"),
            )]),
        }
    }

    fn parts(&self) -> (LoadedTables, Vec<ConfigError>) {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let (parts, mut mistakes) = self.read(|root| Some(LoadedTables::read(root, folder)));
        let parts = parts.unwrap_or_default();
        mistakes.extend(parts.too_large_memories());
        (parts, mistakes)
    }

    /// Lays the layers over one another and reads from the result; gives the mistakes on the way.
    fn read<T>(
        &self,
        read: impl FnOnce(&KnownTable<'_>) -> Option<T>,
    ) -> (Option<T>, Vec<ConfigError>) {
        let mistakes = ConfigErrors::default();
        let variables = variables(&self.environment, &mistakes);
        let merged = match self.text.parse::<toml::Table>() {
            Ok(_) => merge(&self.text, variables).map_err(|error| error.to_string()),
            Err(error) => Err(describe(&error, &self.text)),
        };
        let found = match merged {
            Ok(value) => Node::root(&value, &mistakes)
                .table(&ROOT)
                .and_then(|root| read(&root)),
            Err(message) => {
                mistakes.push(ConfigError::new(self.file.display().to_string(), message));
                None
            }
        };
        (found, mistakes.into_inner())
    }
}

/// What could be read, table by table.
#[derive(Default)]
struct LoadedTables {
    server: Option<ServerConfig>,
    log: Option<LogConfig>,
    admin: Option<AdminConfig>,
    ingest: Option<IngestConfig>,
    queue: Option<QueueConfig>,
    meta: Option<MetaConfig>,
    syncs: Option<BTreeMap<SyncName, SyncConfig>>,
}

impl LoadedTables {
    fn read(table: &KnownTable<'_>, folder: &Path) -> Self {
        let names = table
            .get("sync")
            .map_or_else(Vec::new, |node| sync::names(&node));
        Self {
            server: table
                .require("server")
                .and_then(|node| stages::server(&node)),
            log: table.require("log").and_then(|node| stages::log(&node)),
            admin: table.require("admin").and_then(|node| stages::admin(&node)),
            ingest: table
                .require("ingest")
                .and_then(|node| stages::ingest(&node, &names)),
            queue: table.require("queue").and_then(|node| stages::queue(&node)),
            meta: table.require("meta").and_then(|node| stages::meta(&node)),
            syncs: table
                .require("sync")
                .and_then(|node| sync::all(&node, folder)),
        }
    }

    /// What is remembered of people must leave the store to events.
    fn too_large_memories(&self) -> Vec<ConfigError> {
        let Some((queue, syncs)) = self.queue.as_ref().zip(self.syncs.as_ref()) else {
            return Vec::new();
        };
        let most = queue.max_bytes.get() / 4;
        let memories = syncs
            .iter()
            .filter_map(|(name, sync)| Some((name, sync.user_memory.as_ref()?.max_bytes)));
        let sum = memories
            .clone()
            .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
        if sum <= most {
            return Vec::new();
        }
        memories
            .map(|(name, bytes)| {
                ConfigError::new(
                    format!("sync.{name}.user_memory.max_bytes"),
                    format!(
                        "found {}, {} with those of all syncs, expected at most a quarter of \
                         queue.max_bytes together: {}",
                        format_size(bytes),
                        format_size(sum),
                        format_size(most)
                    ),
                )
            })
            .collect()
    }

    fn warnings(&self) -> Vec<ConfigError> {
        let mut warnings = Vec::new();
        if let Some(admin) = &self.admin {
            warnings::admin(admin, &mut warnings);
        }
        if let Some(ingest) = &self.ingest {
            warnings::ingest(ingest, &mut warnings);
        }
        if let Some(queue) = &self.queue {
            warnings::queue(queue, &mut warnings);
        }
        if let Some(syncs) = &self.syncs {
            warnings::syncs(syncs, &mut warnings);
        }
        if let (Some(ingest), Some(syncs)) = (&self.ingest, &self.syncs) {
            warnings::consent(ingest, syncs, &mut warnings);
        }
        warnings
    }

    fn whole(self) -> Option<Config> {
        Some(Config {
            server: self.server?,
            log: self.log?,
            admin: self.admin?,
            ingest: self.ingest?,
            queue: self.queue?,
            meta: self.meta?,
            syncs: self.syncs?,
        })
    }
}

/// Looks through the variables: keeps those that name a key, and notes those that cannot.
fn variables(
    environment: &[(String, String)],
    mistakes: &ConfigErrors,
) -> BTreeMap<String, String> {
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
                mistakes.push(ConfigError::new(name.clone(), message));
            }
            continue;
        };
        // An empty variable counts as unset.
        if value.is_empty() {
            continue;
        }
        let levels: Vec<String> = key.split(SEPARATOR).map(str::to_owned).collect();
        if let Some(message) = refuse_variable(&levels, &names) {
            mistakes.push(ConfigError::new(name.clone(), message));
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

/// Lays the layers over one another.
fn merge(text: &str, variables: BTreeMap<String, String>) -> Result<Value, LayerError> {
    let file = Layer::of_toml(text)?;
    let environment = Layer::of_environment(variables)?;
    // The defaults of a sync can only be laid below it once its name is known.
    let written = lay([file.clone(), environment.clone()])?;
    let defaults = Layer::of_toml(&defaults(&written))?;
    lay([defaults, file, environment])
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
        let table = Value::new(None, File::from_str(text, FileFormat::Toml).collect()?);
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

/// The defaults of every table that is there, as TOML.
fn defaults(written: &Value) -> String {
    let mut tables = Vec::new();
    let mut add = |name: &str, section: &Section| {
        tables.push(format!("[{name}]\n{}", section.defaults()));
    };
    for section in STAGES {
        add(section.name, section);
    }
    let ValueKind::Table(root) = &written.kind else {
        return tables.concat();
    };
    let Some(ValueKind::Table(syncs)) = root.get("sync").map(|syncs| &syncs.kind) else {
        return tables.concat();
    };
    let syncs: BTreeMap<&String, &Value> = syncs.iter().collect();
    for (name, sync) in syncs {
        let ValueKind::Table(sync) = &sync.kind else {
            continue;
        };
        let table = format!("sync.{}", quoted(name));
        add(&table, &SYNC);
        add(&format!("{table}.user_data"), &USER_DATA);
        add(&format!("{table}.limited_data_use"), &LIMITED_DATA_USE);
        add(&format!("{table}.delivery"), &DELIVERY);
        if sync.contains_key("user_memory") {
            add(&format!("{table}.user_memory"), &USER_MEMORY);
        }
    }
    tables.concat()
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

#[cfg(test)]
mod tests;
