//! From an Amplitude event to the bytes that travel to Meta.
//!
//! A [`Mapper`] is one sync's mapping, compiled: what the sync says and what a row of its event table
//! overrides are merged when the configuration is loaded, not per event. [`Mapper::map`] is pure; the
//! time arrives as an argument, and what metrics need leaves through a [`Recorder`].
//!
//! It promises that nothing personal leaves it in clear text but what Meta asks for so, that no text is
//! empty and no value null, and that an event which Meta would refuse is refused here, with a reason.
//! A value that cannot be used costs its field, never the event.
//!
//! The `event_id` is what the expression finds, else a hash of the raw event. Ids that Amplitude
//! counts as invalid are passed over: an id that stands for nobody would make all events duplicates.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::config::{AppConfig, LimitedDataUse, Mistake, SyncConfig, SyncName};
use crate::event::Event;
use crate::outcome::Reason;
use crate::path::ValueExpr;

pub mod dropped;
pub mod explain;
pub mod hash;
pub mod normalize;
pub mod payload;
pub mod record;

mod action_source;
mod app_data;
mod check;
mod custom_data;
mod data_use;
mod event_time;
mod json;
mod list;
mod page;
mod personal;
mod rule;
mod standard_event;
mod user_data;

use dropped::DropReason;
use payload::{Fingerprint, Payload};
use record::{Field, Recorder, Sent, Source};
use rule::Rule;
use user_data::Reading;

/// The one standard event that Meta refuses without a value.
const PURCHASE: &str = "Purchase";

/// Amplitude's own revenue events, whose properties say what was paid.
const REVENUE_EVENTS: &[&str] = &["revenue_amount", "verified_revenue", "unverified_revenue"];

/// Room for what stands around the events of a request.
const ENVELOPE_BYTES: usize = 256;

/// Hexadecimal digits of an event id that is a hash: 128 bits.
const HASHED_ID_DIGITS: usize = 32;

/// The members of `original_event_data`, in the order in which they are written.
const ORIGINAL: [&str; 4] = ["event_name", "event_time", "order_id", "event_id"];

/// One sync's mapping, compiled.
#[derive(Debug)]
pub struct Mapper {
    sync: SyncName,
    /// One per row of the event table, in its order; a single one where there is no table.
    rules: Vec<Rule>,
    reading: Reading,
    app: Option<AppConfig>,
    limited_data_use: LimitedDataUse,
    most_bytes: usize,
}

/// What selection says of an event that is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The place in the event table of the row that applies; 0 where there is no table.
    pub place: usize,
    /// Whether the use of the event is limited.
    pub limited_data_use: bool,
}

/// An event that Meta would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Meta's event name, where it was found.
    pub event_name: Option<Box<str>>,
    /// The event id, where it was found.
    pub event_id: Option<Box<str>>,
    /// The mapped event, where it could be mapped and is not too large to be kept.
    pub json: Option<Vec<u8>>,
}

/// Whether a text is an id that stands for nobody, by Amplitude's list.
pub fn is_invalid_id(text: &str) -> bool {
    user_data::is_invalid_id(text)
}

impl Mapper {
    /// Compiles the mapping of a sync, and notes what cannot be right.
    pub fn compile(name: &SyncName, sync: &SyncConfig, mistakes: &mut Vec<Mistake>) -> Self {
        check::mistakes(name, sync, mistakes);
        let rules = match &sync.events {
            Some(events) => events
                .values()
                .map(|row| Rule::compile(sync, Some(row)))
                .collect(),
            None => vec![Rule::compile(sync, None)],
        };
        Self {
            sync: name.clone(),
            rules,
            reading: Reading::of(sync),
            app: sync.app.clone(),
            limited_data_use: sync.limited_data_use.clone(),
            most_bytes: sync
                .delivery
                .max_batch_bytes
                .get()
                .saturating_sub(ENVELOPE_BYTES),
        }
    }

    /// What looks wrong in the mapping of a sync and may still be meant.
    pub fn warnings(name: &SyncName, sync: &SyncConfig) -> Vec<Mistake> {
        check::warnings(name, sync)
    }

    /// Maps one event, or says why Meta would not take it.
    pub fn map(
        &self,
        event: &Event<'_>,
        row: Row,
        now: UnixMillis,
        recorder: &mut impl Recorder,
    ) -> Result<Payload, Refused> {
        let Some(rule) = self.rules.get(row.place) else {
            return Err(Refused::unmapped(Reason::NotSelected, None));
        };
        let mut mapping = Mapping {
            mapper: self,
            rule,
            event,
            out: Vec::with_capacity(1024),
            recorder,
        };
        mapping.run(row.limited_data_use, now)
    }
}

