//! `user_data`: Meta's customer information parameters, normalised, and hashed where Meta asks for it.
//!
//! The first path that finds anything of use gives the values. Fields that Meta hashes may have several:
//! one value is written as a text, more as a list, in their order and without repeats. The other fields
//! have one. A value that cannot be normalised costs itself, never the event, and never what stands
//! behind it.

use std::borrow::Cow;

use crate::clock::UnixMillis;
use crate::config::sync::{CallingCode, SyncConfig};
use crate::dropped::DropReason;
use crate::event::Event;
use crate::event::decimal::whole_digits;
use crate::event::operations::USER_PROPERTIES;
use crate::expr::path::Path;
use crate::expr::value::{FoundValue, ValueExpr};
use crate::hash::Hashed;
use crate::json::text::shows_nothing;
use crate::json::{Json, write};
use crate::map::event_time;
use crate::map::known::{ProfileView, Property, Remembered};
use crate::map::record::{Recorder, SentValue, ServerField, Source, note_nothing};
use crate::normalize::click::{can_have_led_to, moved_by};
use crate::normalize::date::DateOrder;
use crate::normalize::field::{FieldClass, UserDataField};
use crate::normalize::identifier::ExternalIdCase;
use crate::normalize::{self, Context, Normalized, Scratch};

/// Most values of one field. Nobody has more addresses, and no event may make the mapping slow.
const MOST_VALUES: usize = 20;

/// A hash in quotes, and the comma behind it.
const HASH_BYTES: usize = 64 + 2;
const HASH_STRIDE: usize = HASH_BYTES + 1;

/// What Amplitude refuses as the id of a user or device (Amplitude: HTTP V2 API).
const INVALID_IDS: &[&str] = &[
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "00000000-0000-0000-0000-000000000000",
    "{}",
    "lmy47d",
    "0",
    "-1",
];

/// Whether a text is an id that stands for nobody.
pub(super) fn is_invalid_id(text: &str) -> bool {
    let text = text.trim();
    shows_nothing(text) || INVALID_IDS.iter().any(|id| id.eq_ignore_ascii_case(text))
}

/// Whether a value stands for nothing: in Amplitude's own ids, and in any id of a person, also what
/// Amplitude would refuse. A site of its own may have a customer `0`.
pub(super) fn is_absent(field: UserDataField, path: Option<&Path>, value: Json<'_>) -> bool {
    let is_amplitudes = matches!(path.and_then(Path::root), Some("user_id" | "device_id"));
    let is_id = field.class() == FieldClass::PersonId;
    value.is_absent()
        || (is_amplitudes || is_id)
            && text_of(value)
                .is_ok_and(|text| is_invalid_id(&text) && (is_amplitudes || text.trim() != "0"))
}

/// The text that a value stands for. No field takes a number with a fraction.
pub(super) fn text_of(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    if value.is_number() {
        return whole_digits(value.raw()).ok_or(DropReason::NotWhole);
    }
    value.as_str().ok_or(DropReason::NotAText)
}

/// How a sync wants values to be read.
#[derive(Debug)]
pub(super) struct NormalizeOptions {
    calling_code: Option<CallingCode>,
    date_order: DateOrder,
    external_id_case: ExternalIdCase,
}

impl NormalizeOptions {
    pub(super) fn of(sync: &SyncConfig) -> Self {
        Self {
            calling_code: sync.default_calling_code.clone(),
            date_order: sync.date_order,
            external_id_case: sync.external_id_case,
        }
    }
}

/// The moments by which values are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The event's own; it stands in for the moment at which a click id was first seen.
    pub(super) happened: UnixMillis,
    /// The present one.
    pub(super) now: UnixMillis,
}

/// What one row of the event table sends as `user_data`.
#[derive(Debug)]
pub(super) struct UserData {
    fields: Vec<(UserDataField, Box<str>, ValueExpr)>,
    /// A field reads its values by the event's country.
    needs_country: bool,
}

/// The fields that an event carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried(u32);

