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
    /// What of the values that name the event may not go out in clear.
    pub(super) name_covers: Covers,
    /// The same of the values that identify it, or the one that it adds to.
    pub(super) id_covers: Covers,
}

impl Rule {
    /// Compiles a row; no row stands for a sync without an event table. `sources` are those of the sync.
    pub(super) fn compile(
        sync: &SyncConfig,
        row: Option<&EventConfig>,
        sources: &HashedSources,
    ) -> Self {
        let default = EventConfig::default();
        let row = row.unwrap_or(&default);
        let (outer, inner) = (&sync.mapping, &row.mapping);
        let first = |inner: &Option<ValueExpr>, outer: &Option<ValueExpr>| {
            inner.as_ref().or(outer.as_ref()).cloned()
        };
        let mut original = outer.original_event_data.clone();
        original.extend(inner.original_event_data.clone());
        // A sync's own has a default.
        let event_id = first(&inner.event_id, &outer.event_id).unwrap_or_default();
        let traits = sources.of_traits();
        Self {
            name_covers: Covers::of(sources, row.send_as.iter().flat_map(ValueExpr::paths)),
            id_covers: Covers::of(
                &traits,
                original
                    .values()
                    .chain([&event_id])
                    .flat_map(ValueExpr::paths),
            ),
            send_as: row.send_as.clone(),
            event_name: row.send_as.as_ref().and_then(constant_text),
            event_id,
            action_source: inner
                .action_source
                .as_ref()
                .or(outer.action_source.as_ref())
                .cloned()
                .unwrap_or(ActionSource::Auto),
            event_source_url: first(&inner.event_source_url, &outer.event_source_url)
                .unwrap_or_default(),
            referrer_url: first(&inner.referrer_url, &outer.referrer_url),
            opt_out: first(&inner.opt_out, &outer.opt_out),
            original,
            user_data: UserData::compile(user_data(sync, row)),
            custom_data: CustomData::compile(
                [&outer.custom_data, &inner.custom_data],
                [&sync.properties, &row.properties],
                sync,
                sources,
            ),
        }
    }
}

/// What a browser's own request tells, which stands in where an event of it tells nothing.
const STAND_INS: [(UserDataField, &str); 3] = [
    (UserDataField::ClientUserAgent, "request.user_agent"),
    (UserDataField::ClickId, "request.cookies._fbc"),
    (UserDataField::BrowserId, "request.cookies._fbp"),
];

/// The user data of a row, with what stands in. What the configuration switches off stays off.
pub(super) fn user_data(
    sync: &SyncConfig,
    row: &EventConfig,
) -> BTreeMap<UserDataField, ValueExpr> {
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

/// What the hashed fields of a sync are made from, in whichever of its tables: what one event hashes does
/// not go out in clear with another. `allowed` is left out.
pub(super) fn hashed_sources(sync: &SyncConfig, allowed: &[String]) -> HashedSources {
    let no_row = EventConfig::default();
    let rows = sync.events.iter().flat_map(BTreeMap::values);
    let tables: Vec<_> = std::iter::once(&no_row)
        .chain(rows)
        .map(|row| user_data(sync, row))
        .collect();
    let fields = tables.iter().flatten();
    HashedSources::of(fields.map(|(field, expr)| (*field, expr)), allowed)
}

/// The text that an expression gives where nothing else gives one.
fn constant_text(expr: &ValueExpr) -> Option<Arc<str>> {
    let text = expr.default.as_ref()?.json().as_str()?;
    Some(text.trim().into())
}
