//! `user_data`: Meta's customer information parameters, normalised, and hashed where Meta asks for it.
//!
//! The first path that finds a usable value gives the values. Fields that Meta hashes may have several:
//! one is written as a text, more as a list, in their order and without repeats. The other fields have
//! one. A value that cannot be normalised is left out; the event and the values after it are not.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ptr;

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
use crate::map::profile_view::{KnownData, ProfileView, Property};
use crate::map::record::{Recorder, SentValue, ServerField, Source, record_absent};
use crate::normalize::click::{can_have_led_to, moved_by};
use crate::normalize::date::DateOrder;
use crate::normalize::field::{FieldClass, UserDataField};
use crate::normalize::identifier::ExternalIdCase;
use crate::normalize::{self, Context, Normalized, Scratch};

/// Most values of one field. Nobody has more addresses, and no event may make the mapping slow.
const MOST_VALUES: usize = 20;

/// Most values of one path that one field tries. An event may list thousands, of which no field can use one, and
/// each field of a configuration may read that list.
const MOST_TRIED: usize = 100;

/// A hash in quotes, and the comma behind it.
const HASH_BYTES: usize = 64 + 2;
const HASH_STRIDE: usize = HASH_BYTES + 1;

/// Most bytes of values that are read for the fields of one event. What tells of a person is far shorter, and each
/// field may read the same long text.
const MOST_BYTES: usize = 10_000;

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

/// Whether a text is an id that stands for nobody, by Amplitude's list.
pub fn is_invalid_id(text: &str) -> bool {
    let text = text.trim();
    shows_nothing(text) || INVALID_IDS.iter().any(|id| id.eq_ignore_ascii_case(text))
}

/// Whether a value counts as absent. An id that Amplitude would refuse counts as absent too, except a customer
/// id `0`, which a site may have.
pub(super) fn is_absent(field: UserDataField, path: Option<&Path>, value: Json<'_>) -> bool {
    let is_amplitudes = matches!(path.and_then(Path::root), Some("user_id" | "device_id"));
    let is_id = field.class() == FieldClass::PersonId;
    value.is_absent()
        || (is_amplitudes || is_id)
            && text_of(value)
                .is_ok_and(|text| is_invalid_id(&text) && (is_amplitudes || text.trim() != "0"))
}

/// A value as a text. No field takes a number with a fraction.
pub(super) fn text_of(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    if value.is_number() {
        return whole_digits(value.raw()).ok_or(DropReason::NotWhole);
    }
    value.as_str().ok_or(DropReason::NotAText)
}

/// The same, unescaped into a buffer.
fn text_in<'b>(value: Json<'b>, buffer: &'b mut String) -> Result<Cow<'b, str>, DropReason> {
    if value.is_number() {
        return text_of(value);
    }
    (value.str_in(buffer).map(Cow::Borrowed)).ok_or(DropReason::NotAText)
}

