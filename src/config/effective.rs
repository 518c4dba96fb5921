//! Writes a configuration back as TOML, with secrets redacted.
//!
//! What is written can be loaded again and then means the same, but for the secrets and the rule
//! tests, which are left out.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

use crate::config::delivery::DeliveryConfig;
use crate::config::expressions::{ActionSource, CustomValue, PassedProperties};
use crate::config::ingest::{ApiKey, WhenFull};
use crate::config::mapping::{EventConfig, MappingConfig};
use crate::config::names::{basic_string, quoted};
use crate::config::server::LogFormat;
use crate::config::sync::{
    CallingCode, Consent, DateOrder, ExternalIdCase, LimitedDataUse, LimitedDataUseMode,
    LimitedDataUsePlace, SyncConfig,
};
use crate::config::units::Rate;
use crate::config::units::{format_duration, format_size};
use crate::config::{Config, SyncName};
use crate::expr::condition::{Condition, Operand};
use crate::expr::value::{Constant, ReplacementTable, ValueExpr, ValueSource};

/// What stands in the place of a secret.
const REDACTED: &str = "\"[redacted]\"";

/// Writes all that is in force.
pub(super) fn to_toml(config: &Config) -> String {
    let mut page = ConfigPage::default();
    stages(&mut page, config);
    for (name, sync) in &config.syncs {
        write_sync(&mut page, name, sync);
    }
    page.text
}

/// The text so far.
#[derive(Debug, Default)]
struct ConfigPage {
    text: String,
}

impl ConfigPage {
    /// Begins a table.
    fn table(&mut self, name: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(&format!("[{name}]"));
    }

    /// Writes a key with its value, which is TOML.
    fn key(&mut self, name: &str, value: impl Display) {
        self.line(&format!("{} = {value}", quoted(name)));
    }

    /// Writes a key where there is a value.
    fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.key(name, value);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn stages(page: &mut ConfigPage, config: &Config) {
    page.table("server");
    page.key("listen", text(&config.server.listen.to_string()));
    page.key("max_body", size(config.server.max_body.get() as u64));
    page.key("trusted_proxies", texts(&config.server.trusted_proxies));
    page.key("cors_origins", texts(&config.server.cors_origins));

    page.table("log");
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    page.key("format", text(format));
    page.key("level", text(&config.log.level));

    page.table("admin");
    page.key("listen", text(&config.admin.listen.to_string()));
    page.optional("secret", config.admin.secret.as_ref().map(|_| REDACTED));

    page.table("ingest");
    page.key("header", text(&config.ingest.header));
    match config.ingest.secrets.len() {
        0 => {}
        1 => page.key("secret", REDACTED),
        several => page.key(
            "secret",
            format!("[{}]", vec![REDACTED; several].join(", ")),
        ),
    }
    page.key("allow_unauthenticated", config.ingest.allow_unauthenticated);
    if !config.ingest.api_keys.is_empty() {
        page.key("api_keys", list(config.ingest.api_keys.iter().map(api_key)));
    }
    page.key(
        "address_requests_per_second",
        rate(config.ingest.address_requests_per_second),
    );
    page.optional(
        "upstream",
        config
            .ingest
            .upstream
            .as_ref()
            .map(|url| text(url.as_str())),
    );
    page.key(
        "upstream_when_full",
        text(match config.ingest.upstream_when_full {
            WhenFull::PassOn => "pass_on",
            WhenFull::Refuse => "refuse",
        }),
    );
    page.optional("silence_after", config.ingest.silence_after.map(duration));

    page.table("queue");
    page.key("path", text(&config.queue.path.display().to_string()));
    page.key("max_bytes", size(config.queue.max_bytes.get()));
    page.optional("min_free_disk", config.queue.min_free_disk.map(size));
    page.key("duplicate_window", duration(config.queue.duplicate_window));
    page.key("duplicate_ids", config.queue.duplicate_ids.get());
    page.key(
        "dead_letter_retention",
        duration(config.queue.dead_letter_retention),
    );
    page.key(
        "dead_letter_max_bytes",
        size(config.queue.dead_letter_max_bytes),
    );

    page.table("meta");
    page.key("url", text(config.meta.url.as_str()));
    page.key("api_version", text(&config.meta.api_version));
}

fn api_key(key: &ApiKey) -> String {
    match &key.syncs {
        None => text(&key.key),
        Some(syncs) => table([("key", text(&key.key)), ("syncs", texts(syncs))]),
    }
}

fn write_sync(page: &mut ConfigPage, name: &SyncName, sync: &SyncConfig) {
    let table = format!("sync.{name}");
    page.table(&table);
    page.key("enabled", sync.enabled);
    page.key("pixel_id", text(&sync.pixel_id));
    match &sync.access_token_file {
        Some(path) => page.key("access_token_file", text(&path.display().to_string())),
        None => page.key("access_token", REDACTED),
    }
    page.optional("test_event_code", sync.test_event_code.as_deref().map(text));
    match &sync.app_secret_file {
        Some(path) => page.key("app_secret_file", text(&path.display().to_string())),
        None => page.optional("app_secret", sync.app_secret.as_ref().map(|_| REDACTED)),
    }
    page.key("send_events", sync.send_events);
    match &sync.consent {
        Consent::Unsaid => {}
        Consent::NotRequired => page.key("consent", text("not_required")),
        Consent::Conditions(asked) => page.key("consent", conditions(asked)),
    }
    page.key("where", conditions(&sync.conditions));
    page.key("properties", properties(&sync.properties));
    page.optional(
        "default_calling_code",
        sync.default_calling_code.as_ref().map(|code| match code {
            CallingCode::Fixed(digits) => text(digits),
            CallingCode::FromCountry => text("country"),
        }),
    );
    let date_order = match sync.date_order {
        DateOrder::MonthFirst => "mdy",
        DateOrder::DayFirst => "dmy",
    };
    page.key("date_order", text(date_order));
    let external_id_case = match sync.external_id_case {
        ExternalIdCase::Lower => "lower",
        ExternalIdCase::Keep => "keep",
    };
    page.key("external_id_case", text(external_id_case));
    page.key("page_url_parameters", texts(&sync.page_url_parameters));
    page.optional("currency", sync.currency.as_deref().map(text));
    page.optional("browser_pixel", sync.browser_pixel);
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
    } else {
        page.line("");
        page.line(&format!(
            "# No [{table}.events]: all events but bookkeeping and autocaptured ones ([Amplitude] …)."
        ));
    }
    limited_data_use(page, &table, &sync.limited_data_use);
    if let Some(app) = &sync.app {
        page.table(&format!("{table}.app"));
        for (field, value) in &app.fields {
            page.key(field.mapping_name(), expression(value));
        }
    }
    if let Some(memory) = &sync.user_memory {
        page.table(&format!("{table}.user_memory"));
        page.key("webhook", memory.webhook);
        page.key("keep_as_is", texts(&memory.keep_as_is));
        page.key("max_age", duration(memory.max_age));
        page.key("max_bytes", size(memory.max_bytes));
    }
    delivery(page, &table, &sync.delivery);
}

