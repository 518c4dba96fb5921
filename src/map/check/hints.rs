//! Warnings of what is allowed, but most likely not meant.

use crate::config::ConfigError;
use crate::config::expressions::{ActionSource, CustomValue, MetaActionSource, PassedProperties};
use crate::expr::path::{Path, PathStep};
use crate::map::custom_data::standard::near;
use crate::map::personal::{says_card, says_phone};
use crate::normalize::field::UserDataField;

use super::{Rules, field_key, standard_event, texts};

/// Events that Amplitude's pages show under another name than they arrive with.
const DISPLAY_NAMES: &[(&str, &str)] = &[
    ("[Amplitude] Start Session", "session_start"),
    ("[Amplitude] End Session", "session_end"),
    ("[Amplitude] Revenue", "revenue_amount"),
    ("[Amplitude] Revenue (Verified)", "verified_revenue"),
    ("[Amplitude] Revenue (Unverified)", "unverified_revenue"),
];

/// Warns of names that are passed on and almost the same as a field of Meta's.
pub(super) fn warn_of_near_names(rules: &mut Rules<'_>) {
    let passed_on = match rules.properties {
        PassedProperties::All => &[][..],
        PassedProperties::Named(names) => names,
    };
    let passed_on = passed_on.iter().map(|name| ("properties".to_owned(), name));
    let custom = rules.mapping.custom_data.keys();
    let custom = custom.filter(|name| UserDataField::parse(name).is_none());
    for (key, name) in passed_on.chain(custom.map(|name| (field_key(name), name))) {
        if let Some(near) = near(name)
            && !rules.has_source(near)
        {
            let message = format!(
                "found {name:?}, which is a custom property; is Meta's standard field {near:?} meant?"
            );
            rules.note(&key, message);
        }
    }
}

/// Warns of fields whose names, or those of their sources, say that they are the number of a phone or card:
/// a field that the table names is sent even if it holds one.
pub(super) fn warn_of_numbers_in_clear(rules: &mut Rules<'_>) {
    let allowed = &rules.sync.allow_personal_data;
    let fields = rules.mapping.custom_data.iter();
    for (name, source) in fields.filter(|(name, _)| !allowed.contains(name)) {
        let (exprs, members) = match source {
            CustomValue::Value(expr) => (vec![expr], Vec::new()),
            CustomValue::Each { members, .. } => {
                (members.values().collect(), members.keys().collect())
            }
        };
        let paths: Vec<&Path> = exprs.into_iter().flat_map(|expr| expr.paths()).collect();
        if paths.is_empty() {
            // A constant of the configuration is no person's.
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
        rules.note(&field_key(name), message);
    }
}

/// Warns of a row whose event type or name for Meta is almost the right one.
pub(super) fn warn_of_event_names(row: &mut Rules<'_>) {
    let event_type = row.event_type.unwrap_or_default();
    let is_shown = |(shown, _): &&(&str, &str)| *shown == event_type;
    if let Some((_, wire)) = DISPLAY_NAMES.iter().find(is_shown) {
        let message =
            format!("this is the name on Amplitude's pages; the event arrives as {wire:?}");
        row.found.push(ConfigError::new(&row.key, message));
    }
    let custom_event = |name: &str, near: &str| {
        format!("found {name:?}, which is a custom event; is Meta's standard event {near:?} meant?")
    };
    if let Some(expr) = row.send_as {
        for name in texts(expr) {
            if let Some(near) = standard_event::near(&name) {
                row.note("send_as", custom_event(&name, near));
            }
        }
    } else if let Some(near) = standard_event::same_words(event_type) {
        let message = custom_event(event_type, near);
        row.found.push(ConfigError::new(&row.key, message));
    }
}

/// Warns of standard events that may go out as `other`, by which Meta cannot tell where they happened.
pub(super) fn warn_of_action_source(rules: &mut Rules<'_>) {
    let by_rule = rules.sync.app.is_none();
    let of_sync = rules.mapping.action_source.as_ref();
    let may_be_other = |row: &Rules<'_>| match row.mapping.action_source.as_ref().or(of_sync) {
        Some(ActionSource::Fixed(source)) => *source == MetaActionSource::Other,
        Some(ActionSource::From(expr)) => {
            let default = expr.default.as_ref();
            let default = default.and_then(|default| default.json().text());
            let default = default.and_then(|text| MetaActionSource::parse(&text));
            default.map_or(by_rule, |source| source == MetaActionSource::Other)
        }
        Some(ActionSource::Auto) | None => by_rule,
    };
    let is_standard = |name: &str| standard_event::NAMES.contains(&name);
    let goes_out_as_standard = |row: &Rules<'_>| match row.send_as {
        Some(expr) => texts(expr).any(|name| is_standard(&name)),
        None => row.event_type.is_some_and(is_standard),
    };
    let rows = rules.rows();
    let events: Vec<String> = rows
        .filter(|row| may_be_other(row) && goes_out_as_standard(row))
        .map(|row| format!("{:?}", row.event_type.unwrap_or_default()))
        .collect();
    if events.is_empty() {
        return;
    }
    let message = format!(
        "these go out as \"other\" unless the event has platform Web or the URL of a page, and events of a \
         server have neither: {}; expected \"website\", for the sync or the event, for what happens on a \
         site, also where a server reports it",
        events.join(", ")
    );
    rules.note("action_source", message);
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
