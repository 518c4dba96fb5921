//! One stream of events to one pixel: what it selects, and what it makes of what it selects.
//!
//! [`Sync::take`] gives every event its fate before the queue: mapped, or ended with a reason. It is
//! pure; the caller counts what the [`Notes`] say and hands the fate to the queue.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::config::{Config, Mistake, SyncConfig, SyncName};
use crate::event::{Event, Json};
use crate::map::explain::Explanation;
use crate::map::payload::{Bodies, Payload};
use crate::map::record::{Notes, Recorder};
use crate::map::remember::{Properties, USER_PROPERTIES};
use crate::map::{Mapper, Refused, Row};
use crate::memory::profile::Profile;
use crate::memory::{self, Lesson, Shelf};
use crate::outcome::Reason;
use crate::select::{Selected, Selector};

mod rule_test;

pub use rule_test::Diff;

/// One sync, compiled.
#[derive(Debug)]
pub struct Sync {
    name: SyncName,
    enabled: bool,
    selector: Selector,
    mapper: Mapper,
}

/// What becomes of an event at the door of a sync.
#[derive(Debug)]
pub enum Fate {
    /// It goes on to the queue.
    Mapped(Payload),
    /// It ended here.
    Ended(Ended),
}

/// An event that ended before the queue.
#[derive(Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// Meta's event name, where it was found.
    pub event_name: Option<Box<str>>,
    /// The event id, where it was found; for what could not be decoded, a hash of its bytes.
    pub event_id: Option<Box<str>>,
    /// The mapped event, where there is one; never what came in.
    pub json: Option<Vec<u8>>,
}

/// An event's fate, for the queue.
#[derive(Debug)]
pub struct Taken {
    /// The sync that took it.
    pub sync: SyncName,
    /// What became of it.
    pub fate: Fate,
}

