//! Makes a [`Config`] from what was written: defaults, then the file, then the environment.
//!
//! This is the only module that sees the environment, and only [`process_environment`] asks the
//! process for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use config::{Value, ValueKind};

use crate::config::node::{LoadContext, Node};
use crate::config::print::Page;
use crate::config::schema::{Codec, KnownTable, Table};
use crate::config::server::{self, ServerConfig};
use crate::config::sync::{SyncConfig, syncs};
use crate::config::{Config, ConfigError, SyncName, layers, sections};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "PIXEL_RELAY_CONFIG";

/// The file that is taken where none is named.
const DEFAULT_FILE: &str = "pixel-relay.toml";

/// Where the configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file that the command line names. `None`: the one that `PIXEL_RELAY_CONFIG` names, else
    /// `pixel-relay.toml` in the working folder, if it is there.
    pub file: Option<PathBuf>,
    /// The variables of the environment.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Sources")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What is allowed, and may still not be meant.
    pub warnings: Vec<ConfigError>,
}

/// A configuration that holds errors, and what could be read of it nevertheless.
#[derive(Debug, Default)]
pub struct Unusable {
    /// Every error in what was written.
    pub errors: Vec<ConfigError>,
    /// What is allowed, and may still not be meant.
    pub warnings: Vec<ConfigError>,
    /// The syncs, so that their rules can be looked through too. What could not be read in them is
    /// made up: nothing may run by them.
    pub syncs: BTreeMap<SyncName, SyncConfig>,
}

impl From<Vec<ConfigError>> for Unusable {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }
}

/// Loads the configuration, or reports every error in it.
pub fn load(sources: Sources) -> Result<Loaded, Unusable> {
    RawConfig::find(sources)?.load()
}

/// Loads the configuration from the text of a file and the variables of an environment.
pub fn from_toml(text: &str, environment: &[(String, String)]) -> Result<Config, Vec<ConfigError>> {
    let written = RawConfig {
        text: text.to_owned(),
        file: PathBuf::from(DEFAULT_FILE),
        environment: environment.to_vec(),
    };
    match written.load() {
        Ok(loaded) => Ok(loaded.config),
        Err(unusable) => Err(unusable.errors),
    }
}

/// Finds the address of the public listener, whatever else may be wrong: for a command that only
/// has to reach it.
pub fn listen_address(sources: &Sources) -> Result<SocketAddr, Vec<ConfigError>> {
    let listen = Codec::unprinted("a table", |server| {
        let table = KnownTable::open(server, ServerConfig::section().keys)?;
        (server::address().read)(&table, "listen")
    });
    let (address, context) = RawConfig::find(sources.clone())?.read(|root| {
        let table = KnownTable::open(root, Config::section().keys)?;
        (listen.read)(&table, "server")
    });
    address.ok_or_else(|| context.errors.into_inner())
}

/// Writes all that is in force as TOML, with secrets redacted. Rule tests are left out.
pub fn effective(config: &Config) -> String {
    let mut page = Page::default();
    config.print(&mut page);
    page.to_text().trim_start().to_owned()
}

/// The environment of this process. A value that is not Unicode is taken with replacement
/// characters, which no key accepts where it matters.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the process for its environment"
)]
pub fn process_environment() -> Vec<(String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn choose_file(sources: &Sources, default_is_there: bool) -> Option<PathBuf> {
    let mut variables = sources.environment.iter();
    let variable = variables.find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
    let named_by_variable = variable.map(|(_, file)| PathBuf::from(file));
    let default = default_is_there.then(|| PathBuf::from(DEFAULT_FILE));
    sources.file.clone().or(named_by_variable).or(default)
}

/// What was written, before it is understood. It holds secrets, so it cannot be shown.
struct RawConfig {
    text: String,
    file: PathBuf,
    environment: Vec<(String, String)>,
}

impl RawConfig {
    fn find(sources: Sources) -> Result<Self, Vec<ConfigError>> {
        let file = choose_file(&sources, Path::new(DEFAULT_FILE).is_file());
        let text = file
            .as_ref()
            .map_or_else(|| Ok(String::new()), fs::read_to_string);
        let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match text {
            Ok(text) => Ok(Self {
                text,
                file,
                environment: sources.environment,
            }),
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                Err(vec![ConfigError::new(file.display().to_string(), message)])
            }
        }
    }

    fn load(&self) -> Result<Loaded, Unusable> {
        let (config, context) = self.read(Config::read_node);
        let errors = context.errors.into_inner();
        let warnings = context.warnings.into_inner();
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(Unusable {
                errors,
                warnings,
                syncs: self.syncs().unwrap_or_default(),
            }),
        }
    }

    /// The syncs, as far as they can be read.
    fn syncs(&self) -> Option<BTreeMap<SyncName, SyncConfig>> {
        let (syncs, _) = self.read(|root| {
            let table = KnownTable::open(root, Config::section().keys)?;
            (syncs().read)(&table, "sync")
        });
        syncs
    }

    /// Reads from the layers, laid over one another; notes what is wrong on the way.
    fn read<T>(&self, read: impl FnOnce(&Node<'_>) -> Option<T>) -> (Option<T>, LoadContext) {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let mut context = LoadContext {
            folder: folder.to_owned(),
            homes: sections::homes(),
            ..LoadContext::default()
        };
        let found = match layers::merged(&self.text, &self.environment, &context) {
            Ok(root) => {
                context.syncs = names_of_syncs(&root);
                read(&Node::new(String::new(), &root, &context))
            }
            Err(message) => {
                context.note(ConfigError::new(self.file.display().to_string(), message));
                None
            }
        };
        (found, context)
    }
}

fn names_of_syncs(root: &Value) -> Vec<SyncName> {
    if let ValueKind::Table(root) = &root.kind
        && let Some(ValueKind::Table(syncs)) = root.get("sync").map(|syncs| &syncs.kind)
    {
        return syncs
            .keys()
            .filter_map(|name| SyncName::new(name))
            .collect();
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
