//! Warns where the configuration sends what a hashed field is made from in another place.

use crate::config::expressions::{CustomValue, PassedProperties};
use crate::config::mapping::EventConfig;
use crate::config::sync::SyncConfig;
use crate::config::{ConfigError, key_of};
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::map::custom_data::{self, Covers};
use crate::map::hashed_sources::{self, Cover, HashedSources};
use crate::map::rule;
use crate::normalize::field::UserDataField;

/// The section whose members are the event's own properties.
const SECTION: &str = "event_properties";

/// Warns of a sync, without the rows of its event table.
pub(super) fn of_sync(key: &str, sync: &SyncConfig, warnings: &mut Vec<ConfigError>) {
    let sources = rule::hashed_sources(sync, &sync.allow_personal_data);
    let fields = sync.mapping.custom_data.iter();
    check_fields(key, fields, &sources, warnings);
    check_properties(key, &sync.properties, &sources, warnings);
    check_memory(key, sync, &sources, warnings);
    check_ids(
        key,
        sync.mapping.original_event_data.values(),
        &sources,
        warnings,
    );
    for name in &sync.allow_personal_data {
        let all = rule::hashed_sources(sync, &[]);
        let named = all
            .iter()
            .find(|(_, path)| hashed_sources::names(name, path));
        if let Some((field, path)) = named {
            let message = format!(
                "{path} goes out in clear where it is passed on, beside its hash in user_data.{}",
                field.mapping_name()
            );
            warnings.push(ConfigError::new(
                format!("{key}.allow_personal_data"),
                message,
            ));
        }
    }
}

/// Warns of a row of the event table.
pub(super) fn of_row(
    key: &str,
    sync: &SyncConfig,
    row: &EventConfig,
    warnings: &mut Vec<ConfigError>,
) {
    let sources = rule::hashed_sources(sync, &sync.allow_personal_data);
    check_fields(key, row.mapping.custom_data.iter(), &sources, warnings);
    check_properties(key, &row.properties, &sources, warnings);
    check_ids(
        key,
        row.mapping.original_event_data.values(),
        &sources,
        warnings,
    );
    let names = row.send_as.iter().flat_map(ValueExpr::paths);
    for (path, _) in Covers::of(&sources, names).iter() {
        warnings.push(ConfigError::new(
            format!("{key}.send_as"),
            format!(
                "{}; the event keeps its own name",
                is_hashed(path, &sources)
            ),
        ));
    }
}

fn check_fields<'c>(
    key: &str,
    fields: impl Iterator<Item = (&'c String, &'c CustomValue)>,
    sources: &HashedSources,
    warnings: &mut Vec<ConfigError>,
) {
    for (name, source) in fields {
        let key = format!("{key}.custom_data.{}", key_of(&[name]));
        let covers = custom_data::covers_of(name, source, sources, true);
        for (path, cover) in covers.iter() {
            let what = match cover {
                Cover::Parts(_) => "and left out of it",
                _ => "and does not go out in clear",
            };
            let message = format!(
                "{} {what}; name {name:?} in allow_personal_data if it is meant to",
                is_hashed(path, sources)
            );
            warnings.push(ConfigError::new(&key, message));
        }
        if let CustomValue::Value(expr) = source {
            for path in expr.paths() {
                let is_covered = covers.iter().any(|(covered, _)| covered == path);
                if !is_covered && sources.cover(path) == Cover::Whole {
                    let message = format!("{} and goes out in clear too", is_hashed(path, sources));
                    warnings.push(ConfigError::new(&key, message));
                }
            }
        }
    }
}

fn check_properties(
    key: &str,
    properties: &PassedProperties,
    sources: &HashedSources,
    warnings: &mut Vec<ConfigError>,
) {
    let mut held_back: Vec<String> = Vec::new();
    for (name, (field, path)) in sources.in_section(SECTION) {
        let is_sent = match properties {
            PassedProperties::All => true,
            PassedProperties::Named(names) => names.iter().any(|own| own == name),
        };
        if is_sent {
            held_back.push(format!("{path} (user_data.{})", field.mapping_name()));
        }
    }
    if !held_back.is_empty() {
        let message = format!(
            "{} hashed and not passed on in clear; name in allow_personal_data what is meant to be",
            match &*held_back {
                [one] => format!("{one} is"),
                several => format!("{} are", several.join(", ")),
            }
        );
        warnings.push(ConfigError::new(format!("{key}.properties"), message));
    }
}

fn check_memory(
    key: &str,
    sync: &SyncConfig,
    sources: &HashedSources,
    warnings: &mut Vec<ConfigError>,
) {
    let Some(memory) = &sync.user_memory else {
        return;
    };
    for (name, (field, path)) in sources.in_section("user_properties") {
        if memory.keep_as_is.iter().any(|kept| kept == name) {
            let message = format!(
                "{path} is hashed as user_data.{}, and lies on disk in clear by this",
                field.mapping_name()
            );
            warnings.push(ConfigError::new(
                format!("{key}.user_memory.keep_as_is"),
                message,
            ));
        }
    }
}

fn check_ids<'e>(
    key: &str,
    exprs: impl Iterator<Item = &'e ValueExpr>,
    sources: &HashedSources,
    warnings: &mut Vec<ConfigError>,
) {
    let paths = exprs.flat_map(ValueExpr::paths);
    for (path, _) in Covers::of(&sources.of_traits(), paths).iter() {
        let message = format!("{} and does not go out in clear", is_hashed(path, sources));
        warnings.push(ConfigError::new(
            format!("{key}.original_event_data"),
            message,
        ));
    }
}

fn is_hashed(path: &Path, sources: &HashedSources) -> String {
    let touched: Vec<&(UserDataField, Path)> = sources.touched_by(path).collect();
    let fields: Vec<String> = touched
        .iter()
        .map(|(field, _)| format!("user_data.{}", field.mapping_name()))
        .collect();
    match &*touched {
        [] => format!("{path} is hashed in user_data"),
        [(_, source), ..] if source.steps().len() > path.steps().len() => {
            format!(
                "{path} holds {source}, which is hashed as {}",
                fields.join(", ")
            )
        }
        _ => format!("{path} is hashed as {}", fields.join(", ")),
    }
}
