//! Warns where the configuration sends what a hashed field is made from in another place.

use crate::config::expressions::{CustomValue, PassedProperties};
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::map::custom_data::{self, Covers};
use crate::map::hashed_sources::{self, Cover, HashedSources};
use crate::map::rule;
use crate::normalize::field::UserDataField;

use super::{Rules, field_key};

/// The section whose members are the event's own properties.
const SECTION: &str = "event_properties";

/// Warns of the rules of a sync, or of a row.
pub(super) fn warn_of_rules(rules: &mut Rules<'_>, sources: &HashedSources) {
    warn_of_fields(rules, sources);
    warn_of_properties(rules, sources);
    let ids = rules.mapping.original_event_data.values();
    let ids = ids.flat_map(ValueExpr::paths);
    for (path, _) in Covers::of(&sources.of_traits(), ids).iter() {
        let message = format!("{} and does not go out in clear", is_hashed(path, sources));
        rules.note("original_event_data", message);
    }
    let names = rules.send_as.into_iter().flat_map(ValueExpr::paths);
    for (path, _) in Covers::of(sources, names).iter() {
        let message = format!("{}; the event keeps its own name", is_hashed(path, sources));
        rules.note("send_as", message);
    }
}

/// Warns of what only a sync has, not a row.
pub(super) fn warn_of_sync(rules: &mut Rules<'_>, sources: &HashedSources) {
    let sync = rules.sync;
    for (name, (field, path)) in sources.in_section("user_properties") {
        let mut kept = sync
            .user_memory
            .iter()
            .flat_map(|memory| &memory.keep_as_is);
        if kept.any(|kept| kept == name) {
            let message = format!(
                "{path} is hashed as user_data.{}, and this keeps it on disk in clear",
                field.mapping_name()
            );
            rules.note("user_memory.keep_as_is", message);
        }
    }
    let all = rule::hashed_sources(sync, &[]);
    for name in &sync.allow_personal_data {
        let named = all
            .iter()
            .find(|(_, path)| hashed_sources::names(name, path));
        if let Some((field, path)) = named {
            let message = format!(
                "{path} goes out in clear where it is passed on, beside its hash in user_data.{}",
                field.mapping_name()
            );
            rules.note("allow_personal_data", message);
        }
    }
}

fn warn_of_fields(rules: &mut Rules<'_>, sources: &HashedSources) {
    for (name, source) in &rules.mapping.custom_data {
        let key = field_key(name);
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
            rules.note(&key, message);
        }
        if let CustomValue::Value(expr) = source {
            for path in expr.paths() {
                let is_covered = covers.iter().any(|(covered, _)| covered == path);
                if !is_covered && sources.cover(path) == Cover::Whole {
                    let message = format!("{} and goes out in clear too", is_hashed(path, sources));
                    rules.note(&key, message);
                }
            }
        }
    }
}

fn warn_of_properties(rules: &mut Rules<'_>, sources: &HashedSources) {
    let is_sent = |name: &str| match rules.properties {
        PassedProperties::All => true,
        PassedProperties::Named(names) => names.iter().any(|own| own == name),
    };
    let of_events = sources.in_section(SECTION).into_iter();
    let held_back: Vec<String> = of_events
        .filter(|(name, _)| is_sent(name))
        .map(|(_, (field, path))| format!("{path} (user_data.{})", field.mapping_name()))
        .collect();
    let are_hashed = match &*held_back {
        [] => return,
        [one] => format!("{one} is"),
        several => format!("{} are", several.join(", ")),
    };
    let message = format!(
        "{are_hashed} hashed and not passed on in clear; name in allow_personal_data what is meant to be"
    );
    rules.note("properties", message);
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
