//! Writes one server event, member by member, and judges whether Meta would accept it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::config::expressions::MetaActionSource;
use crate::config::fields::WebsiteField;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::event::number;
use crate::expr::path::{Path, Scope};
use crate::expr::value::{FoundValue, ValueExpr};
use crate::hash::Hashed;
use crate::json::{Json, write};
use crate::map::action_source::{self, Decided};
use crate::map::custom_data::{self, Worth};
use crate::map::hashed_sources::Cover;
use crate::map::page::{self, KeptParameters};
use crate::map::profile_view::KnownData;
use crate::map::record::{
    Recorder, ServerField, Source, first_found, record_absent, record_ignored_id, write_member,
};
use crate::map::rule::Rule;
use crate::map::user_data::{self, Carried};
use crate::map::{Mapper, REVENUE_EVENTS, app_data, data_use, event_time, personal};
use crate::normalize::field::UserDataField;
use crate::outcome::Reason;
use crate::payload::{Fingerprint, MapResult, Mistimed, PURCHASE, Payload, PayloadArena, Rejected};

/// Hexadecimal digits of an event id that is a hash: 128 bits.
const HASHED_ID_DIGITS: usize = 32;

/// The members of `original_event_data`, in the order in which they are written.
const ORIGINAL: [&str; 4] = ["event_name", "event_time", "order_id", "event_id"];

/// One server event, while it is written.
pub(super) struct ServerEvent<'m, 'e, 'k, R> {
    pub(super) mapper: &'m Mapper,
    /// The row of the event table that applies.
    pub(super) rule: &'m Rule,
    pub(super) event: &'m Event<'e>,
    pub(super) known: KnownData<'k>,
    /// What is written so far.
    pub(super) out: Vec<u8>,
    pub(super) recorder: &'m mut R,
}

/// A member whose value is a text, before it is written.
struct TextMember<'a> {
    text: Cow<'a, str>,
    source: Source<'a>,
    rule: &'static str,
}

/// What is decided about an event before anything is written.
struct Head<'a> {
    name: TextMember<'a>,
    /// Amplitude's revenue properties say what was paid.
    revenue: bool,
    happened: UnixMillis,
    time_source: Source<'a>,
    /// The seconds to send, or why Meta would not accept an event of that time.
    time: Result<i64, Reason>,
    id: TextMember<'a>,
    /// The device, else the user, for which an insert id is unique; empty for any other id.
    id_scope: Cow<'a, str>,
    page: Option<TextMember<'a>>,
    decided: Decided<'a>,
}

impl<'m, R: Recorder> ServerEvent<'m, '_, '_, R> {
    /// Writes the event, or says why Meta would not accept it.
    pub(super) fn write(
        mut self,
        limited_data_use: bool,
        now: UnixMillis,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        let (rule, event, mapper) = (self.rule, self.event, self.mapper);
        let head = self.head(now)?;
        self.out = payloads.draft();
        self.out.push(b'{');
        self.put_head(&head);
        let (out, recorder) = (&mut self.out, &mut *self.recorder);
        if limited_data_use {
            data_use::write(out, &mapper.limited_data_use, event, recorder);
        }
        let context = rule.user_data.context(event, head.happened, now);
        let carried = rule
            .user_data
            .write(out, event, &context, &mut self.known, recorder);
        if head.decided.source == MetaActionSource::Website {
            if !carried.has(UserDataField::ClientUserAgent) {
                recorder.incomplete(WebsiteField::ClientUserAgent);
            }
            if head.page.is_none() {
                recorder.incomplete(WebsiteField::EventSourceUrl);
            }
        }
        let setting = custom_data::Setting {
            purchase: head.name.text == PURCHASE,
            revenue: head.revenue,
        };
        let worth = rule.custom_data.write(out, event, setting, recorder);
        if let (Some(device), Some(app)) = (head.decided.device, &mapper.app) {
            device.write(out, event, app, recorder);
        }
        self.put_original();
        self.out.push(b'}');
        self.judge(head, carried, worth, now, payloads)
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
        let name = configured.unwrap_or_else(|| TextMember {
            text: event_type,
            source: Source::at("event_type", type_field),
            rule: "name as it came",
        });
        let refuse = |reason| Rejected {
            event_name: Some((&*name.text).into()),
            ..Rejected::unmapped(reason)
        };
        let (happened, time_source) = self.happened().map_err(refuse)?;
        let page = self.page(&rule.event_source_url, "event_source_url");
        let app = self.mapper.app.as_ref();
        let wanted = &rule.action_source;
        let decided = action_source::decide(wanted, event, app, page.is_some(), self.recorder);
        let pixel = self.mapper.browser_pixel;
        let (id, id_scope) = self.event_id();
        Ok(Head {
            revenue: is_revenue_event || name.text == PURCHASE,
            name,
            happened,
            time_source,
            time: action_source::check_time(happened, decided.source, pixel, now),
            id,
            id_scope,
            page,
            decided,
        })
    }