impl Carried {
    const fn of(fields: &[UserDataField]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < fields.len() {
            bits |= 1 << fields[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    fn add(&mut self, field: UserDataField) {
        self.0 |= 1 << field as u32;
    }

    /// Whether a field is among them.
    pub(super) const fn has(self, field: UserDataField) -> bool {
        self.0 & 1 << field as u32 != 0
    }

    const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether Meta takes an event that carries just these fields. It refuses those whose fields all
    /// lie within one of these sets (Meta: Best Practices for Conversions API).
    pub(super) fn is_sufficient(self) -> bool {
        use UserDataField as F;
        const TOO_WEAK: [Carried; 4] = [
            Carried::of(&[
                F::City,
                F::Country,
                F::State,
                F::ZipCode,
                F::Gender,
                F::ClientUserAgent,
            ]),
            Carried::of(&[F::DateOfBirth, F::ClientUserAgent]),
            Carried::of(&[F::FirstName, F::Gender]),
            Carried::of(&[F::LastName, F::Gender]),
        ];
        !TOO_WEAK.iter().any(|weak| self.is_within(*weak))
    }
}

impl UserData {
    /// Compiles the expressions of one row.
    pub(super) fn compile(exprs: impl IntoIterator<Item = (UserDataField, ValueExpr)>) -> Self {
        let fields: Vec<_> = exprs
            .into_iter()
            .filter(|(_, expr)| !expr.is_empty())
            .map(|(field, expr)| (field, write::encoded_key(field.meta_key()), expr))
            .collect();
        let needs_country = fields
            .iter()
            .any(|(field, _, _)| field.class() == FieldClass::ByCountry);
        Self {
            fields,
            needs_country,
        }
    }

    /// Writes `user_data` and says which fields are in it.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        reading: &NormalizeOptions,
        moment: Times,
        mut remembered: Remembered<'_>,
        recorder: &mut impl Recorder,
    ) -> Carried {
        let known = remembered.person;
        let context = self.context(event, reading, moment);
        let mut scratch = Scratch::with_room();
        write::key(out, "\"user_data\":{");
        let without_origin = known.is_some() && self.is_without_origin(event, &context);
        let mut carried = Carried::default();
        for (field, key, expr) in &self.fields {
            let mut values = Values {
                field: *field,
                event,
                context: &context,
                remembered: &mut remembered,
                recorder,
                scratch: &mut scratch,
                start: out.len(),
                first: write::key(out, key),
                out,
                written: 0,
                met_any: false,
                plain: Vec::new(),
            };
            let recall = |values: &mut Values<'_, '_, '_, _>| {
                values.written == 0
                    && known.is_some_and(|known| {
                        known.visit(*field, expr, event, without_origin, &mut |label, text| {
                            values.take_text(Source::remembered(label), text)
                        })
                    })
            };
            expr.visit(event.into(), &mut |found| {
                // What was made of a property that the event changes is remembered.
                if let Some((known, property)) = became(known, *field, found.path, event) {
                    return known.visit_property(property, &mut |label, text| {
                        values.take_text(Source::remembered(label), text)
                    });
                }
                // A constant says nothing of the person.
                (found.path.is_none() && recall(&mut values)) || values.take_all(found)
            });
            recall(&mut values);
            if !values.met_any {
                note_nothing(values.recorder, ServerField::UserData(*field), expr, event);
            }
            if values.finish() {
                carried.add(*field);
            }
        }
        out.push(b'}');
        carried
    }

    /// How the values of an event are read.
    pub(super) fn context<'r>(
        &'r self,
        event: &'r Event<'_>,
        reading: &'r NormalizeOptions,
        moment: Times,
    ) -> Context<'r> {
        let named_country = self.needs_country.then(|| self.country(event)).flatten();
        let country = named_country.as_ref().map(|(_, code)| *code);
        Context {
            calling_code: match &reading.calling_code {
                Some(CallingCode::Fixed(code)) => Some(code),
                Some(CallingCode::FromCountry) => {
                    country.and_then(normalize::country::calling_code)
                }
                None => None,
            },
            country,
            named_country: named_country.and_then(|(named, code)| match named {
                Cow::Borrowed(named) => Some((named, code)),
                Cow::Owned(_) => None,
            }),
            date_order: reading.date_order,
            external_id_case: reading.external_id_case,
            now: moment.now,
            click_seen: moment.happened,
        }
    }

    /// Whether an event carries neither an address nor a user agent that is of any use.
    fn is_without_origin(&self, event: &Event<'_>, context: &Context<'_>) -> bool {
        let is_of_origin = |field: &UserDataField| {
            matches!(
                field,
                UserDataField::ClientIpAddress | UserDataField::ClientUserAgent
            )
        };
        let mut exprs = self
            .fields
            .iter()
            .filter(|(field, _, _)| is_of_origin(field));
        exprs.all(|(field, _, expr)| {
            !expr.visit(event.into(), &mut |found| {
                let mut is_of_use = false;
                event.arena().each_element(found.value, &mut |element| {
                    is_of_use |= found.path.is_some()
                        && !is_absent(*field, found.path, element)
                        && text_of(element).is_ok_and(|text| {
                            let mut scratch = Scratch::default();
                            normalize::normalize(*field, &text, context, &mut scratch).is_ok()
                        });
                });
                is_of_use
            })
        })
    }

    /// The event's country, by the mapped field, else by Amplitude's own: as it is named, and its code.
    fn country<'r>(&'r self, event: &'r Event<'_>) -> Option<(Cow<'r, str>, &'static str)> {
        let code = |value: Json<'r>| {
            let text = value.as_str()?;
            let code = normalize::country::code(&text)?;
            Some((text, code))
        };
        let mut mapped = None;
        if let Some((_, _, expr)) = self
            .fields
            .iter()
            .find(|(field, _, _)| *field == UserDataField::Country)
        {
            expr.visit(event.into(), &mut |found| {
                event.arena().each_element(found.value, &mut |element| {
                    mapped = mapped.take().or_else(|| code(element));
                });
                mapped.is_some()
            });
        }
        mapped.or_else(|| event.field("country").and_then(code))
    }
}

