//! One row of the event table, compiled: a sync's mapping with the event's own laid over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::expressions::ActionSource;
use crate::config::mapping::EventConfig;
use crate::config::sync::SyncConfig;
use crate::expr::path::Path;
use crate::expr::value::{ValueExpr, ValueSource};
use crate::map::custom_data::{Covers, CustomData};
use crate::map::hashed_sources::HashedSources;
use crate::map::user_data::UserData;
use crate::normalize::field::UserDataField;

/// What events of one row become.
#[derive(Debug)]
pub(super) struct Rule {
    /// Meta's event name; `None`, or an expression that finds nothing, keeps Amplitude's.
    pub(super) send_as: Option<ValueExpr>,
    /// The constant of `send_as`, to be shared among the events that it names.
    pub(super) event_name: Option<Arc<str>>,
    pub(super) event_id: ValueExpr,
    pub(super) action_source: ActionSource,
    pub(super) event_source_url: ValueExpr,
    pub(super) referrer_url: Option<ValueExpr>,
    pub(super) opt_out: Option<ValueExpr>,
    pub(super) original: BTreeMap<String, ValueExpr>,
    pub(super) user_data: UserData,
    pub(super) custom_data: CustomData,
    /// What of the values that name the event may not go out in clear.
    pub(super) name_covers: Covers,
    /// The same of the values that identify it, or the event that it adds to.
    pub(super) id_covers: Covers,
}

impl Rule {
    /// Compiles a row. `sources` are those of the sync.
    pub(super) fn compile(sync: &SyncConfig, row: &EventConfig, sources: &HashedSources) -> Self {
        let (outer, inner) = (&sync.mapping, &row.mapping);
        let mut original = outer.original_event_data.clone();
        original.extend(inner.original_event_data.clone());
        // A sync's own has a default.
        let event_id = first(inner.event_id.as_ref(), outer.event_id.as_ref()).unwrap_or_default();
        let ids = original.values().chain([&event_id]);
        Self {
            name_covers: Covers::of(sources, row.send_as.iter().flat_map(ValueExpr::paths)),
            id_covers: Covers::of(&sources.of_traits(), ids.flat_map(ValueExpr::paths)),
            send_as: row.send_as.clone(),
            event_name: row.send_as.as_ref().and_then(constant_text),
            event_id,
            action_source: first(inner.action_source.as_ref(), outer.action_source.as_ref())
                .unwrap_or(ActionSource::Auto),
            event_source_url: first(
                inner.event_source_url.as_ref(),
                outer.event_source_url.as_ref(),
            )
            .unwrap_or_default(),
            referrer_url: first(inner.referrer_url.as_ref(), outer.referrer_url.as_ref()),
            opt_out: first(inner.opt_out.as_ref(), outer.opt_out.as_ref()),
            original,
            user_data: UserData::compile(sync, user_data(sync, row)),
            custom_data: CustomData::compile(
                [&outer.custom_data, &inner.custom_data],
                [&sync.properties, &row.properties],
                sync,
                sources,
            ),
        }
    }
}

/// What gives the row's own, else the sync's.
fn first<T: Clone>(inner: Option<&T>, outer: Option<&T>) -> Option<T> {
    inner.or(outer).cloned()
}

/// What a browser's own request says, for events that do not say it.
const STAND_INS: [(UserDataField, &str); 3] = [
    (UserDataField::ClientUserAgent, "request.user_agent"),
    (UserDataField::ClickId, "request.cookies._fbc"),
    (UserDataField::BrowserId, "request.cookies._fbp"),
];

/// The user data of a row, with the stand-ins. What the configuration switches off stays off.
fn user_data(sync: &SyncConfig, row: &EventConfig) -> BTreeMap<UserDataField, ValueExpr> {
    let mut fields = sync.mapping.user_data.clone();
    fields.extend(row.mapping.user_data.clone());
    for (field, path) in STAND_INS {
        let is_switched_off = fields.get(&field).is_some_and(ValueExpr::is_empty);
        if !is_switched_off {
            let stand_in = Path::parse(path).expect("a stand-in is a path");
            let expr = fields.entry(field).or_default();
            expr.sources.push(ValueSource::Path(stand_in));
        }
    }
    fields
}

/// The user data of the sync itself, then that of each row of its event table.
pub(super) fn all_user_data(sync: &SyncConfig) -> Vec<BTreeMap<UserDataField, ValueExpr>> {
    let rows = sync.events.iter().flat_map(BTreeMap::values);
    let whole_sync = user_data(sync, &EventConfig::default());
    std::iter::once(whole_sync)
        .chain(rows.map(|row| user_data(sync, row)))
        .collect()
}

/// What the hashed fields of a sync are made from, in all its tables: what one event hashes does not go out
/// in clear with another. Sources named in `allowed` are not included.
pub(super) fn hashed_sources(sync: &SyncConfig, allowed: &[String]) -> HashedSources {
    let tables = all_user_data(sync);
    let fields = tables.iter().flatten();
    HashedSources::of(fields.map(|(field, expr)| (*field, expr)), allowed)
}

/// The default of an expression, as a text.
fn constant_text(expr: &ValueExpr) -> Option<Arc<str>> {
    let text = expr.default.as_ref()?.json().as_str()?;
    Some(text.trim().into())
}
