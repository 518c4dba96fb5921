//! Writes one server event, member by member, and judges whether Meta would take it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::config::expressions::MetaActionSource;
use crate::config::fields::WebsiteField;
use crate::dropped::DropReason;
use crate::event::{Event, decimal};
use crate::expr::path::{Path, Scope};
use crate::expr::value::{FoundValue, ValueExpr};
use crate::hash::Hashed;
use crate::json::{Json, write};
use crate::map::action_source::{self, Decided};
use crate::map::custom_data::{self, Worth};
use crate::map::hashed_sources::Cover;
use crate::map::known::{ProfileView, Remembered};
use crate::map::page::{self, KeptParameters};
use crate::map::record::{Recorder, SentValue, ServerField, Source, note_ignored_id, note_nothing};
use crate::map::rule::Rule;
use crate::map::user_data::{self, Carried};
use crate::map::{MappedEvent, Mapper, REVENUE_EVENTS, app_data, data_use, event_time, personal};
use crate::normalize::field::UserDataField;
use crate::outcome::Reason;
use crate::payload::{Fingerprint, PURCHASE, Rejected};
use crate::profile::clicks::Clicks;

/// Hexadecimal digits of an event id that is a hash: 128 bits.
const HASHED_ID_DIGITS: usize = 32;

/// The rule by which the address of a page is written.
const URL: &str = "URL, with the parameters of page_url_parameters alone";

/// The members of `original_event_data`, in the order in which they are written.
const ORIGINAL: [&str; 4] = ["event_name", "event_time", "order_id", "event_id"];

/// One server event, while it is written.
pub(super) struct ServerEvent<'m, 'e, R> {
    /// The sync's mapping.
    pub(super) mapper: &'m Mapper,
    /// The row of the event table that applies.
    pub(super) rule: &'m Rule,
    /// What came in.
    pub(super) event: &'m Event<'e>,
    /// What is remembered of its person.
    pub(super) known: Option<ProfileView<'m>>,
    /// What is remembered of clicks.
    pub(super) clicks: &'m mut dyn Clicks,
    /// What is written so far, behind what belongs to others.
    pub(super) out: &'m mut Vec<u8>,
    /// Where the event begins in it.
    pub(super) start: usize,
    /// Is told of each field.
    pub(super) recorder: &'m mut R,
}

/// What is known of an event before anything is written.
struct Head<'a> {
    name: Cow<'a, str>,
    name_source: Source<'a>,
    name_rule: &'static str,
    /// Amplitude's revenue properties say what was paid.
    revenue: bool,
    happened: UnixMillis,
    time_source: Source<'a>,
    /// The seconds to send, or why Meta would not take an event of that moment.
    time: Result<i64, Reason>,
    id: EventId<'a>,
    page: Option<(Source<'a>, Cow<'a, str>)>,
    decided: Decided<'a>,
}

/// What identifies an event.
struct EventId<'a> {
    text: Cow<'a, str>,
    /// The device, else the user, within which an insert id is unique; empty for any other id.
    scope: Cow<'a, str>,
    source: Source<'a>,
    rule: &'static str,
}