/// The property that a path finds, where it depends on what it was before and is remembered.
fn became<'k>(
    known: Option<ProfileView<'k>>,
    field: UserDataField,
    path: Option<&Path>,
    event: &Event<'_>,
) -> Option<(ProfileView<'k>, &'k Property)> {
    let (known, path) = known.zip(path)?;
    let name = path.user_property()?;
    if !event.depends_on_before(USER_PROPERTIES, name) {
        return None;
    }
    Some((known, known.property(field, path)?))
}

/// An `fbc` whose time cannot be that of a click which led to the event, moved as the event was: what a
/// browser's wrong clock dates, it dates like its events.
pub(super) fn by_the_events_clock(
    text: &str,
    refused: DropReason,
    event: &Event<'_>,
    context: &Context<'_>,
) -> Option<String> {
    if !matches!(
        refused,
        DropReason::ClickAfterEvent | DropReason::ClickTooOld
    ) {
        return None;
    }
    let told = event_time::parse(event.field("client_event_time")?)?;
    let happened = context.click_seen;
    moved_by(text, happened.0.checked_sub(told.0)?, happened)
}

/// The values of one field, while they are written.
struct Values<'v, 'c, 'k, R> {
    field: UserDataField,
    out: &'v mut Vec<u8>,
    event: &'v Event<'v>,
    context: &'v Context<'c>,
    remembered: &'v mut Remembered<'k>,
    recorder: &'v mut R,
    scratch: &'v mut Scratch,
    /// Where the field begins, and its first value.
    start: usize,
    first: usize,
    written: usize,
    /// Something was there, of use or not.
    met_any: bool,
    /// Ids that stand behind all hashes, as they are.
    plain: Vec<Box<str>>,
}

