//! What a sync remembers of an event's person.
//!
//! A property is remembered once for each field and path that names it, in the form in which the field is
//! sent; so a value is normalised and hashed in the same way for the disk and for Meta. Properties that are
//! kept as they came are remembered whole. The click, the browser id, address and user agent are taken from
//! wherever the mapping finds them: a click outlives the property that held it, as it does in a browser's
//! cookie; address and user agent are taken from an event that carries both, and given to one that carries
//! neither, so that the address of a server never becomes a person's.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::config::sync::{Consent, SyncConfig, UserMemory};
use crate::event::Event;
use crate::event::arena::Arena;
use crate::event::operations::{Act, KnownProperty, USER_PROPERTIES};
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::hash::{Hashed, sha256};
use crate::json::Json;
use crate::json::text::is_absent_text;
use crate::map::profile_view::{ProfileView, Property};
use crate::map::user_data::{self, UserData};
use crate::map::{event_time, rule};
use crate::normalize::field::UserDataField;
use crate::normalize::{self, Context, Normalized, Scratch};
use crate::profile::property::{LONGEST_ELEMENT, MOST_ELEMENTS, PropertyId, PropertyStep, Value};
use crate::profile::update::{Identity, ProfileUpdate};
use crate::profile::{ClientContext, Profile, ProfileKey, Touchpoint};

/// The fields that are remembered from wherever the mapping finds them.
const TOUCHPOINT_FIELDS: [UserDataField; 4] = [
    UserDataField::ClickId,
    UserDataField::BrowserId,
    UserDataField::ClientIpAddress,
    UserDataField::ClientUserAgent,
];

/// Most steps of one event. No SDK names a property twice in one.
const MOST_STEPS: usize = 1000;

/// What a sync remembers, compiled.
#[derive(Debug)]
pub struct ProfileExtractor {
    sync: SyncName,
    /// Whether the events of the webhook take part.
    pub webhook: bool,
    properties: Vec<Property>,
    kept: Vec<(PropertyId, Box<str>)>,
    wanted: Arc<[PropertyId]>,
    /// The kept properties that decide about consent; `None` where nobody asks.
    of_consent: Option<Vec<PropertyId>>,
    /// Each expression of each of [`TOUCHPOINT_FIELDS`].
    touchpoint_fields: Vec<(UserDataField, ValueExpr)>,
    /// How values are read.
    user_data: UserData,
}

impl ProfileExtractor {
    /// Compiles what a sync remembers.
    pub fn compile(name: &SyncName, sync: &SyncConfig, memory: &UserMemory) -> Self {
        let tables = rule::all_user_data(sync);
        let mut this = Self {
            sync: name.clone(),
            webhook: memory.webhook,
            properties: Vec::new(),
            kept: memory
                .keep_as_is
                .iter()
                .map(|name| (slot_of("", name), name.as_str().into()))
                .collect(),
            wanted: Arc::default(),
            of_consent: match &sync.consent {
                Consent::Unsaid | Consent::NotRequired => None,
                Consent::Conditions(conditions) => {
                    let paths = conditions.iter().map(|condition| &condition.property);
                    let names = paths.filter_map(Path::user_property);
                    Some(names.map(|name| slot_of("", name)).collect())
                }
            },
            touchpoint_fields: Vec::new(),
            user_data: UserData::compile(sync, tables.first().cloned().unwrap_or_default()),
        };
        for (field, expr) in tables.iter().flatten() {
            this.add(*field, expr);
        }
        let properties = this.properties.iter().map(|property| property.slot);
        let kept = this.kept.iter().map(|(slot, _)| *slot);
        this.wanted = properties.chain(kept).collect();
        this
    }

    fn add(&mut self, field: UserDataField, expr: &ValueExpr) {
        if TOUCHPOINT_FIELDS.contains(&field) {
            let source = (field, expr.clone());
            if !self.touchpoint_fields.contains(&source) {
                self.touchpoint_fields.push(source);
            }
            // A browser id that is a property is treated as one.
            if field != UserDataField::BrowserId {
                return;
            }
        }
        expr.visit_paths(None, &mut |path| {
            let slot = slot_of(field.meta_key(), path.as_str());
            let is_new = self.properties.iter().all(|known| known.slot != slot);
            if is_new && path.user_property().is_some() {
                self.properties.push(Property {
                    slot,
                    field,
                    path: path.clone(),
                    label: format!("remembered {path}").into(),
                });
            }
            false
        });
    }