/// What one row of the event table sends as `user_data`, and how its values are read.
#[derive(Debug)]
pub(super) struct UserData {
    fields: Vec<(UserDataField, Box<str>, ValueExpr)>,
    /// A field reads its values by the event's country.
    needs_country: bool,
    calling_code: Option<CallingCode>,
    date_order: DateOrder,
    external_id_case: ExternalIdCase,
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
    /// Compiles the expressions of one row of a sync's event table.
    pub(super) fn compile(
        sync: &SyncConfig,
        exprs: impl IntoIterator<Item = (UserDataField, ValueExpr)>,
    ) -> Self {
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
            calling_code: sync.default_calling_code.clone(),
            date_order: sync.date_order,
            external_id_case: sync.external_id_case,
        }
    }

    /// Writes `user_data` and says which fields are in it.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        context: &Context<'_>,
        known: &mut KnownData<'_>,
        recorder: &mut impl Recorder,
    ) -> Carried {
        let person = known.person;
        let mut scratch = Scratch::with_room();
        let (mut bytes_left, mut unescaped) = (MOST_BYTES, String::new());
        write::key(out, "\"user_data\":{");
        let without_origin = person.is_some() && self.is_without_origin(event, context);
        let mut carried = Carried::default();
        for (field, key, expr) in &self.fields {
            let mut values = Values {
                field: *field,
                event,
                context,
                known,
                recorder,
                scratch: &mut scratch,
                bytes_left: &mut bytes_left,
                unescaped: &mut unescaped,
                start: out.len(),
                first: write::key(out, key),
                out,
                written: 0,
                met_any: false,
                plain: Vec::new(),
                tries: Tries::default(),
            };
            let take_known = |values: &mut Values<'_, '_, '_, _>| {
                values.written == 0
                    && person.is_some_and(|person| {
                        person.visit(*field, expr, event, without_origin, &mut |label, text| {
                            values.take_text(Source::remembered(label), text)
                        })
                    })
            };
            let mut last = None;
            expr.visit(event.into(), &mut |found| {
                // One path may find many values.
                let path = found.path.map(ptr::from_ref);
                let changed = match last {
                    Some((known, changed)) if known == path => changed,
                    _ => became(person, *field, found.path, event),
                };
                last = Some((path, changed));
                // The event changes this property, and the profile has what it became.
                if let Some((person, property)) = changed {
                    return person.visit_property(property, &mut |label, text| {
                        values.take_text(Source::remembered(label), text)
                    });
                }
                // What is known of the person comes before a constant.
                (found.path.is_none() && take_known(&mut values)) || values.take_all(found)
            });
            take_known(&mut values);
            if !values.met_any {
                record_absent(values.recorder, ServerField::UserData(*field), expr, event);
            }
            if values.finish() {
                carried.add(*field);
            }
        }
        out.push(b'}');
        carried
    }

    /// How the values of an event are read. The time of the event stands in for the one at which a click id
    /// was first seen.
    pub(super) fn context<'r>(
        &'r self,
        event: &'r Event<'_>,
        happened: UnixMillis,
        now: UnixMillis,
    ) -> Context<'r> {
        let named_country = self.needs_country.then(|| self.country(event)).flatten();
        let country = named_country.as_ref().map(|(_, code)| *code);
        Context {
            calling_code: match &self.calling_code {
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
            date_order: self.date_order,
            external_id_case: self.external_id_case,
            now,
            click_seen: happened,
        }
    }

    /// Whether an event carries neither a usable address nor a usable user agent.
    fn is_without_origin(&self, event: &Event<'_>, context: &Context<'_>) -> bool {
        let of_origin = [
            UserDataField::ClientIpAddress,
            UserDataField::ClientUserAgent,
        ];
        let is_given = |field: UserDataField, expr| {
            let given = first_usable(event, expr, |path, element| {
                let text = text_of(element).ok()?;
                let is_there = path.is_some() && !is_absent(field, path, element);
                let scratch = &mut Scratch::default();
                (is_there && normalize::normalize(field, &text, context, scratch).is_ok())
                    .then_some(())
            });
            given.is_some()
        };
        let mut exprs = self.fields.iter();
        !exprs.any(|(field, _, expr)| of_origin.contains(field) && is_given(*field, expr))
    }

    /// The event's country by the mapped field, else by Amplitude's: as the event writes it, and its code.
    fn country<'r>(&'r self, event: &'r Event<'_>) -> Option<(Cow<'r, str>, &'static str)> {
        let code = |value: Json<'r>| {
            let text = value.as_str()?;
            let code = normalize::country::code(&text)?;
            Some((text, code))
        };
        let mut fields = self.fields.iter();
        fields
            .find(|(field, _, _)| *field == UserDataField::Country)
            .and_then(|(_, _, expr)| first_usable(event, expr, |_, element| code(element)))
            .or_else(|| event.field("country").and_then(code))
    }
}

/// What `read` makes of the first value it can use, of those that an expression finds and of their elements.
pub(super) fn first_usable<'r, T>(
    event: &'r Event<'_>,
    expr: &'r ValueExpr,
    mut read: impl FnMut(Option<&'r Path>, Json<'r>) -> Option<T>,
) -> Option<T> {
    let mut first = None;
    let mut tries = Tries::default();
    expr.visit(event.into(), &mut |found| {
        event.arena().each_element(found.value, &mut |element| {
            if first.is_none() && tries.another(found.path) == Try::Within {
                first = read(found.path, element);
            }
        });
        first.is_some()
    });
    first
}