impl<'m, R: Recorder> ServerEvent<'m, '_, R> {
    /// Writes the event, or says why Meta would not take it.
    pub(super) fn write(
        mut self,
        limited_data_use: bool,
        now: UnixMillis,
    ) -> Result<MappedEvent, Rejected> {
        let (rule, event, mapper) = (self.rule, self.event, self.mapper);
        let head = self.head(now)?;
        self.out.push(b'{');
        self.put_head(&head);
        if limited_data_use {
            let limit = &mapper.limited_data_use;
            data_use::write(self.out, limit, event, self.recorder);
        }
        let moment = user_data::Times {
            happened: head.happened,
            now,
        };
        let reading = &mapper.reading;
        let remembered = Remembered {
            person: self.known,
            clicks: &mut *self.clicks,
        };
        let carried =
            rule.user_data
                .write(self.out, event, reading, moment, remembered, self.recorder);
        if head.decided.source == MetaActionSource::Website {
            let lacking = [
                (
                    WebsiteField::ClientUserAgent,
                    !carried.has(UserDataField::ClientUserAgent),
                ),
                (WebsiteField::EventSourceUrl, head.page.is_none()),
            ];
            for (field, _) in lacking.into_iter().filter(|(_, lacks)| *lacks) {
                self.recorder.incomplete(field);
            }
        }
        let setting = custom_data::Setting {
            purchase: head.name == PURCHASE,
            revenue: head.revenue,
        };
        let worth = rule
            .custom_data
            .write(self.out, event, setting, self.recorder);
        if let (Some(device), Some(app)) = (head.decided.device, &mapper.app) {
            device.write(self.out, event, app, self.recorder);
        }
        self.put_original();
        self.out.push(b'}');
        self.judge(head, carried, worth, now)
    }

    fn head(&mut self, now: UnixMillis) -> Result<Head<'m>, Rejected> {
        let (rule, event) = (self.rule, self.event);
        let type_field = event.field("event_type");
        let event_type = type_field.and_then(Json::as_str);
        let event_type = event_type.filter(|name| !name.trim().is_empty());
        let Some((type_field, event_type)) = type_field.zip(event_type) else {
            return Err(Rejected::unmapped(Reason::NoEventName));
        };
        let is_revenue_event = REVENUE_EVENTS.contains(&&*event_type);
        let configured = self.configured_name();
        if configured.is_none() && personal::is_personal(&"event_type".into(), &event_type) {
            // The name is not kept either.
            return Err(Rejected::unmapped(Reason::PersonalEventName));
        }
        let (name, name_source, name_rule) = configured.unwrap_or_else(|| {
            (
                event_type,
                Source::at("event_type", type_field),
                "name as it came",
            )
        });
        let refuse = |reason| Rejected {
            event_name: Some((&*name).into()),
            ..Rejected::unmapped(reason)
        };
        let (happened, time_source) = self.happened().map_err(refuse)?;
        let page = self.page(&rule.event_source_url, "event_source_url");
        let app = self.mapper.app.as_ref();
        let wanted = &rule.action_source;
        let decided = action_source::decide(wanted, event, app, page.is_some(), self.recorder);
        Ok(Head {
            revenue: is_revenue_event || name == PURCHASE,
            name,
            name_source,
            name_rule,
            happened,
            time_source,
            time: action_source::check_time(
                happened,
                decided.source,
                self.mapper.browser_pixel,
                now,
            ),
            id: self.event_id(),
            page,
            decided,
        })
    }

    /// The name that the event table gives, unless it finds none that can be sent.
    fn configured_name(&mut self) -> Option<(Cow<'m, str>, Source<'m>, &'static str)> {
        let expr = self.rule.send_as.as_ref()?;
        let name = ServerField::Event("event_name");
        let Some(found) = expr.first(self.event) else {
            note_nothing(self.recorder, name, expr, self.event);
            return None;
        };
        let source = Source::found(&found);
        let text = match self.rule.name_covers.of_found(&found) {
            Cover::Free => personal::clean_text(found.value),
            _ => Err(DropReason::HashedSource),
        };
        // A fixed name is the operator's own.
        let text = match text {
            Ok(text) if found.path.is_some() && personal::is_personal(&"".into(), &text) => {
                Err(DropReason::PersonalData)
            }
            text => text,
        };
        match text {
            Ok(Cow::Borrowed(text)) => {
                Some((text.trim().into(), source, "name in the event table"))
            }
            Ok(Cow::Owned(text)) => {
                let name = text.trim().to_owned();
                Some((name.into(), source, "name in the event table"))
            }
            Err(reason) => {
                self.recorder.dropped(name, source, reason);
                None
            }
        }
    }

    fn put_head(&mut self, head: &Head<'m>) {
        self.put_text("event_name", head.name_source, head.name_rule, &head.name);
        let seconds = head.seconds();
        self.put(
            "event_time",
            head.time_source,
            "seconds since 1970",
            |out| {
                write::integer(out, seconds);
            },
        );
        self.put_text("event_id", head.id.source, head.id.rule, &head.id.text);
        let source = head.decided.source.as_str();
        self.put_text(
            "action_source",
            head.decided.from,
            head.decided.rule,
            source,
        );
        if let Some((source, url)) = &head.page {
            self.put_text("event_source_url", *source, URL, url);
        }
        if let Some(expr) = &self.rule.referrer_url
            && let Some((source, url)) = self.page(expr, "referrer_url")
        {
            self.put_text("referrer_url", source, URL, &url);
        }
        self.put_opt_out();
    }

    fn judge(
        self,
        head: Head<'_>,
        carried: Carried,
        worth: Worth,
        now: UnixMillis,
    ) -> Result<MappedEvent, Rejected> {
        let is_small = self.out.len() - self.start <= self.mapper.most_bytes;
        let purchase = head.name == PURCHASE;
        let objection = match head.time {
            Err(reason) => Some(reason),
            Ok(_) if !carried.is_sufficient() => Some(Reason::NoIdentifier),
            Ok(_) if purchase && worth.grouped => Some(Reason::GroupedNumber),
            Ok(_) if purchase && !worth.value => Some(Reason::PurchaseWithoutValue),
            Ok(_) if purchase && !worth.currency => Some(Reason::PurchaseWithoutCurrency),
            Ok(_) if !is_small => Some(Reason::EventTooLarge),
            Ok(_) => None,
        };
        if let Some(reason) = objection {
            let json = self.out.split_off(self.start);
            return Err(Rejected {
                reason,
                event_name: Some(head.name.into()),
                event_id: Some(head.id.text.into()),
                json: is_small.then_some(json),
            });
        }
        let (source, pixel) = (head.decided.source, self.mapper.browser_pixel);
        if action_source::may_count_twice(head.seconds(), source, pixel, now) {
            self.recorder.may_count_twice();
        }
        let sync = self.mapper.sync.as_str();
        let window = action_source::window(source, pixel);
        Ok(MappedEvent {
            fingerprint: Fingerprint::new(&head.id.text, sync, &head.name, &head.id.scope),
            deadline: head.seconds().saturating_add(window),
            event_name: match &self.rule.event_name {
                Some(name) if **name == *head.name => Arc::clone(name),
                _ => head.name.into(),
            },
        })
    }

    fn happened(&self) -> Result<(UnixMillis, Source<'m>), Reason> {
        let mut reason = Reason::NoEventTime;
        for field in event_time::NAMES {
            let Some(value) = self.event.field(field).filter(|value| !value.is_absent()) else {
                continue;
            };
            if let Some(moment) = event_time::parse(value) {
                return Ok((moment, Source::at(field, value)));
            }
            if event_time::is_grouped(value) {
                reason = Reason::GroupedNumber;
            }
        }
        Err(reason)
    }

    fn event_id(&mut self) -> EventId<'m> {
        let mut id = None;
        self.rule.event_id.visit(self.event.into(), &mut |found| {
            if id.is_none() {
                id = self.id_of(found);
            }
            id.is_some()
        });
        if id.is_none() {
            let (name, expr) = (ServerField::Event("event_id"), &self.rule.event_id);
            note_ignored_id(self.recorder, name, expr, self.event);
        }
        id.unwrap_or_else(|| EventId {
            text: hashed_id(self.event.raw()).into(),
            scope: Cow::Borrowed(""),
            source: Source::made(),
            rule: "hash of the raw event",
        })
    }

    /// The id that a value stands for, if any.
    fn id_of(&self, found: FoundValue<'m>) -> Option<EventId<'m>> {
        if found.value.is_absent() {
            return None;
        }
        if found.value.as_bool().is_some() {
            return None;
        }
        // `12345.0` is the id that a browser calls `12345`; a fraction stays as it came.
        let text = decimal::text_of(found.value).filter(|text| !user_data::is_invalid_id(text))?;
        let root = found.path.and_then(Path::root);
        let is_insert_id = matches!(root, Some("$insert_id" | "insert_id"));
        let scope = ["device_id", "user_id"]
            .into_iter()
            .filter_map(|field| self.event.field(field))
            .find(|id| !id.is_absent())
            .and_then(Json::as_str)
            .filter(|_| is_insert_id);
        let (text, rule) = if personal::holds_email(&text) {
            (
                hashed_id(&*text).into(),
                "hash of an id that holds an e-mail address",
            )
        } else if *self.rule.id_covers.of_found(&found) != Cover::Free {
            (
                hashed_id(&*text).into(),
                "hash of an id that a hashed field is made from",
            )
        } else {
            (text, "id")
        };
        Some(EventId {
            text,
            scope: scope.unwrap_or_default(),
            source: Source::found(&found),
            rule,
        })
    }

    fn page(
        &mut self,
        expr: &'m ValueExpr,
        name: &'static str,
    ) -> Option<(Source<'m>, Cow<'m, str>)> {
        let Some(found) = expr.first(self.event) else {
            note_nothing(self.recorder, ServerField::Event(name), expr, self.event);
            return None;
        };
        let source = Source::found(&found);
        let kept = match found.path {
            Some(_) => &self.mapper.page_parameters,
            // The operator's own parameters are meant.
            None => KeptParameters::ALL,
        };
        match page::url(found.value, kept) {
            Ok(url) => Some((source, url)),
            Err(reason) => {
                self.recorder
                    .dropped(ServerField::Event(name), source, reason);
                None
            }
        }
    }

    fn put_opt_out(&mut self) {
        let Some(expr) = &self.rule.opt_out else {
            return;
        };
        let scope = Scope::from(self.event);
        let other = scope.other_reading().and_then(|other| expr.first(other));
        // An opt-out counts by whichever reading of the event's operations there is one.
        let other = other.filter(|other| app_data::boolean(other.value) == Some(true));
        let Some(found) = other.or_else(|| expr.first(scope)) else {
            return note_nothing(
                self.recorder,
                ServerField::Event("opt_out"),
                expr,
                self.event,
            );
        };
        let source = Source::found(&found);
        let Some(flag) = app_data::boolean(found.value) else {
            let field = ServerField::Event("opt_out");
            return self
                .recorder
                .dropped(field, source, DropReason::NotABoolean);
        };
        self.put("opt_out", source, "flag", |out| {
            out.extend_from_slice(if flag { b"true" } else { b"false" });
        });
    }

    /// Writes what ties a late event to its original, unless nothing of it is known.
    fn put_original(&mut self) {
        if self.rule.original.is_empty() {
            return;
        }
        let start = self.out.len();
        write::plain_key(self.out, "original_event_data");
        self.out.push(b'{');
        let empty = self.out.len();
        for name in ORIGINAL {
            let Some(expr) = self.rule.original.get(name) else {
                continue;
            };
            let field = ServerField::Original(name);
            let Some(found) = expr.first(self.event) else {
                note_nothing(self.recorder, field, expr, self.event);
                continue;
            };
            let source = Source::found(&found);
            let member = self.out.len();
            write::plain_key(self.out, name);
            let before = self.out.len();
            let written = if name == "event_time" {
                event_time::parse(found.value)
                    .map(|moment| write::integer(self.out, moment.seconds()))
                    .ok_or(DropReason::NotADate)
            } else {
                match self.rule.id_covers.of_found(&found) {
                    Cover::Free => personal::clean_text(found.value)
                        .map(|text| write::text(self.out, text.trim())),
                    _ => Err(DropReason::HashedSource),
                }
            };
            match written {
                Ok(()) => {
                    let sent = SentValue::plain(self.out, before, "original event");
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

    /// Writes a member of the server event whose name needs no escape.
    fn put(
        &mut self,
        name: &'static str,
        source: Source<'_>,
        rule: &'static str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        write::plain_key(self.out, name);
        let before = self.out.len();
        write(self.out);
        let sent = SentValue::plain(self.out, before, rule);
        self.recorder.sent(ServerField::Event(name), source, sent);
    }

    fn put_text(&mut self, name: &'static str, source: Source<'_>, rule: &'static str, text: &str) {
        self.put(name, source, rule, |out| write::text(out, text));
    }
}

impl Head<'_> {
    /// The seconds to send; for an event that is refused for its time, those that it came with.
    fn seconds(&self) -> i64 {
        self.time.unwrap_or_else(|_| self.happened.seconds())
    }
}

fn hashed_id(raw: impl AsRef<[u8]>) -> String {
    let mut digits = Hashed::of(raw).as_str().to_owned();
    digits.truncate(HASHED_ID_DIGITS);
    digits
}