    /// What an event says of its person; `None` where it has no id of a person.
    pub fn extract(&self, event: &Event<'_>, now: UnixMillis) -> Option<ProfileUpdate> {
        let identity = Identity {
            user: id(event, "user_id").map(|id| ProfileKey::user(&self.sync, &id)),
            device: id(event, "device_id").map(|id| ProfileKey::device(&self.sync, &id)),
        };
        if identity == Identity::default() {
            return None;
        }
        let happened = event_time::of(event).map_or(now, |happened| happened.min(now));
        let context = self.user_data.context(event, happened, now);
        let steps = self.steps(event, &context);
        let adds_up = steps
            .iter()
            .any(|step| step.may_repeat && step.act.adds_up());
        Some(ProfileUpdate {
            identity,
            wanted: Arc::clone(&self.wanted),
            steps,
            touchpoint: self.touchpoint(event, &context),
            mark: adds_up.then(|| insert_mark(event)).flatten(),
            at: now,
        })
    }

    /// The part of an update that decides about consent; `None` where nobody asks.
    pub fn extract_consent(&self, update: &ProfileUpdate) -> Option<ProfileUpdate> {
        let of_consent = self.of_consent.as_ref()?;
        let mut part = update.clone();
        part.steps.retain(|step| decides_by(of_consent, step));
        // Another mark, or the rest of the update would count as a repeat of this part.
        part.mark = update.mark.map(|mark| !mark);
        Some(part)
    }

    /// Splits off the steps that do not decide consent. Without consent, only removals are left of them, here
    /// and in the update.
    pub fn extract_besides_consent(
        &self,
        update: &mut ProfileUpdate,
        consents: bool,
    ) -> ProfileUpdate {
        let of_consent = self.of_consent.as_deref().unwrap_or_default();
        let takes_away = |step: &PropertyStep| matches!(step.act, Act::Unset | Act::Remove);
        update
            .steps
            .retain(|step| consents || takes_away(step) || decides_by(of_consent, step));
        let mut rest = update.clone();
        rest.steps.retain(|step| !decides_by(of_consent, step));
        rest
    }

    /// A profile, for an event to take from it what it lacks.
    pub fn view<'r>(&'r self, profile: &'r Profile, now: UnixMillis) -> ProfileView<'r> {
        ProfileView {
            properties: &self.properties,
            profile,
            now,
        }
    }