/// Compiles every sync, or gives all mistakes of all of them.
pub fn compile_all(config: &Config) -> Result<Vec<Sync>, Vec<Mistake>> {
    let mut syncs = Vec::new();
    let mut mistakes = Vec::new();
    for (name, sync) in &config.syncs {
        match Sync::compile(name, sync) {
            Ok(sync) => syncs.push(sync),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        Ok(syncs)
    } else {
        Err(mistakes)
    }
}

/// The mistakes in the rules of all syncs, where none of them is to run.
pub fn mistakes(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<Mistake> {
    syncs
        .iter()
        .filter_map(|(name, sync)| Sync::compile(name, sync).err())
        .flatten()
        .collect()
}

/// What looks wrong in the rules of all syncs and may still be meant.
pub fn warnings(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<Mistake> {
    syncs
        .iter()
        .flat_map(|(name, sync)| Mapper::warnings(name, sync))
        .collect()
}

impl Sync {
    /// Compiles one sync, or gives all mistakes in its rules.
    pub fn compile(name: &SyncName, sync: &SyncConfig) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mapper = Mapper::compile(name, sync, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self {
            name: name.clone(),
            enabled: sync.enabled,
            selector: Selector::compile(sync),
            mapper,
        })
    }

    /// The sync's name.
    pub const fn name(&self) -> &SyncName {
        &self.name
    }

    /// Whether the sync takes events in.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Decides what becomes of an event, or of bytes that could not be decoded as one. What is mapped is
    /// written into `bodies`.
    pub fn take(
        &self,
        element: Result<&Event<'_>, Reason>,
        raw: &[u8],
        now: UnixMillis,
        bodies: &mut Bodies,
    ) -> (Fate, Notes) {
        let mut notes = Notes::default();
        let event = match element {
            Ok(event) => event,
            Err(reason) => return (Fate::Ended(Ended::undecoded(reason, raw)), notes),
        };
        let fate = self.decide(event, None, now, &mut notes, bodies);
        (fate, notes)
    }

    /// Whether events of this sync are to be taken with what is remembered of their people: those of the
    /// webhook, or those of the endpoints of SDKs.
    pub fn remembers(&self, webhook: bool) -> bool {
        self.mapper.remembers(webhook)
    }

    /// Decides what becomes of an event after what it says of its person was learnt. Also gives that,
    /// where it changed what is remembered.
    pub fn take_remembering<S: Shelf>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        bodies: &mut Bodies,
        shelf: &mut S,
    ) -> Result<(Fate, Notes, Option<Lesson>), S::Error> {
        let mut notes = Notes::default();
        let (fate, lesson) = self.with_person(event, now, shelf, |event, person| {
            self.decide(event, person, now, &mut notes, bodies)
        })?;
        Ok((fate, notes, lesson))
    }

    /// Decides what becomes of an event, and says why each field is as it is.
    pub fn explain(&self, event: &Event<'_>, now: UnixMillis) -> (Fate, Explanation) {
        self.explain_to(event, None, now)
    }

    /// The same after what the event says of its person was learnt.
    pub fn explain_remembering<S: Shelf>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        shelf: &mut S,
    ) -> Result<(Fate, Explanation), S::Error> {
        let (explained, _) = self.with_person(event, now, shelf, |event, person| {
            self.explain_to(event, person, now)
        })?;
        Ok(explained)
    }

    fn explain_to(
        &self,
        event: &Event<'_>,
        person: Option<&Profile>,
        now: UnixMillis,
    ) -> (Fate, Explanation) {
        let mut explanation = Explanation::default();
        let fate = match self.selector.select(event) {
            Ok(selected) => {
                let fate = self.map(
                    event,
                    selected,
                    person,
                    now,
                    &mut explanation,
                    &mut Bodies::default(),
                );
                explanation.complete();
                fate
            }
            Err(reason) => {
                if let Some(condition) = self.selector.unmet(event, reason) {
                    explanation.left_out(condition, event);
                }
                Fate::Ended(Ended::unmapped(reason))
            }
        };
        (fate, explanation)
    }

    /// Learns what an event says of its person, and decides with what is remembered then; also gives what
    /// was learnt, where it changed anything.
    fn with_person<S: Shelf, T>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        shelf: &mut S,
        decide: impl FnOnce(&Event<'_>, Option<&Profile>) -> T,
    ) -> Result<(T, Option<Lesson>), S::Error> {
        let Some(told) = self.mapper.told(event, now) else {
            return Ok((decide(event, None), None));
        };
        let changed = memory::learn(shelf, &told.lesson)?;
        let person = memory::recall(shelf, told.lesson.who)?.unwrap_or_default();
        let kept = self.mapper.kept(&person);
        let decided = match completed(event, told.given, &kept) {
            None => decide(event, Some(&person)),
            Some(event) => decide(&event, Some(&person)),
        };
        Ok((decided, changed.then_some(told.lesson)))
    }

    fn decide(
        &self,
        event: &Event<'_>,
        person: Option<&Profile>,
        now: UnixMillis,
        notes: &mut Notes,
        bodies: &mut Bodies,
    ) -> Fate {
        match self.selector.select(event) {
            Ok(selected) => {
                notes.label = selected.name.cloned();
                self.map(event, selected, person, now, notes, bodies)
            }
            Err(reason) => Fate::Ended(Ended::unmapped(reason)),
        }
    }

    fn map(
        &self,
        event: &Event<'_>,
        selected: Selected<'_>,
        person: Option<&Profile>,
        now: UnixMillis,
        recorder: &mut impl Recorder,
        bodies: &mut Bodies,
    ) -> Fate {
        let row = Row {
            place: selected.place,
            limited_data_use: selected.limited_data_use,
        };
        match self
            .mapper
            .map(event, row, person, now, recorder, bodies.draft())
        {
            Ok(mapped) => Fate::Mapped(Payload {
                json: bodies.finish(),
                event_name: mapped.event_name,
                fingerprint: mapped.fingerprint,
                deadline: mapped.deadline,
            }),
            Err(refused) => Fate::Ended(refused.into()),
        }
    }
}

/// An event with the properties that its operations give, and those that were kept as they came where it
/// has none of its own; `None` where that is the event as it is.
fn completed<'c>(
    event: &'c Event<'_>,
    given: Option<Properties<'c>>,
    kept: &'c [(&str, String)],
) -> Option<Event<'c>> {
    if given.is_none() && kept.is_empty() {
        return None;
    }
    let mut members = given.unwrap_or_else(|| {
        let own = event.section(USER_PROPERTIES).iter();
        own.map(|(name, value)| (Cow::Borrowed(&**name), *value))
            .collect()
    });
    members.retain(|(_, value)| !value.is_absent());
    for (name, json) in kept {
        if members.iter().all(|(own, _)| own != name) {
            members.push((Cow::Borrowed(*name), Json::of_valid_text(json)));
        }
    }
    Some(event.with_section(USER_PROPERTIES, members))
}

impl Ended {
    fn unmapped(reason: Reason) -> Self {
        Self {
            reason,
            event_name: None,
            event_id: None,
            json: None,
        }
    }