/// How many values of a path were tried.
#[derive(Debug, Default)]
struct Tries {
    path: Option<*const Path>,
    count: usize,
}

/// Whether one more value is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    Within,
    /// It is the first that is not.
    First,
    Beyond,
}

impl Tries {
    /// Counts one more value of a path.
    fn another(&mut self, path: Option<&Path>) -> Try {
        let path = path.map(ptr::from_ref);
        if self.path != path {
            *self = Self { path, count: 0 };
        }
        self.count += 1;
        match self.count.cmp(&(MOST_TRIED + 1)) {
            Ordering::Less => Try::Within,
            Ordering::Equal => Try::First,
            Ordering::Greater => Try::Beyond,
        }
    }
}

/// The property that a path finds, where its value depends on the one before the event and is remembered.
fn became<'k>(
    person: Option<ProfileView<'k>>,
    field: UserDataField,
    path: Option<&Path>,
    event: &Event<'_>,
) -> Option<(ProfileView<'k>, &'k Property)> {
    let (person, path) = person.zip(path)?;
    let name = path.user_property()?;
    if !event.depends_on_before(USER_PROPERTIES, name) {
        return None;
    }
    Some((person, person.property(field, path)?))
}

/// An `fbc` whose time cannot be that of a click which led to the event, moved as the event's time was: a
/// browser with a wrong clock dates both by it.
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
    let of_device = event_time::parse(event.field("client_event_time")?)?;
    let happened = context.click_seen;
    moved_by(text, happened.0.checked_sub(of_device.0)?, happened)
}

/// The values of one field, while they are written.
struct Values<'v, 'c, 'k, R> {
    field: UserDataField,
    out: &'v mut Vec<u8>,
    event: &'v Event<'v>,
    context: &'v Context<'c>,
    known: &'v mut KnownData<'k>,
    recorder: &'v mut R,
    scratch: &'v mut Scratch,
    /// How many bytes of values may still be read for this event.
    bytes_left: &'v mut usize,
    /// Room for a text without its escapes.
    unescaped: &'v mut String,
    /// Where the field begins, and its first value.
    start: usize,
    first: usize,
    written: usize,
    /// A value was there, usable or not.
    met_any: bool,
    /// Ids that are sent unhashed too; they are written after all hashes.
    plain: Vec<Box<str>>,
    tries: Tries,
}

impl<R: Recorder> Values<'_, '_, '_, R> {
    /// Takes what was found, and says whether any of it is usable.
    fn take_all(&mut self, found: FoundValue<'_>) -> bool {
        let mut is_of_use = false;
        let arena = self.event.arena();
        arena.each_element(found.value, &mut |element| {
            let source = Source {
                value: Some(element),
                ..Source::found(&found)
            };
            match self.tries.another(found.path) {
                Try::Within => {}
                Try::First => return self.drop(source, DropReason::TooMany),
                Try::Beyond => return,
            }
            let Some(left) = self.bytes_left.checked_sub(element.raw().len()) else {
                return self.drop(source, DropReason::TooLong);
            };
            *self.bytes_left = left;
            if is_absent(self.field, found.path, element) {
                return;
            }
            let mut buffer = std::mem::take(self.unescaped);
            match text_in(element, &mut buffer) {
                Ok(text) => is_of_use |= self.take_text(source, &text),
                Err(reason) => self.drop(source, reason),
            }
            *self.unescaped = buffer;
        });
        is_of_use
    }

    /// Takes a text, and says whether it is usable.
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

    /// Writes an `fbc`. Where `made` says that the relay put the time into it, that becomes the time at which
    /// the click was first seen.
    fn click(&mut self, source: Source<'_>, fbc: &str, made: bool) {
        let happened = self.context.click_seen;
        let click = self.known.click(fbc, made, happened);
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
        let field = ServerField::UserData(self.field);
        let sent = SentValue::plain(&written, 0, rule);
        self.recorder.sent(field, source, sent);
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
        let field = ServerField::UserData(self.field);
        self.recorder.sent(field, source, sent);
    }

    fn drop(&mut self, source: Source<'_>, reason: DropReason) {
        self.met_any = true;
        let field = ServerField::UserData(self.field);
        self.recorder.dropped(field, source, reason);
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