impl Refused {
    fn unmapped(reason: Reason, event_name: Option<&str>) -> Self {
        Self {
            reason,
            event_name: event_name.map(Into::into),
            event_id: None,
            json: None,
        }
    }
}

/// The mapping of one event.
struct Mapping<'m, 'e, R> {
    mapper: &'m Mapper,
    rule: &'m Rule,
    event: &'m Event<'e>,
    out: Vec<u8>,
    recorder: &'m mut R,
}

impl<'m, 'e, R: Recorder> Mapping<'m, 'e, R> {
    fn run(&mut self, limited_data_use: bool, now: UnixMillis) -> Result<Payload, Refused> {
        let (rule, event) = (self.rule, self.event);
        let event_type = event.field("event_type").and_then(|value| value.as_str());
        let event_type = event_type.filter(|name| !name.trim().is_empty());
        let Some(event_type) = event_type else {
            return Err(Refused::unmapped(Reason::NoEventName, None));
        };
        let name = rule.send_as.as_deref().unwrap_or(&event_type);
        let refuse = |reason| Refused::unmapped(reason, Some(name));
        let (happened, time_source) = self.happened().ok_or_else(|| refuse(Reason::NoEventTime))?;
        let id = self.event_id();
        let page = self.page(&rule.event_source_url, "event_source_url");
        let app = self.mapper.app.as_ref();
        let decided = action_source::decide(&rule.action_source, event, app, page.is_some())
            .map_err(refuse)?;
        let time = action_source::check_time(happened, decided.source, now);

        self.out.push(b'{');
        self.put("event_name", Source::made(), "name", |out| {
            json::text(out, name)
        });
        let seconds = time.unwrap_or(happened.seconds());
        self.put("event_time", time_source, "seconds since 1970", |out| {
            json::integer(out, seconds)
        });
        self.put("event_id", id.source, id.rule, |out| {
            json::text(out, &id.text)
        });
        let source = decided.source.as_str();
        self.put(
            "action_source",
            decided.from,
            "where it took place",
            |out| json::text(out, source),
        );
        if let Some((source, url)) = page {
            self.put("event_source_url", source, "URL", |out| {
                json::text(out, &url)
            });
        }
        if let Some(expr) = &rule.referrer_url
            && let Some((source, url)) = self.page(expr, "referrer_url")
        {
            self.put("referrer_url", source, "URL", |out| json::text(out, &url));
        }
        self.opt_out();
        if limited_data_use {
            data_use::write(
                &mut self.out,
                &self.mapper.limited_data_use,
                event,
                self.recorder,
            );
        }
        let carried = rule.user_data.write(
            &mut self.out,
            event,
            &self.mapper.reading,
            happened,
            now,
            self.recorder,
        );
        let purchase = name == PURCHASE;
        let setting = custom_data::Setting {
            purchase,
            revenue: purchase || REVENUE_EVENTS.contains(&&*event_type),
        };
        let worth = rule
            .custom_data
            .write(&mut self.out, event, setting, self.recorder);
        if let (Some(device), Some(app)) = (decided.device, app) {
            device.write(&mut self.out, event, app, self.recorder);
        }
        self.original();
        self.out.push(b'}');

        let objection = match time {
            Err(reason) => Some(reason),
            Ok(_) if !carried.is_sufficient() => Some(Reason::NoIdentifier),
            Ok(_) if purchase && !worth.value => Some(Reason::PurchaseWithoutValue),
            Ok(_) if purchase && !worth.currency => Some(Reason::PurchaseWithoutCurrency),
            Ok(_) if self.out.len() > self.mapper.most_bytes => Some(Reason::EventTooLarge),
            Ok(_) => None,
        };
        let json = std::mem::take(&mut self.out);
        if let Some(reason) = objection {
            return Err(Refused {
                reason,
                event_name: Some(name.into()),
                event_id: Some(id.text.into()),
                json: (json.len() <= self.mapper.most_bytes).then_some(json),
            });
        }
        let sync = self.mapper.sync.as_str();
        Ok(Payload {
            fingerprint: Fingerprint::new(&id.text, sync, name, &id.scope),
            json,
            event_name: name.into(),
            deadline: seconds.saturating_add(action_source::window(decided.source)),
        })
    }