    /// The name that the event table gives, unless it finds none that can be sent.
    fn configured_name(&mut self) -> Option<TextMember<'m>> {
        let expr = self.rule.send_as.as_ref()?;
        let field = ServerField::Event("event_name");
        let found = first_found(self.recorder, field, expr, self.event)?;
        let source = Source::found(&found);
        let name = match self.rule.name_covers.of_found(&found) {
            Cover::Free => personal::clean_text(found.value),
            _ => Err(DropReason::HashedSource),
        };
        match name {
            // A fixed name is the operator's own.
            Ok(text) if found.path.is_none() || !personal::is_personal(&"".into(), &text) => {
                let rule = "name in the event table";
                Some(TextMember { text, source, rule })
            }
            refused => {
                let reason = refused.err().unwrap_or(DropReason::PersonalData);
                self.recorder.dropped(field, source, reason);
                None
            }
        }
    }

    fn put_head(&mut self, head: &Head<'m>) {
        self.put_text("event_name", &head.name);
        self.put("event_time", head.time_source, |out| {
            write::integer(out, head.seconds());
            Ok("seconds since 1970")
        });
        self.put_text("event_id", &head.id);
        let action_source = TextMember {
            text: head.decided.source.as_str().into(),
            source: head.decided.from,
            rule: head.decided.rule,
        };
        self.put_text("action_source", &action_source);
        if let Some(page) = &head.page {
            self.put_text("event_source_url", page);
        }
        let referrer = self.rule.referrer_url.as_ref();
        if let Some(page) = referrer.and_then(|expr| self.page(expr, "referrer_url")) {
            self.put_text("referrer_url", &page);
        }
        self.put_opt_out();
    }

    fn judge(
        self,
        head: Head<'_>,
        carried: Carried,
        worth: Worth,
        now: UnixMillis,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        let is_small = self.out.len() <= self.mapper.most_bytes;
        let purchase = head.name.text == PURCHASE;
        let objection = match () {
            () if !carried.is_sufficient() => Some(Reason::NoIdentifier),
            () if purchase && worth.grouped => Some(Reason::GroupedNumber),
            () if purchase && !worth.value => Some(Reason::PurchaseWithoutValue),
            () if purchase && !worth.currency => Some(Reason::PurchaseWithoutCurrency),
            () if !is_small => Some(Reason::EventTooLarge),
            () => None,
        };
        let (source, pixel) = (head.decided.source, self.mapper.browser_pixel);
        let queueing = || Mistimed {
            fingerprint: Fingerprint::new(
                &head.id.text,
                self.mapper.sync.as_str(),
                &head.name.text,
                &head.id_scope,
            ),
            deadline: (head.seconds()).saturating_add(action_source::window(source, pixel)),
        };
        if let Some(reason) = head.time.err().or(objection) {
            // Where only the time is wrong, it may be our clock that is.
            let mistimed = objection.is_none().then(|| Box::new(queueing()));
            return Err(Rejected {
                reason,
                event_name: Some(head.name.text.into()),
                event_id: Some(head.id.text.into()),
                json: is_small.then(|| payloads.rejected(self.out)),
                mistimed,
                counted_alone: false,
            });
        }
        if action_source::may_count_twice(head.seconds(), source, pixel, now) {
            self.recorder.may_count_twice();
        }
        let Mistimed {
            fingerprint,
            deadline,
        } = queueing();
        Ok(Payload {
            json: payloads.finish(self.out),
            fingerprint,
            deadline,
            event_name: match &self.rule.event_name {
                Some(name) if **name == *head.name.text => Arc::clone(name),
                _ => head.name.text.into(),
            },
        })
    }

    fn happened(&self) -> Result<(UnixMillis, Source<'m>), Reason> {
        let mut reason = Reason::NoEventTime;
        for field in event_time::NAMES {
            let Some(value) = self.event.field(field).filter(|value| !value.is_absent()) else {
                continue;
            };
            if let Some(time) = event_time::parse(value) {
                return Ok((time, Source::at(field, value)));
            }
            if event_time::is_grouped(value) {
                reason = Reason::GroupedNumber;
            }
        }
        Err(reason)
    }

    /// The event id, and what it is unique for.
    fn event_id(&mut self) -> (TextMember<'m>, Cow<'m, str>) {
        let expr = &self.rule.event_id;
        let mut id = None;
        expr.visit(self.event.into(), &mut |found| {
            if id.is_none() {
                id = self.id_of(found);
            }
            id.is_some()
        });
        id.unwrap_or_else(|| {
            let field = ServerField::Event("event_id");
            record_ignored_id(self.recorder, field, expr, self.event);
            let hash = TextMember {
                text: hashed_id(self.event.raw()).into(),
                source: Source::made(),
                rule: "hash of the raw event",
            };
            (hash, Cow::Borrowed(""))
        })
    }

    /// Reads an id, and gives what it is unique for.
    fn id_of(&self, found: FoundValue<'m>) -> Option<(TextMember<'m>, Cow<'m, str>)> {
        if found.value.is_absent() || found.value.as_bool().is_some() {
            return None;
        }
        // `12345.0` is the id that a browser calls `12345`; a fraction stays as it came.
        let text = number::text_of(found.value).filter(|text| !user_data::is_invalid_id(text))?;
        let root = found.path.and_then(Path::root);
        let is_insert_id = matches!(root, Some("$insert_id" | "insert_id"));
        let scope = ["device_id", "user_id"]
            .into_iter()
            .filter_map(|field| self.event.field(field))
            .find(|id| !id.is_absent())
            .and_then(Json::as_str)
            .filter(|_| is_insert_id);
        let rule_of_hash = if personal::holds_email(&text) {
            Some("hash of an id that holds an e-mail address")
        } else if *self.rule.id_covers.of_found(&found) != Cover::Free {
            Some("hash of an id that a hashed field is made from")
        } else {
            None
        };
        let id = TextMember {
            text: match rule_of_hash {
                Some(_) => hashed_id(&*text).into(),
                None => text,
            },
            source: Source::found(&found),
            rule: rule_of_hash.unwrap_or("id"),
        };
        Some((id, scope.unwrap_or_default()))
    }

    fn page(&mut self, expr: &'m ValueExpr, name: &'static str) -> Option<TextMember<'m>> {
        let field = ServerField::Event(name);
        let found = first_found(self.recorder, field, expr, self.event)?;
        let source = Source::found(&found);
        let kept = match found.path {
            Some(_) => &self.mapper.page_parameters,
            // The operator wants the parameters of a fixed address.
            None => KeptParameters::ALL,
        };
        match page::url(found.value, kept) {
            Ok(text) => Some(TextMember {
                text,
                source,
                rule: "URL, with the parameters of page_url_parameters alone",
            }),
            Err(reason) => {
                self.recorder.dropped(field, source, reason);
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
        // Either reading of the event's operations may give the opt-out.
        let other = other.filter(|other| app_data::boolean(other.value) == Some(true));
        let Some(found) = other.or_else(|| expr.first(scope)) else {
            let field = ServerField::Event("opt_out");
            return record_absent(self.recorder, field, expr, scope);
        };
        self.put("opt_out", Source::found(&found), |out| {
            let flag = app_data::boolean(found.value).ok_or(DropReason::NotABoolean)?;
            out.extend_from_slice(if flag { b"true" } else { b"false" });
            Ok("flag")
        });
    }

    /// Writes what ties a late event to its original, unless nothing of it is known.
    fn put_original(&mut self) {
        let (rule, out) = (self.rule, &mut self.out);
        if rule.original.is_empty() {
            return;
        }
        let start = out.len();
        write::plain_key(out, "original_event_data");
        out.push(b'{');
        let empty = out.len();
        for name in ORIGINAL {
            let field = ServerField::Original(name);
            let expr = rule.original.get(name);
            let first = |expr| first_found(self.recorder, field, expr, self.event);
            let Some(found) = expr.and_then(first) else {
                continue;
            };
            let source = Source::found(&found);
            write_member(self.recorder, out, name, field, source, |out| {
                if name == "event_time" {
                    let time = event_time::parse(found.value).ok_or(DropReason::NotADate)?;
                    write::integer(out, time.seconds());
                } else if *rule.id_covers.of_found(&found) == Cover::Free {
                    write::text(out, &personal::clean_text(found.value)?);
                } else {
                    return Err(DropReason::HashedSource);
                }
                Ok("original event")
            });
        }
        if out.len() == empty {
            out.truncate(start);
        } else {
            out.push(b'}');
        }
    }

    /// Writes a member of the server event.
    fn put(
        &mut self,
        name: &'static str,
        source: Source<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<&'static str, DropReason>,
    ) {
        let field = ServerField::Event(name);
        write_member(self.recorder, &mut self.out, name, field, source, write);
    }

    fn put_text(&mut self, name: &'static str, member: &TextMember<'_>) {
        self.put(name, member.source, |out| {
            write::text(out, &member.text);
            Ok(member.rule)
        });
    }
}

impl Head<'_> {
    /// The seconds to send; for an event that is refused for its time, the seconds of that time.
    fn seconds(&self) -> i64 {
        self.time.unwrap_or_else(|_| self.happened.seconds())
    }
}

fn hashed_id(raw: impl AsRef<[u8]>) -> String {
    let mut digits = Hashed::of(raw).as_str().to_owned();
    digits.truncate(HASHED_ID_DIGITS);
    digits
}