    /// The properties that are kept as they came.
    pub fn kept<'r>(&'r self, profile: &Profile) -> Vec<KnownProperty<'r>> {
        let json = |value: &Value| match value.elements.as_slice() {
            [] => None,
            [one] if !value.is_list => Some(one.to_string()),
            elements => Some(format!("[{}]", elements.join(","))),
        };
        let kept = self.kept.iter().filter_map(|(slot, name)| {
            let value = profile.value(*slot)?;
            Some(KnownProperty {
                name,
                json: json(value),
                is_cut: value.is_cut,
            })
        });
        kept.collect()
    }

    /// What becomes of the person's properties. Properties outside of operations are set.
    fn steps(&self, event: &Event<'_>, context: &Context<'_>) -> Vec<PropertyStep> {
        let mut steps = Vec::new();
        if is_apart_from_the_person(event) {
            return steps;
        }
        if event.is_unreadable(USER_PROPERTIES) {
            // It may have changed any property.
            steps.extend(self.kept.iter().map(|(slot, _)| PropertyStep {
                slot: *slot,
                act: Act::PostInsert,
                value: Value {
                    is_cut: true,
                    ..Value::default()
                },
                may_repeat: true,
            }));
        }
        let (operations, arena) = (event.operations(USER_PROPERTIES), event.arena());
        if operations.is_empty() {
            for property in event.section(USER_PROPERTIES) {
                self.add_steps(Act::Set, property, arena, context, &mut steps);
            }
        }
        for operation in operations {
            if operation.act == Act::ClearAll {
                steps.push(PropertyStep {
                    slot: PropertyId(0),
                    act: Act::ClearAll,
                    value: Value::default(),
                    may_repeat: false,
                });
            }
            for (name, value) in &operation.properties {
                let property = (&**name, Json::of_valid_text(value));
                self.add_steps(operation.act, property, arena, context, &mut steps);
            }
        }
        steps
    }

    fn add_steps(
        &self,
        act: Act,
        (name, value): (&str, Json<'_>),
        arena: &Arena,
        context: &Context<'_>,
        steps: &mut Vec<PropertyStep>,
    ) {
        if steps.len() > MOST_STEPS || act == Act::SetOnce && value.is_null() {
            return;
        }
        let named = |property: &&Property| property.path.user_property() == Some(name);
        for property in self.properties.iter().filter(named) {
            let reached = match act {
                Act::Add => false,
                act if act.is_on_lists() => property.path.is_of_whole_property(),
                _ => true,
            };
            if reached {
                steps.push(PropertyStep {
                    slot: property.slot,
                    act,
                    value: value_of(property, act, value, arena, context),
                    may_repeat: false,
                });
            }
        }
        for (slot, _) in self.kept.iter().filter(|(_, kept)| **kept == *name) {
            steps.push(PropertyStep {
                slot: *slot,
                act,
                value: as_it_came(act, value, arena),
                may_repeat: true,
            });
        }
    }

    fn touchpoint(&self, event: &Event<'_>, context: &Context<'_>) -> Touchpoint {
        let first = |wanted: UserDataField| {
            let exprs = self.touchpoint_fields.iter();
            let mut exprs = exprs.filter(|(field, _)| *field == wanted);
            exprs.find_map(|(_, expr)| {
                user_data::first_usable(event, expr, |path, element| {
                    // A constant was not seen with the person, and a property is remembered as such.
                    let is_property = path?.user_property().is_some();
                    if is_property && wanted == UserDataField::BrowserId
                        || user_data::is_absent(wanted, path, element)
                    {
                        return None;
                    }
                    let form = touchpoint_value(wanted, element, event, context)?;
                    let came = element.as_str().unwrap_or_default();
                    let is_as_it_came = *form == *came.trim();
                    Some((form, is_as_it_came))
                })
            })
        };
        let click = first(UserDataField::ClickId);
        let address = first(UserDataField::ClientIpAddress);
        let user_agent = first(UserDataField::ClientUserAgent);
        Touchpoint {
            happened: context.click_seen,
            is_cookie: click.as_ref().is_some_and(|(_, as_it_came)| *as_it_came),
            click: click.map(|(click, _)| click),
            browser: first(UserDataField::BrowserId).map(|(browser, _)| browser),
            origin: address
                .zip(user_agent)
                .map(|((address, _), (user_agent, _))| ClientContext {
                    address,
                    user_agent,
                }),
        }
    }
}

/// Whether a step is done before consent is known: to a property that decides about it, or to all.
fn decides_by(of_consent: &[PropertyId], step: &PropertyStep) -> bool {
    step.act == Act::ClearAll || of_consent.contains(&step.slot)
}

/// The value of a property, element by element in the form of its field.
fn value_of(
    known: &Property,
    act: Act,
    property: Json<'_>,
    arena: &Arena,
    context: &Context<'_>,
) -> Value {
    let mut elements = Vec::new();
    let mut is_cut = false;
    let mut add = |value: Json<'_>| {
        arena.each_element(value, &mut |element| {
            if user_data::is_absent(known.field, Some(&known.path), element) {
                return;
            }
            is_cut |= elements.len() == MOST_ELEMENTS;
            if !is_cut {
                elements.extend(form(known.field, element, context));
            }
        });
    };
    if act.is_on_lists() {
        add(property);
    } else if act != Act::Unset {
        known.path.visit_property(arena, property, &mut add);
    }
    Value {
        elements,
        is_list: false,
        is_cut,
    }
}