    /// Writes a member of the server event whose name needs no escape.
    fn put(
        &mut self,
        name: &'static str,
        source: Source<'_>,
        rule: &'static str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        json::plain_key(&mut self.out, name);
        let before = self.out.len();
        write(&mut self.out);
        let sent = Sent::plain(&self.out, before, rule);
        self.recorder.sent(Field::Event(name), source, sent);
    }

    fn happened(&self) -> Option<(UnixMillis, Source<'e>)> {
        ["event_time", "time"].into_iter().find_map(|field| {
            let value = self.event.field(field).filter(|value| !value.is_absent())?;
            Some((event_time::parse(value)?, Source::at(field, value)))
        })
    }

    fn event_id(&self) -> EventId<'m> {
        let expr: &'m ValueExpr = &self.rule.event_id;
        for path in &expr.paths {
            let Some(value) = path.first(self.event) else {
                continue;
            };
            let Some(text) = value.text().filter(|text| !user_data::is_invalid_id(text)) else {
                continue;
            };
            let is_insert_id = matches!(path.root(), Some("$insert_id" | "insert_id"));
            let scope = ["device_id", "user_id"]
                .into_iter()
                .find_map(|field| self.event.field(field)?.as_str())
                .filter(|_| is_insert_id);
            return EventId {
                text,
                scope: scope.unwrap_or_default(),
                source: Source::at(path.as_str(), value),
                rule: "id",
            };
        }
        let mut digits = hex::encode(Sha256::digest(self.event.raw()));
        digits.truncate(HASHED_ID_DIGITS);
        EventId {
            text: digits.into(),
            scope: Cow::Borrowed(""),
            source: Source::made(),
            rule: "hash of the raw event",
        }
    }

    fn page(
        &mut self,
        expr: &'m ValueExpr,
        name: &'static str,
    ) -> Option<(Source<'m>, Cow<'m, str>)> {
        let Some(found) = expr.first(self.event) else {
            self.recorder.absent(Field::Event(name), expr);
            return None;
        };
        let source = Source::found(&found);
        match page::url(found.value) {
            Ok(url) => Some((source, url)),
            Err(reason) => {
                self.recorder.dropped(Field::Event(name), source, reason);
                None
            }
        }
    }

    fn opt_out(&mut self) {
        let Some(expr) = &self.rule.opt_out else {
            return;
        };
        let Some(found) = expr.first(self.event) else {
            return self.recorder.absent(Field::Event("opt_out"), expr);
        };
        let source = Source::found(&found);
        match app_data::boolean(found.value) {
            Some(flag) => self.put("opt_out", source, "flag", |out| {
                out.extend_from_slice(if flag { b"true" } else { b"false" });
            }),
            None => {
                let field = Field::Event("opt_out");
                self.recorder
                    .dropped(field, source, DropReason::NotABoolean);
            }
        }
    }

    /// Writes what ties a late event to its original, unless nothing of it is known.
    fn original(&mut self) {
        if self.rule.original.is_empty() {
            return;
        }
        let start = self.out.len();
        json::plain_key(&mut self.out, "original_event_data");
        self.out.push(b'{');
        let empty = self.out.len();
        for name in ORIGINAL {
            let Some(expr) = self.rule.original.get(name) else {
                continue;
            };
            let field = Field::Original(name);
            let Some(found) = expr.first(self.event) else {
                self.recorder.absent(field, expr);
                continue;
            };
            let source = Source::found(&found);
            let member = self.out.len();
            json::plain_key(&mut self.out, name);
            let before = self.out.len();
            let written = if name == "event_time" {
                event_time::parse(found.value)
                    .map(|moment| json::integer(&mut self.out, moment.seconds()))
                    .ok_or(DropReason::NotADate)
            } else {
                let text = personal::clean_text(found.value);
                text.map(|text| json::text(&mut self.out, text.trim()))
            };
            match written {
                Ok(()) => {
                    let sent = Sent::plain(&self.out, before, "original event");
                    self.recorder.sent(field, source, sent);
                }
                Err(reason) => {
                    self.out.truncate(member);
                    self.recorder.dropped(field, source, reason);
                }
            }
        }
        if self.out.len() == empty {
            self.out.truncate(start);
        } else {
            self.out.push(b'}');
        }
    }
}

/// What identifies an event.
struct EventId<'a> {
    text: Cow<'a, str>,
    /// The device, else the user, within which an insert id is unique; empty for any other id.
    scope: Cow<'a, str>,
    source: Source<'a>,
    rule: &'static str,
}
