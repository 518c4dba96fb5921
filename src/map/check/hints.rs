//! Warnings of what is allowed, and most likely was meant otherwise.

use crate::config::fields::UserDataField;
use crate::config::{ActionSource, EventConfig, MetaActionSource, Mistake, Properties, SyncConfig};
use crate::map::custom_data::standard::near;
use crate::map::standard_event;

use super::{field_key, has_source, rows, texts};

/// Warns of names of a row, or of the sync itself, that are passed on and are a slip of the pen away from a field of Meta's.
pub(super) fn near_names(
    key: &str,
    sync: &SyncConfig,
    row: Option<&EventConfig>,
    warnings: &mut Vec<Mistake>,
) {
    let (properties, table) = match row {
        None => (&sync.properties, &sync.mapping.custom_data),
        Some(row) => (&row.properties, &row.mapping.custom_data),
    };
    let whole_sync = EventConfig::default();
    let row = row.unwrap_or(&whole_sync);
    let passed_on = match properties {
        Properties::All => &[][..],
        Properties::Named(names) => names,
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
            warnings.push(Mistake::new(key, message));
        }
    }
}

/// Warns of standard events that may go out as `other`, by which Meta cannot tell where they happened.
pub(super) fn action_source(key: &str, sync: &SyncConfig, warnings: &mut Vec<Mistake>) {
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
    warnings.push(Mistake::new(format!("{key}.action_source"), message));
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