/// A value as a field sends it: the forms of a hashed one follow each other.
fn form(field: UserDataField, value: Json<'_>, context: &Context<'_>) -> Option<Box<str>> {
    let text = user_data::text_of(value).ok()?;
    let form: Box<str> =
        match normalize::normalize(field, &text, context, &mut Scratch::default()).ok()? {
            Normalized::ToHash { first, second } => {
                let second = second.map(Hashed::of);
                let second = second.as_ref().map_or("", Hashed::as_str);
                format!("{}{second}", Hashed::of(first).as_str()).into()
            }
            Normalized::HashAndPlain(id) => format!("{}{id}", Hashed::of(id).as_str()).into(),
            Normalized::AlreadyHashed(hash) => hash.as_str().into(),
            Normalized::Plain(text) => text.into(),
            Normalized::Integer(number) => number.to_string().into(),
        };
    (form.len() <= LONGEST_ELEMENT).then_some(form)
}

/// The value of one of [`TOUCHPOINT_FIELDS`], as the field sends it.
fn touchpoint_value(
    field: UserDataField,
    value: Json<'_>,
    event: &Event<'_>,
    context: &Context<'_>,
) -> Option<Box<str>> {
    form(field, value, context).or_else(|| {
        let text = value.as_str().filter(|_| field == UserDataField::ClickId)?;
        let refused = normalize::normalize(field, &text, context, &mut Scratch::default()).err()?;
        let moved = user_data::by_the_events_clock(&text, refused, event, context)?;
        (moved.len() <= LONGEST_ELEMENT).then(|| moved.into())
    })
}

/// A property that is not hashed. Elements that are too long or too many are left out, and the value is
/// marked as cut.
fn as_it_came(act: Act, value: Json<'_>, arena: &Arena) -> Value {
    if act == Act::Unset || value.is_absent() {
        return Value::default();
    }
    let value = if act.is_on_lists() {
        arena.opened(value)
    } else {
        value
    };
    let text = |element: &Json<'_>| match act {
        Act::Add => element.text().unwrap_or_default().into(),
        _ => Box::from(element.raw()),
    };
    let mut kept = Value {
        is_list: value.is_array(),
        ..Value::default()
    };
    let mut add = |element: Json<'_>| {
        if element.is_absent() {
            return;
        }
        if element.raw().len() > LONGEST_ELEMENT || kept.elements.len() == MOST_ELEMENTS {
            kept.is_cut = true;
        } else {
            kept.elements.push(text(&element));
        }
    };
    match value.elements() {
        Some(elements) => elements.for_each(add),
        None => add(value),
    }
    kept
}

/// Whether Amplitude does not keep an event's user properties with its person.
fn is_apart_from_the_person(event: &Event<'_>) -> bool {
    let name = event.field("event_type").and_then(Json::as_str);
    let is_skipped = event.field("$skip_user_properties_sync");
    name.is_some_and(|name| name == "$groupidentify")
        || is_skipped.and_then(Json::as_bool) == Some(true)
}

/// The id of an event's user or device, unless it stands for nobody.
fn id(event: &Event<'_>, field: &str) -> Option<String> {
    let id = event.field(field)?.as_str()?;
    let id = id.trim();
    let is_zero = field == "device_id" && id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let is_nobody = is_absent_text(id) || user_data::is_invalid_id(id) || is_zero;
    (!is_nobody).then(|| id.to_owned())
}

/// Recognises a repeat of an event by the id that its sender gave it for this purpose.
fn insert_mark(event: &Event<'_>) -> Option<u64> {
    let id = ["$insert_id", "insert_id"]
        .iter()
        .find_map(|field| event.field(field)?.as_str())
        .filter(|id| !is_absent_text(id) && !user_data::is_invalid_id(id))?;
    Some(first_half(&[&id]))
}

fn slot_of(field: &str, path: &str) -> PropertyId {
    PropertyId(first_half(&[field, path]))
}

/// 64 bits of a hash of texts. None of them holds a zero byte, which separates them.
fn first_half(texts: &[&str]) -> u64 {
    let text: String = texts.iter().flat_map(|text| [*text, "\0"]).collect();
    let hash = sha256::digest(text.as_bytes());
    let half = hash.first_chunk().expect("32 bytes hold 8");
    u64::from_le_bytes(*half)
}