    /// Bytes without an id are told apart by what they are.
    fn undecoded(reason: Reason, raw: &[u8]) -> Self {
        let id = Sha256::digest(raw);
        Self {
            event_id: Some(hex::encode(id.get(..16).unwrap_or_default()).into()),
            ..Self::unmapped(reason)
        }
    }
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Self {
            reason: refused.reason,
            event_name: refused.event_name,
            event_id: refused.event_id,
            json: refused.json,
        }
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ended")
            .field("reason", &self.reason)
            .field("event_name", &self.event_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fields::UserDataField;
    use crate::config::load::from_toml;

    const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

    fn sync(rules: &str) -> Sync {
        let text = format!(
            "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
        );
        compile_all(&from_toml(&text, &[]).unwrap())
            .unwrap()
            .remove(0)
    }

    fn mapped(sync: &Sync, event: &str) -> Payload {
        let decoded = Event::decode(event.as_bytes()).unwrap();
        match sync
            .take(Ok(&decoded), event.as_bytes(), NOW, &mut Bodies::default())
            .0
        {
            Fate::Mapped(payload) => payload,
            Fate::Ended(ended) => panic!("{}", ended.reason),
        }
    }

    #[track_caller]
    fn check_refused(rules: &str, event: &str, reason: Reason, has_json: bool) {
        let decoded = Event::decode(event.as_bytes()).unwrap();
        match sync(rules)
            .take(Ok(&decoded), event.as_bytes(), NOW, &mut Bodies::default())
            .0
        {
            Fate::Mapped(_) => panic!("mapped: {event}"),
            Fate::Ended(ended) => {
                assert_eq!(
                    (ended.reason, ended.json.is_some()),
                    (reason, has_json),
                    "{event}"
                );
            }
        }
    }

    #[test]
    fn what_meta_would_refuse_ends_here_with_a_reason() {
        let at = |time: &str, rest: &str| {
            format!(
                "{{\"event_type\":\"Order\",\"event_time\":\"{time}\",\"user_id\":\"u-1\",{rest}\"x\":0}}"
            )
        };
        let now = "2026-11-20 18:04:39";
        check_refused(
            "",
            r#"{"event_type":"A","user_id":"u-1"}"#,
            Reason::NoEventTime,
            false,
        );
        check_refused("", &at("2026-11-13 18:04:38", ""), Reason::TooOld, true);
        check_refused("", &at("2026-11-20 18:05:40", ""), Reason::InFuture, true);
        check_refused(
            "",
            &at("2026-11-21 02:04:30", ""),
            Reason::TimeZoneTrap,
            true,
        );
        check_refused(
            "",
            &format!("{{\"event_type\":\"A\",\"event_time\":\"{now}\",\"user_id\":\"anonymous\"}}"),
            Reason::NoIdentifier,
            true,
        );
        let purchase = "[sync.web.events.Order]\nsend_as = \"Purchase\"\ncustom_data = { value = \"event_properties.v\", currency = \"event_properties.c\" }";
        check_refused(purchase, &at(now, ""), Reason::PurchaseWithoutValue, true);
        let grouped = at(now, r#""event_properties":{"v":"1,234.50","c":"USD"},"#);
        check_refused(purchase, &grouped, Reason::GroupedNumber, true);
        let free = at(now, r#""event_properties":{"v":0},"#);
        check_refused(purchase, &free, Reason::PurchaseWithoutCurrency, true);
        let small = "properties = [\"*\"]\n[sync.web.delivery]\nmax_batch_bytes = 1024";
        let large = at(
            now,
            &format!("\"event_properties\":{{\"t\":\"{}\"}},", "x".repeat(1024)),
        );
        check_refused(small, &large, Reason::EventTooLarge, false);
    }

    #[test]
    fn what_cannot_be_decoded_has_its_bytes_for_an_id() {
        let raw = b"{\"a\":";
        let (fate, notes) =
            sync("").take(Err(Reason::MalformedJson), raw, NOW, &mut Bodies::default());
        let Fate::Ended(ended) = fate else {
            panic!("mapped");
        };
        assert_eq!(ended.reason, Reason::MalformedJson);
        assert_eq!(ended.event_id.unwrap().len(), 32);
        assert_eq!((ended.json, notes.label()), (None, "other"));
    }

    #[test]
    fn an_insert_id_counts_per_device() {
        let sync = sync("");
        let event = |ids: &str| {
            let time = "\"event_time\":\"2026-11-20 18:04:09\"";
            mapped(
                &sync,
                &format!("{{\"event_type\":\"A\",{time},\"user_id\":\"u-1\",{ids}}}"),
            )
            .fingerprint
        };
        let first = event(r#""$insert_id":"i","device_id":"d-1""#);
        assert_eq!(first, event(r#""insert_id":"i","device_id":"d-1","x":1"#));
        let other = event(r#""$insert_id":"i","device_id":"d-2""#);
        assert_eq!(first.id, other.id);
        assert_ne!(first.whole, other.whole);
        let uuid = event(r#""uuid":"i","device_id":"d-1""#);
        assert_eq!(uuid, event(r#""uuid":"i","device_id":"d-2""#));
        // An insert id that stands for nothing would make all events the same.
        let nothing = event(r#""$insert_id":"undefined","uuid":"i","device_id":"d-1""#);
        assert_eq!(nothing, uuid);
        let hashed = event(r#""device_id":"d-1""#);
        assert_eq!(hashed, event(r#""device_id":"d-1""#));
        assert_ne!(hashed, event(r#""device_id":"d-1","x":1"#));
    }

    #[test]
    fn the_deadline_is_the_end_of_metas_window() {
        let event = r#"{"event_type":"A","event_time":1795197849,"user_id":"u-1"}"#;
        let day = 24 * 60 * 60;
        assert_eq!(mapped(&sync(""), event).deadline, 1_795_197_849 + 7 * day);
        let store = sync("action_source = \"physical_store\"");
        assert_eq!(mapped(&store, event).deadline, 1_795_197_849 + 62 * day);
        let ahead = event.replace("1795197849", "1795197939");
        assert_eq!(mapped(&sync(""), &ahead).deadline, NOW.seconds() + 7 * day);
    }

    #[test]
    fn an_events_own_table_is_laid_over_its_syncs() {
        let sync = sync(concat!(
            "properties = [\"a\"]\n[sync.web.user_data]\nemail = \"user_properties.email\"\n",
            "[sync.web.events.X]\nsend_as = \"Lead\"\nproperties = [\"b\"]\n",
            "user_data = { email = \"user_properties.mail\", browser_id = \"user_properties.fbp\" }\n",
            "event_id = \"event_properties.a\"\n",
        ));
        let event = concat!(
            r#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","#,
            r#""user_properties":{"email":"a@b.de","fbp":"fb.1.1790000000000.1"},"event_properties":{"a":"1001","b":2,"c":3}}"#
        );
        let text = String::from_utf8(mapped(&sync, event).json.into()).unwrap();
        let id = crate::map::hash::Hashed::of("u-1");
        assert_eq!(
            text,
            format!(
                concat!(
                    r#"{{"event_name":"Lead","event_time":1795197849,"event_id":"1001","action_source":"other","#,
                    r#""user_data":{{"external_id":"{}","fbp":"fb.1.1790000000000.1"}},"custom_data":{{"a":"1001","b":2}}}}"#
                ),
                id.as_str()
            )
        );
    }

    #[test]
    fn an_event_may_choose_its_name() {
        let sync = sync(
            "[sync.web.events.X]\nsend_as = [{ from = \"event_properties.kind\", map = { quote = \"Lead\" } }, \"event_properties.name\"]",
        );
        let name = |properties: &str| {
            let event = format!(
                "{{\"event_type\":\"X\",\"event_time\":1795197849,\"user_id\":\"u-1\",\"event_properties\":{properties}}}"
            );
            mapped(&sync, &event).event_name
        };
        assert_eq!(&*name(r#"{"kind":"quote"}"#), "Lead");
        assert_eq!(&*name(r#"{"kind":"other","name":" Search "}"#), "Search");
        assert_eq!(&*name(r#"{"kind":"other"}"#), "X");
        assert_eq!(&*name(r#"{"name":"pat@example.com"}"#), "X");
        let event = r#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","event_properties":{"name":"Purchase"}}"#;
        let rules = "[sync.web.events.X]\nsend_as = [\"event_properties.name\"]";
        check_refused(rules, event, Reason::PurchaseWithoutValue, true);
    }

    #[test]
    fn notes_say_what_was_carried_and_what_was_lost() {
        let sync = sync("[sync.web.events.X]\nuser_data = { email = \"user_properties.email\" }");
        let raw = br#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","user_properties":{"email":"nobody"}}"#;
        let event = Event::decode(raw).unwrap();
        let (_, notes) = sync.take(Ok(&event), raw, NOW, &mut Bodies::default());
        assert_eq!(notes.label(), "X");
        let carried: Vec<_> = notes.carried().map(UserDataField::meta_key).collect();
        assert_eq!(carried, ["external_id"]);
        let lost: Vec<_> = notes
            .dropped()
            .map(|(field, why)| (field, why.as_str()))
            .collect();
        assert_eq!(lost, [("em", "not_an_email")]);
    }

    #[test]
    fn an_explanation_says_where_each_field_came_from() {
        let sync = sync(concat!(
            "[sync.web.user_data]\nemail = [\"user_properties.email\"]\nphone = \"user_properties.phone\"\n",
            "browser_id = \"user_properties.fbp\"\n",
            "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { constant = \"EUR\" }\n",
            "content_type = { from = \"event_properties.kind\", map = { sku = \"product\" } }\n",
            "order_id = [{ from = \"event_properties.total\", when = [{ property = \"event_properties.kind\", op = \"is\", value = \"sku\" }] }]\n",
            "status = [{ constant = 1, when = [{ property = \"event_properties.x\", op = \"is set\" }] }, \"event_properties.y\"]\n",
        ));
        let raw = br#"{"event_type":"X","event_time":1795197849,"user_id":"U 1","uuid":"id-1",
            "user_properties":{"email":" A@b.de","fbp":"broken"},"event_properties":{"total":"19.90","kind":"sku"}}"#;
        let (fate, explanation) = sync.explain(&Event::decode(raw).unwrap(), NOW);
        assert!(matches!(fate, Fate::Mapped(_)));
        insta::assert_snapshot!(explanation.table(), @r#"
        FIELD                        FROM                    TYPE    NORMALISED  SENT                                          RULE
        event_source_url             -                       -       -           -                                             missing: nothing at event_properties["[Amplitude] Page Location"], event_properties["[Amplitude] Page URL"]
        event_name                   event_type              string  -           "X"                                           name as it came
        event_time                   event_time              number  -           1795197849                                    seconds since 1970
        event_id                     uuid                    string  -           "id-1"                                        id
        action_source                -                       -       -           "other"                                       automatic: no page, and no app whose device is known
        user_data.external_id        user_id                 string  u1          "bb82030dbc2bcaba32a90bf2e207a84a856fc5f033…  trimmed, lower case without spaces unless case is kept; hashed
        user_data.em                 user_properties.email   string  a@b.de      "363a175f65786e7799e43a17e3f9f7baa20553a640…  trimmed, lower case; hashed
        user_data.ph                 -                       -       -           -                                             missing: nothing at user_properties.phone
        user_data.client_ip_address  -                       -       -           -                                             missing: nothing at ip_address
        user_data.fbp                user_properties.fbp     string  -           -                                             missing: malformed_browser_id. Not an `fbp`.
        custom_data.currency         configuration           string  -           "EUR"                                         currency of ISO 4217
        custom_data.value            event_properties.total  string  -           19.90                                         number
        custom_data.content_type     event_properties.kind   string  -           "product"                                     one of Meta's words, translated
        custom_data.order_id         event_properties.total  string  -           "19.90"                                       text, as event_properties.kind is "sku"
        custom_data.status           -                       -       -           -                                             missing: nothing at event_properties.y; not met: event_properties.x is set
        user_data.fn                 -                       -       -           -                                             missing: not mapped
        user_data.ln                 -                       -       -           -                                             missing: not mapped
        user_data.db                 -                       -       -           -                                             missing: not mapped
        user_data.ge                 -                       -       -           -                                             missing: not mapped
        user_data.ct                 -                       -       -           -                                             missing: not mapped
        user_data.st                 -                       -       -           -                                             missing: not mapped
        user_data.zp                 -                       -       -           -                                             missing: not mapped
        user_data.country            -                       -       -           -                                             missing: not mapped
        user_data.client_user_agent  -                       -       -           -                                             missing: not mapped
        user_data.fbc                -                       -       -           -                                             missing: not mapped
        user_data.subscription_id    -                       -       -           -                                             missing: not mapped
        user_data.fb_login_id        -                       -       -           -                                             missing: not mapped
        user_data.lead_id            -                       -       -           -                                             missing: not mapped
        user_data.madid              -                       -       -           -                                             missing: not mapped
        user_data.anon_id            -                       -       -           -                                             missing: not mapped
        "#);
        let email = explanation
            .fields()
            .iter()
            .find(|field| field.field == "user_data.em");
        insta::assert_snapshot!(serde_json::to_string(email.unwrap()).unwrap(), @r#"{"field":"user_data.em","from":"user_properties.email","type":"string","normalised":"a@b.de","sent":"363a175f65786e7799e43a17e3f9f7baa20553a6408901bc04db39da72261fe3","rule":"trimmed, lower case; hashed"}"#);
    }
}
