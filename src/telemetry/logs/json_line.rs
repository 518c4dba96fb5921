//! Writes a log line as one flat JSON object without repeated keys.
//!
//! The formatter of `tracing-subscriber` repeats a key if a field has the name of one of the line's own
//! keys, and writes the widest integers as texts. Log readers refuse the former and cannot count with the
//! latter.

use std::fmt::{self, Debug};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Copy, Debug)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let mut members = LineMembers::default();
        members.add("timestamp", timestamp);
        members.add("level", metadata.level().as_str());
        members.add("target", metadata.target());
        event.record(&mut members);
        members.write(&mut writer)
    }
}

/// The members of a line, in their order.
#[derive(Default)]
struct LineMembers(Vec<(String, Value)>);

impl LineMembers {
    /// Adds a member, under another name if its own is taken.
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        let mut name = name.to_owned();
        while self.0.iter().any(|(taken, _)| *taken == name) {
            name.push('_');
        }
        self.0.push((name, value.into()));
    }

    fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(writer, "{before}{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }

    /// Adds a number that may be wider than readers of JSON expect.
    fn add_wide(&mut self, field: &Field, number: Option<Value>, text: String) {
        self.add(field.name(), number.unwrap_or_else(|| text.into()));
    }
}

impl Visit for LineMembers {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        let number = i64::try_from(value).ok().map(Value::from);
        self.add_wide(field, number, value.to_string());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let number = u64::try_from(value).ok().map(Value::from);
        self.add_wide(field, number, value.to_string());
    }
}