impl<R: Recorder> Values<'_, '_, '_, R> {
    /// Takes what was found, and says whether any of that was of use.
    fn take_all(&mut self, found: FoundValue<'_>) -> bool {
        let mut is_of_use = false;
        self.event
            .arena()
            .each_element(found.value, &mut |element| {
                if !is_absent(self.field, found.path, element) {
                    is_of_use |= self.take(Source {
                        value: Some(element),
                        ..Source::found(&found)
                    });
                }
            });
        is_of_use
    }

    fn take(&mut self, source: Source<'_>) -> bool {
        match source.value.map_or(Err(DropReason::NotAText), text_of) {
            Ok(text) => self.take_text(source, &text),
            Err(reason) => {
                self.drop(source, reason);
                false
            }
        }
    }

    /// Takes a text, and says whether it is of use.
    fn take_text(&mut self, source: Source<'_>, text: &str) -> bool {
        let hashed = self.field.is_hashed();
        let rule = self.field.rule();
        if self.written > 0 && !hashed {
            return true;
        }
        self.met_any = true;
        let mut is_of_use = true;
        let mut scratch = std::mem::take(self.scratch);
        match normalize::normalize(self.field, text, self.context, &mut scratch) {
            Ok(Normalized::ToHash { first, second }) => {
                self.hash(source, &Hashed::of(first), Some(first), rule);
                if let Some(second) = second {
                    let rule = "second form, as Meta's libraries hash it";
                    self.hash(source, &Hashed::of(second), Some(second), rule);
                }
            }
            Ok(Normalized::HashAndPlain(id)) => {
                self.hash(source, &Hashed::of(id), Some(id), rule);
                self.plain(source, id);
            }
            Ok(Normalized::AlreadyHashed(hash)) => {
                self.hash(source, &hash, None, "already hashed");
            }
            Ok(Normalized::Plain(plain)) if self.field == UserDataField::ClickId => {
                self.click(source, plain, plain != text.trim());
            }
            Ok(Normalized::Plain(plain)) => {
                write::text(self.out, plain);
                self.sent(source, None, rule);
            }
            Ok(Normalized::Integer(number)) => {
                write::integer(self.out, number);
                self.sent(source, None, rule);
            }
            Err(reason) => {
                let moved = by_the_events_clock(text, reason, self.event, self.context);
                if let Some(moved) = moved {
                    self.click(source, &moved, true);
                } else {
                    is_of_use = false;
                    self.drop(source, reason);
                }
            }
        }
        *self.scratch = scratch;
        is_of_use
    }

    /// Writes an `fbc`, with the time at which its click was first seen, where `made` says that its own is
    /// ours.
    fn click(&mut self, source: Source<'_>, fbc: &str, made: bool) {
        let happened = self.context.click_seen;
        let click = self.remembered.click(fbc, made, happened);
        let click = click.filter(|fbc| can_have_led_to(fbc, happened));
        write::text(self.out, click.as_deref().unwrap_or(fbc));
        self.sent(source, None, self.field.rule());
    }

    fn hash(
        &mut self,
        source: Source<'_>,
        hash: &Hashed,
        normalised: Option<&str>,
        rule: &'static str,
    ) {
        if self.written + self.plain.len() >= MOST_VALUES {
            return self.drop(source, DropReason::TooMany);
        }
        let own = hash.as_bytes();
        let digits = |written: &[u8]| written.get(1..=64) == Some(own.as_slice());
        let written = self.out.get(self.first..).unwrap_or_default();
        if written.chunks(HASH_STRIDE).any(digits) {
            return;
        }
        if self.written > 0 {
            self.out.push(b',');
        }
        self.out.reserve(HASH_BYTES);
        self.out.push(b'"');
        self.out.extend_from_slice(own);
        self.out.push(b'"');
        self.sent(source, normalised, rule);
    }

    fn plain(&mut self, source: Source<'_>, id: &str) {
        if self.written + self.plain.len() >= MOST_VALUES {
            return self.drop(source, DropReason::TooMany);
        }
        if self.plain.iter().any(|known| **known == *id) {
            return;
        }
        let mut written = Vec::new();
        write::text(&mut written, id);
        let rule = "32 hexadecimal digits, which Meta's own code passes as they are";
        let sent = SentValue::plain(&written, 0, rule);
        self.recorder
            .sent(ServerField::UserData(self.field), source, sent);
        self.plain.push(id.into());
    }

    fn sent(&mut self, source: Source<'_>, normalised: Option<&str>, rule: &'static str) {
        self.written += 1;
        let at = if self.written == 1 {
            self.first
        } else {
            self.out.len() - HASH_BYTES
        };
        let json = self.out.get(at..).unwrap_or_default();
        let sent = SentValue {
            normalised,
            json,
            rule,
        };
        self.recorder
            .sent(ServerField::UserData(self.field), source, sent);
    }

    fn drop(&mut self, source: Source<'_>, reason: DropReason) {
        self.met_any = true;
        self.recorder
            .dropped(ServerField::UserData(self.field), source, reason);
    }

    /// Closes the field, or takes it back where no value was written.
    fn finish(&mut self) -> bool {
        for id in &self.plain {
            write::separate(self.out);
            write::text(self.out, id);
        }
        match self.written + self.plain.len() {
            0 => self.out.truncate(self.start),
            1 => {}
            _ => {
                self.out.insert(self.first, b'[');
                self.out.push(b']');
            }
        }
        self.written > 0
    }
}

#[cfg(test)]
mod tests;
