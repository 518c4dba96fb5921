//! Writes a configuration back as TOML, with secrets redacted.
//!
//! What is written can be loaded again and then means the same, but for the secrets and the rule
//! tests, which are left out.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::values::{basic_string, format_size, quoted};
use crate::config::{
    ActionSource, CallingCode, Condition, Config, CustomValue, DateOrder, DeliveryConfig,
    EventConfig, ExternalIdCase, LimitedDataUse, LimitedDataUseMode, LimitedDataUsePlace,
    LogFormat, MappingConfig, Properties, Rate, SyncConfig, SyncName,
};
use crate::path::ValueExpr;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Writes all that is in force.
pub(super) fn to_toml(config: &Config) -> String {
    let mut page = Page::default();
    stages(&mut page, config);
    for (name, sync) in &config.syncs {
        write_sync(&mut page, name, sync);
    }
    page.text
}

/// The text so far.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    /// Begins a table.
    fn table(&mut self, name: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(format_args!("[{name}]"));
    }

    /// Writes a key with its value.
    fn key(&mut self, name: &str, value: impl Into<Value>) {
        let value = inline(&value.into());
        self.line(format_args!("{} = {value}", quoted(name)));
    }

    /// Writes a key where there is a value.
    fn optional(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.key(name, value);
        }
    }

    fn line(&mut self, line: impl Display) {
        // Writing into a text cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn stages(page: &mut Page, config: &Config) {
    page.table("server");
    page.key("listen", config.server.listen.to_string());
    page.key("max_body", format_size(config.server.max_body.get() as u64));
    page.key("trusted_proxies", texts(&config.server.trusted_proxies));
    page.key("cors_origins", texts(&config.server.cors_origins));

    page.table("log");
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    page.key("format", format);
    page.key("level", config.log.level.as_str());

    page.table("admin");
    page.key("listen", config.admin.listen.to_string());
    page.optional("secret", config.admin.secret.as_ref().map(|_| REDACTED));

    page.table("ingest");
    page.key("header", config.ingest.header.as_str());
    match config.ingest.secrets.len() {
        0 => {}
        1 => page.key("secret", REDACTED),
        several => page.key("secret", vec![REDACTED; several]),
    }
    page.key("allow_unauthenticated", config.ingest.allow_unauthenticated);
    page.optional("silence_after", config.ingest.silence_after.map(duration));

    page.table("queue");
    page.key("path", config.queue.path.display().to_string());
    page.key("max_bytes", format_size(config.queue.max_bytes.get()));
    page.optional("min_free_disk", config.queue.min_free_disk.map(format_size));
    page.key("duplicate_window", duration(config.queue.duplicate_window));
    page.key("duplicate_ids", config.queue.duplicate_ids.get());
    page.key(
        "dead_letter_retention",
        duration(config.queue.dead_letter_retention),
    );
    page.key(
        "dead_letter_max_bytes",
        format_size(config.queue.dead_letter_max_bytes),
    );

    page.table("meta");
    page.key("url", config.meta.url.as_str());
    page.key("api_version", config.meta.api_version.as_str());
}

fn write_sync(page: &mut Page, name: &SyncName, sync: &SyncConfig) {
    let table = format!("sync.{name}");
    page.table(&table);
    page.key("enabled", sync.enabled);
    page.key("pixel_id", sync.pixel_id.as_str());
    match &sync.access_token_file {
        Some(path) => page.key("access_token_file", path.display().to_string()),
        None => page.key("access_token", REDACTED),
    }
    page.optional("test_event_code", sync.test_event_code.as_deref());
    page.optional("app_secret", sync.app_secret.as_ref().map(|_| REDACTED));
    page.key("send_events", sync.send_events);
    page.key("where", conditions(&sync.conditions));
    page.key("properties", properties(&sync.properties));
    page.optional(
        "default_calling_code",
        sync.default_calling_code.as_ref().map(|code| match code {
            CallingCode::Fixed(digits) => digits.as_str(),
            CallingCode::FromCountry => "country",
        }),
    );
    let date_order = match sync.date_order {
        DateOrder::MonthFirst => "mdy",
        DateOrder::DayFirst => "dmy",
    };
    page.key("date_order", date_order);
    let external_id_case = match sync.external_id_case {
        ExternalIdCase::Lower => "lower",
        ExternalIdCase::Keep => "keep",
    };
    page.key("external_id_case", external_id_case);
    page.key("allow_personal_data", texts(&sync.allow_personal_data));
    mapping(page, &table, &sync.mapping);
    if let Some(events) = &sync.events {
        for (event_type, event) in events {
            write_event(
                page,
                &format!("{table}.events.{}", quoted(event_type)),
                event,
            );
        }
    }
    limited_data_use(page, &table, &sync.limited_data_use);
    if let Some(app) = &sync.app {
        page.table(&format!("{table}.app"));
        for (field, value) in &app.fields {
            page.key(field.mapping_name(), expression(value));
        }
    }
    delivery(page, &table, &sync.delivery);
}

fn write_event(page: &mut Page, table: &str, event: &EventConfig) {
    page.table(table);
    page.optional("send_as", event.send_as.as_deref());
    if !event.conditions.is_empty() {
        page.key("where", conditions(&event.conditions));
    }
    if event.properties != Properties::default() {
        page.key("properties", properties(&event.properties));
    }
    mapping(page, table, &event.mapping);
}