fn write_event(page: &mut ConfigPage, table: &str, event: &EventConfig) {
    page.table(table);
    page.optional("send_as", event.send_as.as_ref().map(event_name));
    if !event.conditions.is_empty() {
        page.key("where", conditions(&event.conditions));
    }
    if event.properties != PassedProperties::default() {
        page.key("properties", properties(&event.properties));
    }
    mapping(page, table, &event.mapping);
}

/// Writes the keys that a sync and an event of it share: values first, then tables.
fn mapping(page: &mut ConfigPage, table: &str, mapping: &MappingConfig) {
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

fn limited_data_use(page: &mut ConfigPage, table: &str, limited: &LimitedDataUse) {
    page.table(&format!("{table}.limited_data_use"));
    match &limited.mode {
        LimitedDataUseMode::Off => page.key("mode", text("off")),
        LimitedDataUseMode::Always => page.key("mode", text("always")),
        LimitedDataUseMode::When(held) => {
            page.key("mode", text("when"));
            page.key("when", conditions(held));
        }
    }
    page.key("country", place(&limited.country));
    page.key("state", place(&limited.state));
}

fn delivery(page: &mut ConfigPage, table: &str, delivery: &DeliveryConfig) {
    page.table(&format!("{table}.delivery"));
    page.key("max_batch_events", delivery.max_batch_events.get());
    page.key(
        "max_batch_bytes",
        size(delivery.max_batch_bytes.get() as u64),
    );
    page.key("max_batch_delay", duration(delivery.max_batch_delay));
    page.key("max_in_flight", delivery.max_in_flight.get());
    page.key("requests_per_second", rate(delivery.requests_per_second));
    page.key("events_per_second", rate(delivery.events_per_second));
    page.key("timeout", duration(delivery.timeout));
}

fn expression(value: &ValueExpr) -> String {
    match (&*value.sources, &value.default) {
        ([ValueSource::Path(path)], None) => text(path.as_str()),
        ([ValueSource::All(_) | ValueSource::Translated(..) | ValueSource::Split(..)], None)
        | (_, Some(_)) => table(members(value)),
        ([ValueSource::When(conditions, _)], None) if !conditions.is_empty() => {
            table(members(value))
        }
        (several, None) => list(several.iter().map(source)),
    }
}

/// Writes a value that must not be taken for a text.
fn apart_from_text(value: &ValueExpr) -> String {
    match &*value.sources {
        [ValueSource::Path(_)] if value.default.is_none() => table([("from", expression(value))]),
        _ => expression(value),
    }
}

/// Writes an event's name: a fixed one as a text.
fn event_name(value: &ValueExpr) -> String {
    match (&value.default, &*value.sources) {
        (Some(name), []) => fixed(name),
        _ => apart_from_text(value),
    }
}

fn source(source: &ValueSource) -> String {
    match source {
        ValueSource::Path(path) => text(path.as_str()),
        ValueSource::When(conditions, value) if conditions.is_empty() => expression(value),
        other => expression(&ValueExpr {
            sources: vec![other.clone()],
            default: None,
        }),
    }
}

/// The members of the table that stands for a value, as they can be read again.
fn members(value: &ValueExpr) -> Vec<(&'static str, String)> {
    let mut members = match (&*value.sources, &value.default) {
        ([], Some(constant)) => return vec![("constant", fixed(constant))],
        ([ValueSource::All(values)], _) => vec![("all", list(values.iter().map(expression)))],
        ([ValueSource::Translated(value, table)], _) => {
            let mut members = match &*value.sources {
                [ValueSource::All(_) | ValueSource::Split(..)] if value.default.is_none() => {
                    self::members(value)
                }
                _ => vec![("from", expression(value))],
            };
            members.push(("map", translation(table)));
            members
        }
        ([ValueSource::Split(value, separator)], _) => {
            let mut members = match &*value.sources {
                [ValueSource::All(_)] if value.default.is_none() => self::members(value),
                _ => vec![("from", expression(value))],
            };
            members.push(("split", text(separator)));
            members
        }
        ([ValueSource::When(conditions, inner)], None) if !conditions.is_empty() => {
            let mut members = match &*inner.sources {
                [ValueSource::When(..)] => vec![("from", expression(inner))],
                _ => self::members(inner),
            };
            members.push(("when", self::conditions(conditions)));
            members
        }
        ([one], _) => vec![("from", source(one))],
        (several, _) => vec![("from", list(several.iter().map(source)))],
    };
    if let Some(default) = &value.default {
        members.push(("default", fixed(default)));
    }
    members
}

fn translation(translation: &ReplacementTable) -> String {
    let members = translation.0.iter();
    table(members.map(|(value, constant)| (value.as_str(), fixed(constant))))
}

/// Writes a constant: valid JSON, which was made from TOML.
fn fixed(value: &Constant) -> String {
    constant(&serde_json::from_str(value.json().raw()).unwrap_or_default())
}

fn custom_value(value: &CustomValue) -> String {
    match value {
        CustomValue::Value(value) => expression(value),
        CustomValue::Each { lists, members } => {
            let members = members
                .iter()
                .map(|(name, value)| (name.as_str(), expression(value)));
            table([("each", expression(lists))].into_iter().chain(members))
        }
    }
}

fn action_source(source: &ActionSource) -> String {
    match source {
        ActionSource::Auto => text("auto"),
        ActionSource::Fixed(fixed) => text(fixed.as_str()),
        // A text alone would be taken for one of Meta's values.
        ActionSource::From(value) => apart_from_text(value),
    }
}

fn conditions(conditions: &[Condition]) -> String {
    list(conditions.iter().map(|condition| {
        let property = ("property", text(condition.property.as_str()));
        let op = ("op", text(condition.op.as_str()));
        match &*condition.values {
            [] => table([property, op]),
            [one] => table([property, op, ("value", operand(one))]),
            several => table([property, op, ("values", list(several.iter().map(operand)))]),
        }
    }))
}

fn operand(operand: &Operand) -> String {
    if operand.is_number {
        operand.text.clone()
    } else {
        text(&operand.text)
    }
}

fn properties(properties: &PassedProperties) -> String {
    match properties {
        PassedProperties::All => texts(&["*"]),
        PassedProperties::Named(names) => texts(names),
    }
}

fn place(place: &LimitedDataUsePlace) -> String {
    match place {
        LimitedDataUsePlace::From(value) => expression(value),
        LimitedDataUsePlace::Code(code) => code.to_string(),
        LimitedDataUsePlace::FromEvent => text("event"),
    }
}

fn rate(rate: Option<Rate>) -> String {
    rate.map_or_else(|| text("unlimited"), |rate| rate.per_second().to_string())
}

fn size(bytes: u64) -> String {
    text(&format_size(bytes))
}

fn duration(duration: Duration) -> String {
    text(&format_duration(duration))
}

/// Writes a constant on one line.
fn constant(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(content) => text(content),
        Value::Array(items) => list(items.iter().map(constant)),
        Value::Object(members) => table(
            members
                .iter()
                .map(|(name, value)| (name.as_str(), constant(value))),
        ),
    }
}

/// Writes an inline table, on one line as TOML 1.0 wants it.
fn table<'n>(members: impl IntoIterator<Item = (&'n str, String)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{} = {value}", quoted(name)))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn texts<T: ToString>(items: &[T]) -> String {
    list(items.iter().map(|item| text(&item.to_string())))
}

/// Writes a text: between single quotes where that spares escapes, as in a path with brackets.
fn text(text: &str) -> String {
    let spares = text.contains('"') && !text.contains('\'') && !text.contains(char::is_control);
    if spares {
        format!("'{text}'")
    } else {
        basic_string(text)
    }
}
