//! What is known of an event's person and click from earlier events, while the event is mapped.
//!
//! A field takes from it where the event gives it nothing: first the person's properties, path by path in
//! the mapping's order, then what earlier events carried.

use crate::clock::UnixMillis;
use crate::event::Event;
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::normalize::click::with_time;
use crate::normalize::field::UserDataField;
use crate::profile::clicks::{ClickKey, Clicks, FirstSeen, KEPT, can_carry};
use crate::profile::property::PropertyId;
use crate::profile::{Profile, click_id};

/// Digits of one form of a hashed value.
const DIGITS: usize = 64;

/// A property that is remembered in the form of a field.
#[derive(Debug)]
pub(super) struct Property {
    pub(super) slot: PropertyId,
    pub(super) field: UserDataField,
    /// The path that names the property.
    pub(super) path: Path,
    /// How an explanation names it.
    pub(super) label: Box<str>,
}

/// What an event may take from earlier ones.
#[derive(Debug)]
pub struct KnownData<'k> {
    /// What is known of its person.
    pub person: Option<ProfileView<'k>>,
    /// When clicks were first seen.
    pub clicks: &'k mut dyn Clicks,
}

impl KnownData<'_> {
    /// The `fbc` to send in place of the event's own, where they differ. `made` means that the relay put the
    /// time into it, as for a bare click id. A browser's cookie keeps its own time, which is noted as the
    /// click's.
    pub(super) fn click(&mut self, fbc: &str, made: bool, happened: UnixMillis) -> Option<String> {
        let of_person = self.person.and_then(|known| known.same_click(fbc));
        let known = of_person.unwrap_or(fbc);
        let (seen, id) = clicked(known)?;
        let own = || of_person.map(str::to_owned);
        if !can_carry(happened, seen) {
            return own();
        }
        let click = ClickKey::of(id);
        let first = self.clicks.first_seen(FirstSeen { click, seen });
        if !made || of_person.is_some() || first == seen || !can_carry(happened, first) {
            return own();
        }
        with_time(fbc, first)
    }
}

/// The time and the click id in an `fbc`.
fn clicked(fbc: &str) -> Option<(UnixMillis, &str)> {
    let mut parts = fbc.split('.').skip(2);
    let seen = parts.next()?.parse().ok()?;
    Some((UnixMillis(seen), parts.next()?))
}

/// The profile of an event's person, read by the properties that the sync remembers.
#[derive(Clone, Copy, Debug)]
pub struct ProfileView<'k> {
    pub(super) properties: &'k [Property],
    pub(super) profile: &'k Profile,
    pub(super) now: UnixMillis,
}

impl<'k> ProfileView<'k> {
    /// Calls `found` with each remembered value of a field and how an explanation names its source, until
    /// one is usable; says whether any was. The conditions of the expression are judged by the event.
    /// `without_origin` means that the event carries neither address nor user agent.
    pub(super) fn visit(
        &self,
        field: UserDataField,
        expr: &ValueExpr,
        event: &Event<'_>,
        without_origin: bool,
        found: &mut dyn FnMut(&'k str, &'k str) -> bool,
    ) -> bool {
        let mut may_give = false;
        let given = expr.visit_paths(Some(event.into()), &mut |path| {
            may_give = true;
            self.property(field, path)
                .is_some_and(|property| self.visit_property(property, found))
        });
        if given || !may_give {
            return given;
        }
        let origin = || self.profile.origin.as_ref().filter(|_| without_origin);
        let (label, seen) = match field {
            UserDataField::ClickId => {
                let click = self.profile.click.as_ref();
                let click = click.filter(|click| self.now.since(click.seen) < KEPT);
                ("remembered click", click.map(|click| &*click.fbc))
            }
            UserDataField::BrowserId => ("remembered browser id", self.profile.browser.as_deref()),
            UserDataField::ClientIpAddress => (
                "remembered address",
                origin().map(|origin| &*origin.address),
            ),
            UserDataField::ClientUserAgent => (
                "remembered user agent",
                origin().map(|origin| &*origin.user_agent),
            ),
            _ => return false,
        };
        seen.is_some_and(|text| found(label, text))
    }

    /// The property of a path that is remembered for a field.
    pub(super) fn property(&self, field: UserDataField, path: &Path) -> Option<&'k Property> {
        let mut properties = self.properties.iter();
        properties.find(|property| property.field == field && property.path == *path)
    }

    /// Calls `found` with each remembered value of a property; says whether any was usable.
    pub(super) fn visit_property(
        &self,
        property: &'k Property,
        found: &mut dyn FnMut(&'k str, &'k str) -> bool,
    ) -> bool {
        let value = self.profile.value(property.slot);
        let elements = value.into_iter().flat_map(|value| &value.elements);
        let mut is_of_use = false;
        for form in elements.flat_map(|element| forms(property.field, element)) {
            is_of_use |= found(&property.label, form);
        }
        is_of_use
    }

    /// The remembered `fbc`, where it is of the click that an event carries: it has the time at which the
    /// click was first seen.
    fn same_click(&self, fbc: &str) -> Option<&'k str> {
        let known = &self.profile.click.as_ref()?.fbc;
        (click_id(known) == click_id(fbc)).then_some(known)
    }
}

/// The forms in which a value is sent: those of a hashed one follow each other.
fn forms(field: UserDataField, mut element: &str) -> Vec<&str> {
    let mut forms = Vec::new();
    while field.is_hashed()
        && let Some((form, rest)) = element.split_at_checked(DIGITS)
        && !rest.is_empty()
    {
        forms.push(form);
        element = rest;
    }
    forms.push(element);
    forms
}