/// Writes the keys that a sync and an event of it share: values first, then tables.
fn mapping(page: &mut Page, table: &str, mapping: &MappingConfig) {
    page.optional(
        "action_source",
        mapping.action_source.as_ref().map(action_source),
    );
    page.optional("event_id", mapping.event_id.as_ref().map(expression));
    page.optional(
        "event_source_url",
        mapping.event_source_url.as_ref().map(expression),
    );
    page.optional(
        "referrer_url",
        mapping.referrer_url.as_ref().map(expression),
    );
    page.optional("opt_out", mapping.opt_out.as_ref().map(expression));
    if !mapping.user_data.is_empty() {
        page.table(&format!("{table}.user_data"));
        for (field, value) in &mapping.user_data {
            page.key(field.mapping_name(), expression(value));
        }
    }
    if !mapping.custom_data.is_empty() {
        page.table(&format!("{table}.custom_data"));
        for (field, value) in &mapping.custom_data {
            page.key(field, custom_value(value));
        }
    }
    if !mapping.original_event_data.is_empty() {
        page.table(&format!("{table}.original_event_data"));
        for (field, value) in &mapping.original_event_data {
            page.key(field, expression(value));
        }
    }
}

fn limited_data_use(page: &mut Page, table: &str, limited: &LimitedDataUse) {
    page.table(&format!("{table}.limited_data_use"));
    match &limited.mode {
        LimitedDataUseMode::Off => page.key("mode", "off"),
        LimitedDataUseMode::Always => page.key("mode", "always"),
        LimitedDataUseMode::When(held) => {
            page.key("mode", "when");
            page.key("when", conditions(held));
        }
    }
    page.key("country", place(limited.country));
    page.key("state", place(limited.state));
}

fn delivery(page: &mut Page, table: &str, delivery: &DeliveryConfig) {
    page.table(&format!("{table}.delivery"));
    page.key("max_batch_events", delivery.max_batch_events.get());
    page.key(
        "max_batch_bytes",
        format_size(delivery.max_batch_bytes.get() as u64),
    );
    page.key("max_batch_delay", duration(delivery.max_batch_delay));
    page.key("max_in_flight", delivery.max_in_flight.get());
    page.key("requests_per_second", rate(delivery.requests_per_second));
    page.key("events_per_second", rate(delivery.events_per_second));
    page.key("timeout", duration(delivery.timeout));
}

fn expression(value: &ValueExpr) -> Value {
    let default = value
        .default
        .as_ref()
        .map(|constant| serde_json::from_str(constant.json().raw()).unwrap_or_default());
    let paths = match &*value.paths {
        [one] => Value::from(one.as_str()),
        several => texts(several),
    };
    match default {
        Some(constant) if value.paths.is_empty() => json!({ "constant": constant }),
        Some::<Value>(default) => json!({ "from": paths, "default": default }),
        None => paths,
    }
}

fn custom_value(value: &CustomValue) -> Value {
    match value {
        CustomValue::Value(value) => expression(value),
        CustomValue::Each { list, members } => {
            let members: BTreeMap<&str, Value> = members
                .iter()
                .map(|(name, value)| (name.as_str(), expression(value)))
                .chain([("each", Value::from(list.as_str()))])
                .collect();
            json!(members)
        }
    }
}

fn action_source(source: &ActionSource) -> Value {
    match source {
        ActionSource::Auto => "auto".into(),
        ActionSource::Fixed(fixed) => fixed.as_str().into(),
        // A text alone would be taken for one of Meta's values.
        ActionSource::From(value) => match expression(value) {
            Value::String(path) => json!({ "from": path }),
            other => other,
        },
    }
}

fn conditions(conditions: &[Condition]) -> Value {
    conditions
        .iter()
        .map(|condition| {
            let property = condition.property.as_str();
            let op = condition.op.as_str();
            match &*condition.values {
                [] => json!({ "property": property, "op": op }),
                [one] => json!({ "property": property, "op": op, "value": one }),
                several => json!({ "property": property, "op": op, "values": several }),
            }
        })
        .collect()
}

fn properties(properties: &Properties) -> Value {
    match properties {
        Properties::All => json!(["*"]),
        Properties::Named(names) => texts(names),
    }
}

fn place(place: LimitedDataUsePlace) -> Value {
    match place {
        LimitedDataUsePlace::Code(code) => code.into(),
        LimitedDataUsePlace::FromEvent => "event".into(),
    }
}

fn rate(rate: Option<Rate>) -> Value {
    let Some(rate) = rate.map(Rate::per_second) else {
        return "unlimited".into();
    };
    // A whole number is written without a fraction.
    let whole: Option<i64> = rate.to_string().parse().ok();
    whole.map_or_else(|| rate.into(), Value::from)
}

/// Writes a duration in its largest whole unit.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 || seconds == 0 {
        return humantime::format_duration(duration).to_string();
    }
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let largest = units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = largest.unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

fn texts<T: Display>(items: &[T]) -> Value {
    items.iter().map(ToString::to_string).collect()
}

/// Writes a value on one line, as TOML 1.0 wants it.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => inline_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), inline(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// A text between single quotes where that spares escapes, as in a path with brackets.
fn inline_text(text: &str) -> String {
    let plain =
        text.contains('"') && !text.contains(['\'', '\u{7f}']) && !text.contains(char::is_control);
    if plain {
        format!("'{text}'")
    } else {
        basic_string(text)
    }
}
