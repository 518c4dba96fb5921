//! Warnings of what is allowed, and most likely was meant otherwise.

use std::collections::BTreeMap;

use crate::config::ConfigError;
use crate::config::expressions::{ActionSource, CustomValue, MetaActionSource, PassedProperties};
use crate::config::mapping::EventConfig;
use crate::config::sync::SyncConfig;
use crate::expr::path::{Path, PathStep};
use crate::map::custom_data::standard::near;
use crate::map::personal::{says_card, says_phone};
use crate::map::standard_event;
use crate::normalize::field::UserDataField;

use super::{field_key, has_source, rows, texts};

/// Warns of names of a row, or of the sync itself, that are passed on and are a slip of the pen away from a field of Meta's.
pub(super) fn near_names(
    key: &str,
    sync: &SyncConfig,
    row: Option<&EventConfig>,
    warnings: &mut Vec<ConfigError>,
) {
    let (properties, table) = match row {
        None => (&sync.properties, &sync.mapping.custom_data),
        Some(row) => (&row.properties, &row.mapping.custom_data),
    };
    let whole_sync = EventConfig::default();
    let row = row.unwrap_or(&whole_sync);
    let passed_on = match properties {
        PassedProperties::All => &[][..],
        PassedProperties::Named(names) => names,
    };
    let passed_on = passed_on
        .iter()
        .map(|name| (format!("{key}.properties"), name));
    let custom = table
        .keys()
        .filter(|name| UserDataField::parse(name).is_none());
    let custom = custom.map(|name| (field_key(key, name), name));
    for (key, name) in passed_on.chain(custom) {
        if let Some(near) = near(name)
            && !has_source(near, sync, row)
        {
            let message = format!(
                "found {name:?}, which is a custom property; is Meta's standard field {near:?} meant?"
            );
            warnings.push(ConfigError::new(key, message));
        }
    }
}

/// Warns of fields whose names, or those of their sources, say that they are the number of a phone or card:
/// what a table names aloud goes out, such a number too.
pub(super) fn numbers_in_clear(
    key: &str,
    sync: &SyncConfig,
    table: &BTreeMap<String, CustomValue>,
    warnings: &mut Vec<ConfigError>,
) {
    let allowed = &sync.allow_personal_data;
    for (name, source) in table.iter().filter(|(name, _)| !allowed.contains(name)) {
        let (exprs, members) = match source {
            CustomValue::Value(expr) => (vec![expr], Vec::new()),
            CustomValue::Each { members, .. } => {
                (members.values().collect(), members.keys().collect())
            }
        };
        let paths: Vec<&Path> = exprs.into_iter().flat_map(|expr| expr.paths()).collect();
        if paths.is_empty() {
            // What the configuration gives is no person's.
            continue;
        }
        let steps = paths.iter().flat_map(|path| path.steps());
        let steps = steps.filter_map(|step| match step {
            PathStep::Key(name) => Some(&**name),
            PathStep::Index(_) | PathStep::Each => None,
        });
        let members = members.into_iter().map(String::as_str);
        let named: Vec<&str> = steps.chain(members).chain([&**name]).collect();
        let what = if named.iter().any(|name| says_phone(name)) {
            "a phone number"
        } else if named.iter().any(|name| says_card(name)) {
            "the number of a card"
        } else {
            continue;
        };
        let message = format!(
            "this may be {what}, which goes out in clear since the table names it; if that is meant, name \
             {name:?} in allow_personal_data"
        );
        warnings.push(ConfigError::new(field_key(key, name), message));
    }
}

