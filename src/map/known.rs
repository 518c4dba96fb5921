//! What is remembered of an event's person, while the event is mapped.
//!
//! A field takes from it where the event gives it nothing: first what properties were, path by path in
//! the mapping's own order, then what earlier events carried.

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
    /// Where.
    pub(super) slot: PropertyId,
    /// The field.
    pub(super) field: UserDataField,
    /// The path that names the property.
    pub(super) path: Path,
    /// How an explanation names it.
    pub(super) label: Box<str>,
}

/// What an event may take from what is remembered.
#[derive(Debug)]
pub(super) struct Remembered<'k> {
    /// Of its person.
    pub(super) person: Option<ProfileView<'k>>,
    /// Of clicks.
    pub(super) clicks: &'k mut dyn Clicks,
}

impl Remembered<'_> {
    /// The `fbc` that stands for one that an event gave, where it is another. `made`: its time is ours, as
    /// where it was made of a bare click id. A browser's cookie keeps its own, and tells of it.
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

/// The moment and the click id in an `fbc`.
fn clicked(fbc: &str) -> Option<(UnixMillis, &str)> {
    let mut parts = fbc.split('.').skip(2);
    let seen = parts.next()?.parse().ok()?;
    Some((UnixMillis(seen), parts.next()?))
}

/// What is remembered of an event's person.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileView<'k> {
    /// The properties that the sync remembers.
    pub(super) properties: &'k [Property],
    /// What they were, and what else is known.
    pub(super) profile: &'k Profile,
    /// The present moment.
    pub(super) now: UnixMillis,
}

impl<'k> ProfileView<'k> {
    /// Calls `found` with what is remembered of a field, one text for each value, and how an explanation
    /// names where it is from, until it says that one is of use; says whether any was. Conditions of the
    /// expression hold or not by the event. `without_origin`: it carries neither address nor user agent.
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
        let origin = || self.profile.origin().filter(|_| without_origin);
        let seen = match field {
            UserDataField::ClickId => {
                let click = self.profile.click();
                click
                    .filter(|click| self.now.since(click.seen) < KEPT)
                    .map(|click| ("remembered click", &*click.fbc))
            }
            UserDataField::BrowserId => {
                let browser = self.profile.browser();
                browser.map(|browser| ("remembered browser id", browser))
            }
            UserDataField::ClientIpAddress => {
                origin().map(|origin| ("remembered address", &*origin.address))
            }
            UserDataField::ClientUserAgent => {
                origin().map(|origin| ("remembered user agent", &*origin.user_agent))
            }
            _ => None,
        };
        seen.is_some_and(|(label, text)| found(label, text))
    }

    /// The property of a path that is remembered for a field.
    pub(super) fn property(&self, field: UserDataField, path: &Path) -> Option<&'k Property> {
        let mut properties = self.properties.iter();
        properties.find(|property| property.field == field && property.path == *path)
    }

    /// Calls `found` with what is remembered of a property; says whether any of it was of use.
    pub(super) fn visit_property(
        &self,
        property: &'k Property,
        found: &mut dyn FnMut(&'k str, &'k str) -> bool,
    ) -> bool {
        let Some(value) = self.profile.value(property.slot) else {
            return false;
        };
        let mut is_of_use = false;
        let elements = value.elements.iter();
        for form in elements.flat_map(|element| forms(property.field, element)) {
            is_of_use |= found(&property.label, form);
        }
        is_of_use
    }

    /// The remembered click, where it is the one that an event carries: the time at which it was first
    /// seen is better known than from the event.
    pub(super) fn same_click(&self, fbc: &str) -> Option<&'k str> {
        let known = &self.profile.click()?.fbc;
        (click_id(known) == click_id(fbc)).then_some(known)
    }
}

/// The forms of a value, one by one.
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
