//! One row of the event table, compiled: a sync's mapping with the event's own laid over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::fields::UserDataField;
use crate::config::{ActionSource, EventConfig, SyncConfig};
use crate::map::custom_data::CustomData;
use crate::map::user_data::UserData;
use crate::path::Path;
use crate::value::{Source, ValueExpr};

/// What events of one row become.
#[derive(Debug)]
pub(super) struct Rule {
    /// Meta's event name; `None`, or what finds nothing, keeps Amplitude's.
    pub(super) send_as: Option<ValueExpr>,
    /// Where `send_as` is a constant, the name of most events, to be shared among them.
    pub(super) event_name: Option<Arc<str>>,
    pub(super) event_id: ValueExpr,
    pub(super) action_source: ActionSource,
    pub(super) event_source_url: ValueExpr,
    pub(super) referrer_url: Option<ValueExpr>,
    pub(super) opt_out: Option<ValueExpr>,
    pub(super) original: BTreeMap<String, ValueExpr>,
    pub(super) user_data: UserData,
    pub(super) custom_data: CustomData,
}

impl Rule {
    /// Compiles a row; no row stands for a sync without an event table.
    pub(super) fn compile(sync: &SyncConfig, row: Option<&EventConfig>) -> Self {
        let default = EventConfig::default();
        let row = row.unwrap_or(&default);
        let (outer, inner) = (&sync.mapping, &row.mapping);
        let first = |inner: &Option<ValueExpr>, outer: &Option<ValueExpr>| {
            inner.as_ref().or(outer.as_ref()).cloned()
        };
        let mut original = outer.original_event_data.clone();
        original.extend(inner.original_event_data.clone());
        Self {
            send_as: row.send_as.clone(),
            event_name: row.send_as.as_ref().and_then(constant_text),
            event_id: first(&inner.event_id, &outer.event_id)
                .unwrap_or_else(|| paths(&["$insert_id", "uuid"])),
            action_source: inner
                .action_source
                .as_ref()
                .or(outer.action_source.as_ref())
                .cloned()
                .unwrap_or(ActionSource::Auto),
            event_source_url: first(&inner.event_source_url, &outer.event_source_url)
                .unwrap_or_else(|| {
                    paths(&[
                        "event_properties[\"[Amplitude] Page Location\"]",
                        "event_properties[\"[Amplitude] Page URL\"]",
                    ])
                }),
            referrer_url: first(&inner.referrer_url, &outer.referrer_url),
            opt_out: first(&inner.opt_out, &outer.opt_out),
            original,
            user_data: UserData::compile(user_data(sync, row)),
            custom_data: CustomData::compile(
                [&outer.custom_data, &inner.custom_data],
                [&sync.properties, &row.properties],
                &sync.allow_personal_data,
            ),
        }
    }
}

/// The user data of a row, with Amplitude's default for the external id and the address that the
/// event came from.
pub(super) fn user_data(
    sync: &SyncConfig,
    row: &EventConfig,
) -> BTreeMap<UserDataField, ValueExpr> {
    let mut fields = BTreeMap::from([
        (UserDataField::ExternalId, paths(&["user_id"])),
        (UserDataField::ClientIpAddress, paths(&["ip_address"])),
    ]);
    fields.extend(sync.mapping.user_data.clone());
    fields.extend(row.mapping.user_data.clone());
    fields
}

/// The text that an expression gives where nothing else gives one.
fn constant_text(expr: &ValueExpr) -> Option<Arc<str>> {
    let text = expr.default.as_ref()?.json().as_str()?;
    Some(text.trim().into())
}

fn paths(texts: &[&str]) -> ValueExpr {
    ValueExpr {
        sources: texts
            .iter()
            .map(|text| Source::Path(Path::parse(text).expect("a default is a path")))
            .collect(),
        default: None,
    }
}