/// Warns of standard events that may go out as `other`, by which Meta cannot tell where they happened.
pub(super) fn action_source(key: &str, sync: &SyncConfig, warnings: &mut Vec<ConfigError>) {
    let may_be_other = |row: &EventConfig| {
        let source = row.mapping.action_source.as_ref();
        let by_rule = sync.app.is_none();
        match source.or(sync.mapping.action_source.as_ref()) {
            Some(ActionSource::Fixed(source)) => *source == MetaActionSource::Other,
            Some(ActionSource::From(expr)) => {
                let default = expr.default.as_ref();
                let default = default.and_then(|default| default.json().text());
                let default = default.and_then(|text| MetaActionSource::parse(&text));
                default.map_or(by_rule, |source| source == MetaActionSource::Other)
            }
            Some(ActionSource::Auto) | None => by_rule,
        }
    };
    let is_standard = |name: &str| standard_event::NAMES.contains(&name);
    let goes_out_as_standard = |event_type: &str, row: &EventConfig| match &row.send_as {
        Some(expr) => texts(expr).any(|name| is_standard(&name)),
        None => is_standard(event_type),
    };
    let events: Vec<String> = rows(sync)
        .filter(|(event_type, row)| may_be_other(row) && goes_out_as_standard(event_type, row))
        .map(|(event_type, _)| format!("{event_type:?}"))
        .collect();
    if events.is_empty() {
        return;
    }
    let message = format!(
        "these go out as \"other\" unless the event says platform Web or the URL of a page, as those \
         of a server do not: {}; expected \"website\" for what happens on a site, whoever reports it, \
         for the sync or the event",
        events.join(", ")
    );
    warnings.push(ConfigError::new(format!("{key}.action_source"), message));
}

#[cfg(test)]
mod tests {
    use crate::map::check::tests::check;

    #[test]
    fn names_near_a_field_of_metas_are_pointed_out() {
        check(
            concat!(
                "properties = [\"Value\", \"coupon\", \"status\"]\n",
                "[sync.web.custom_data]\norderId = \"event_properties.id\"\nmy_field = \"event_properties.x\"\n",
                "[sync.web.events.A]\nproperties = [\"contet_ids\", \"Order-ID\"]\n",
                "[sync.web.events.A.custom_data]\norder_id = \"event_properties.id\"\n",
            ),
            &[],
            &[
                "sync.web.properties",
                "sync.web.custom_data.orderId",
                "sync.web.events.A.properties",
            ],
        );
    }

    #[test]
    fn numbers_that_a_table_names_are_pointed_out() {
        let field = |source: &str| format!("[sync.web.custom_data]\n{source}");
        for source in [
            "store_phone = \"event_properties.sp\"",
            "x = \"event_properties.mobile.home\"",
            "x = { from = \"event_properties.tel\", default = \"none\" }",
            "x = \"event_properties.card_number\"",
            "x = { each = \"event_properties.p\", phone = \"n\" }",
            "x = { each = \"event_properties.p\", n = \"phone\" }",
        ] {
            let name = source.split(' ').next().unwrap();
            check(
                &field(source),
                &[],
                &[&format!("sync.web.custom_data.{name}")],
            );
            let allowed = format!("allow_personal_data = [\"{name}\"]\n{}", field(source));
            check(&allowed, &[], &[]);
        }
        for source in [
            "content_name = \"event_properties.title\"",
            "hotline_phone = { constant = \"+1 650-253-0000\" }",
            "gift_card = \"event_properties.card_type\"",
        ] {
            check(&field(source), &[], &[]);
        }
        check(
            "action_source = \"chat\"\n[sync.web.events.A]\ncustom_data = { phone_model = \"event_properties.m\" }",
            &[],
            &["sync.web.events.A.custom_data.phone_model"],
        );
    }

    #[test]
    fn standard_events_that_may_go_out_as_other_are_pointed_out() {
        let key = &["sync.web.action_source"][..];
        let rows = "[sync.web.events]\nA = \"Lead\"\n\"My Event\" = {}";
        let found = |rules: &str, expected: &[&str]| check(rules, &[], expected);
        found(rows, key);
        found("[sync.web.events]\nLead = {}", key);
        found("[sync.web.events]\n\"My Event\" = {}", &[]);
        found(&format!("action_source = \"other\"\n{rows}"), key);
        found(&format!("action_source = \"phone_call\"\n{rows}"), &[]);
        let from = |default: &str| {
            format!("action_source = {{ from = \"event_properties.s\"{default} }}\n{rows}")
        };
        found(&from(""), key);
        found(&from(", default = \"other\""), key);
        found(&from(", default = \"chat\""), &[]);
        found(&format!("{rows}\n[sync.web.app]"), &[]);
        found(
            "[sync.web.events.A]\nsend_as = \"Lead\"\naction_source = \"email\"",
            &[],
        );
    }
}
