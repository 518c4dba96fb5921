//! Value expressions: where a mapping takes a value from.
//!
//! An expression is a list of sources, of which the first with a present value wins, and a constant in case
//! none has one. A source is a path, or something that a path cannot express: the values of several
//! expressions, a value by a table, the parts of a text, or an expression under conditions. Each of these
//! holds expressions again.
//!
//! A value that a source's table does not know counts as absent, so that the next source or the constant
//! applies; [`ValueExpr::untranslated`] finds it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::slice;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::event::number::text_of;
use crate::expr::condition::{self, Condition, holds};
use crate::expr::path::reads::{AcceptedValue, EventRead, EventReads};
use crate::expr::path::{Path, Scope};
use crate::json::Json;

/// A constant, as JSON text so that it is read like a value of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant(Box<str>);

impl Constant {
    pub fn new(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }

    pub fn json(&self) -> Json<'_> {
        Json::of_valid_text(&self.0)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueExpr {
    /// In the order in which they are tried.
    pub sources: Vec<ValueSource>,
    /// The value if no source has one; the only one of a constant.
    pub default: Option<Constant>,
}

/// A source of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    Path(Path),
    /// The values of several expressions, together.
    All(Vec<ValueExpr>),
    /// The table's replacements of the values of an expression.
    Translated(ValueExpr, ReplacementTable),
    /// The parts of texts between separators.
    Split(ValueExpr, Box<str>),
    /// The values of an expression, if all conditions hold.
    When(Vec<Condition>, ValueExpr),
}

/// The replacements of values, by their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacementTable(pub BTreeMap<String, Constant>);

/// A value, and what gave it.
#[derive(Clone, Copy, Debug)]
pub struct FoundValue<'o> {
    /// The value; what [`ValueExpr::first`] and [`ValueExpr::all`] give is never absent.
    pub value: Json<'o>,
    /// The path that led to it; `None` for a constant or a default.
    pub path: Option<&'o Path>,
    /// The conditions under which it was chosen.
    pub when: &'o [Condition],
    /// The value that a table replaced.
    pub translated: Option<Json<'o>>,
    /// Whether it is a part of a text that was split.
    pub is_split: bool,
    /// Whether it was found in the event for all items of a list that lack it.
    pub is_of_event: bool,
}

/// What becomes of a value that is found; `None` where it does not count.
type Accept<'a, 'o> = &'a dyn Fn(FoundValue<'o>) -> Option<FoundValue<'o>>;

impl ValueExpr {
    pub fn path(path: Path) -> Self {
        Self {
            sources: vec![ValueSource::Path(path)],
            default: None,
        }
    }

    pub const fn constant(constant: Constant) -> Self {
        Self {
            sources: Vec::new(),
            default: Some(constant),
        }
    }

    /// Whether it can never have a value, because the configuration switches the field off.
    pub const fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.default.is_none()
    }

    /// The first present value.
    pub fn first<'o, 'e: 'o>(&'o self, scope: impl Into<Scope<'o, 'e>>) -> Option<FoundValue<'o>> {
        self.first_noting(scope, &Cell::default())
    }

    /// The same. `unknown` becomes true where a table does not know a present value.
    pub fn first_noting<'o, 'e: 'o>(
        &'o self,
        scope: impl Into<Scope<'o, 'e>>,
        unknown: &Cell<bool>,
    ) -> Option<FoundValue<'o>> {
        let scope = scope.into();
        let found = self.sources.iter().find_map(|source| match source {
            ValueSource::Path(path) => {
                let (value, is_of_event) = path.first_by_origin(scope)?;
                let found = FoundValue::new(value, Some(path));
                Some(FoundValue {
                    is_of_event,
                    ..found
                })
            }
            source => source.first(scope, unknown, &present),
        });
        found.or_else(|| self.default.as_ref().map(FoundValue::constant))
    }

    /// The first value that `accept` makes something of.
    fn first_accepted<'o, 'e: 'o>(
        &'o self,
        scope: Scope<'o, 'e>,
        unknown: &Cell<bool>,
        accept: Accept<'_, 'o>,
    ) -> Option<FoundValue<'o>> {
        let mut sources = self.sources.iter();
        let found = sources.find_map(|source| source.first(scope, unknown, accept));
        found.or_else(|| accept(FoundValue::constant(self.default.as_ref()?)))
    }

    /// Looks up what the items of a list find in their event.
    pub fn note_in_event<'o>(&'o self, event: &'o Event<'_>, reads: &mut EventReads<'o>) {
        self.note_accepted(event, reads, &Cell::default(), &present);
    }

    fn note_accepted<'o>(
        &'o self,
        event: &'o Event<'_>,
        reads: &mut EventReads<'o>,
        unknown: &Cell<bool>,
        accept: Accept<'_, 'o>,
    ) {
        for source in &self.sources {
            if let ValueSource::Path(path) = source {
                note_path(path, event, reads, unknown, accept);
            }
            if let ValueSource::When(conditions, _) = source {
                condition::note_in_event(conditions, event, reads);
            }
            for value in source.inner() {
                value.note_accepted(event, reads, unknown, &|found| {
                    source.accepted(event.arena(), found, unknown, accept)
                });
            }
        }
    }

    /// All present values of the first source that has any.
    pub fn all<'o>(&'o self, event: &'o Event<'_>) -> Vec<FoundValue<'o>> {
        let mut all = Vec::new();
        self.visit(event.into(), &mut |found| {
            let present = !found.value.is_absent();
            if present {
                all.push(found);
            }
            present
        });
        all
    }

    /// Offers the values of each source, absent ones too, to `take`, and stops after the first source of which
    /// `take` accepts a value. Returns whether it accepted any.
    pub fn visit<'o, 'e: 'o, F>(&'o self, scope: Scope<'o, 'e>, take: &mut F) -> bool
    where
        F: FnMut(FoundValue<'o>) -> bool,
    {
        self.sources.iter().any(|source| match source {
            ValueSource::Path(path) => visit_path(path, scope, take),
            source => source.visit(scope, take),
        }) || self
            .default
            .as_ref()
            .is_some_and(|constant| take(FoundValue::constant(constant)))
    }

    /// A present value that a table does not know.
    pub fn untranslated<'o, 'e: 'o>(
        &'o self,
        scope: impl Into<Scope<'o, 'e>>,
    ) -> Option<FoundValue<'o>> {
        let scope = scope.into();
        self.sources
            .iter()
            .find_map(|source| source.untranslated(scope))
    }

    /// Whether it gathers several values in one list.
    pub fn gathers(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(source, ValueSource::All(_) | ValueSource::Split(..))
                || source.inner().iter().any(Self::gathers)
        })
    }

    /// The paths to its values.
    pub fn paths(&self) -> Vec<&Path> {
        let paths = self.sources.iter().flat_map(|source| match source {
            ValueSource::Path(path) => vec![path],
            source => source.inner().iter().flat_map(Self::paths).collect(),
        });
        paths.collect()
    }

    /// Every path that it may read, those of its conditions too.
    pub fn all_paths(&self) -> Vec<&Path> {
        let paths = self.sources.iter().flat_map(|source| {
            let inner = source.inner().iter().flat_map(Self::all_paths);
            match source {
                ValueSource::Path(path) => vec![path],
                ValueSource::When(conditions, _) => {
                    let conditions = conditions.iter().map(|condition| &condition.property);
                    conditions.chain(inner).collect()
                }
                _ => inner.collect(),
            }
        });
        paths.collect()
    }

    /// Calls `take` with the paths whose values stay as they are, source by source, up to the first source
    /// of which it takes a path. It skips paths whose values a table replaces, or that are split, or whose
    /// conditions do not hold in the scope; without a scope all conditions count as met.
    pub fn visit_paths<'o, 'e: 'o>(
        &'o self,
        scope: Option<Scope<'o, 'e>>,
        take: &mut dyn FnMut(&'o Path) -> bool,
    ) -> bool {
        self.sources.iter().any(|source| match source {
            ValueSource::Path(path) => take(path),
            ValueSource::All(values) => {
                let mut taken = false;
                for value in values {
                    taken |= value.visit_paths(scope, take);
                }
                taken
            }
            ValueSource::Translated(..) | ValueSource::Split(..) => false,
            ValueSource::When(conditions, value) => {
                scope.is_none_or(|scope| holds(conditions, scope)) && value.visit_paths(scope, take)
            }
        })
    }

    /// The constants among its values; those that a table replaces are not.
    pub fn constants(&self) -> Vec<&Constant> {
        let constants = self.sources.iter().flat_map(|source| match source {
            ValueSource::Translated(_, table) => table.0.values().collect(),
            source => source
                .inner()
                .iter()
                .flat_map(Self::constants)
                .collect::<Vec<_>>(),
        });
        constants.chain(&self.default).collect()
    }

    /// Whether it has a value for every event, if only a constant.
    pub fn always_gives(&self) -> bool {
        self.default.is_some()
            || self.sources.iter().any(|source| match source {
                ValueSource::Path(_) | ValueSource::Translated(..) | ValueSource::Split(..) => {
                    false
                }
                ValueSource::All(values) => values.iter().any(Self::always_gives),
                ValueSource::When(conditions, value) => {
                    conditions.is_empty() && value.always_gives()
                }
            })
    }
}

impl ValueSource {
    /// The expressions that it holds.
    fn inner(&self) -> &[ValueExpr] {
        match self {
            Self::Path(_) => &[],
            Self::All(values) => values,
            Self::Translated(value, _) | Self::Split(value, _) | Self::When(_, value) => {
                slice::from_ref(value)
            }
        }
    }

    fn visit<'o, 'e: 'o>(
        &'o self,
        scope: Scope<'o, 'e>,
        take: &mut dyn FnMut(FoundValue<'o>) -> bool,
    ) -> bool {
        match self {
            Self::Path(path) => visit_path(path, scope, take),
            Self::All(values) => {
                let mut present = false;
                for value in values {
                    present |= value.visit(scope, &mut |found| take(found));
                }
                present
            }
            Self::Translated(value, table) => value.visit(scope, &mut |found| {
                table.translate(scope.arena(), found, take)
            }),
            Self::Split(value, separator) => value.visit(scope, &mut |found| {
                let is_split = true;
                let mut present = false;
                scope
                    .arena()
                    .each_piece(found.value, separator, &mut |value| {
                        present |= take(FoundValue {
                            value,
                            is_split,
                            ..found
                        });
                    });
                present
            }),
            Self::When(conditions, value) => {
                holds(conditions, scope)
                    && value.visit(scope, &mut |mut found| {
                        if found.when.is_empty() {
                            found.when = conditions;
                        }
                        take(found)
                    })
            }
        }
    }

    /// The first value that `accept` makes something of.
    fn first<'o, 'e: 'o>(
        &'o self,
        scope: Scope<'o, 'e>,
        unknown: &Cell<bool>,
        accept: Accept<'_, 'o>,
    ) -> Option<FoundValue<'o>> {
        match self {
            Self::Path(path) => first_of_path(path, scope, unknown, accept),
            Self::All(values) => {
                let mut values = values.iter();
                values.find_map(|value| value.first_accepted(scope, unknown, accept))
            }
            Self::Translated(value, _) | Self::Split(value, _) => {
                value.first_accepted(scope, unknown, &|found| {
                    self.accepted(scope.arena(), found, unknown, accept)
                })
            }
            Self::When(conditions, value) => {
                if !holds(conditions, scope) {
                    return None;
                }
                let mut found = value.first_accepted(scope, unknown, accept)?;
                if found.when.is_empty() {
                    found.when = conditions;
                }
                Some(found)
            }
        }
    }

    /// What `accept` makes of a value, replaced by the table or split.
    fn accepted<'o>(
        &'o self,
        arena: &'o Arena,
        found: FoundValue<'o>,
        unknown: &Cell<bool>,
        accept: Accept<'_, 'o>,
    ) -> Option<FoundValue<'o>> {
        let mut first = None;
        match self {
            Self::Translated(_, table) => {
                let is_known = table.translate(arena, found, &mut |found| {
                    first = first.or_else(|| accept(found));
                    true
                });
                if !is_known && !found.value.is_absent() {
                    unknown.set(true);
                }
            }
            Self::Split(_, separator) => {
                arena.each_piece(found.value, separator, &mut |value| {
                    let is_split = true;
                    first = first.or_else(|| {
                        accept(FoundValue {
                            value,
                            is_split,
                            ..found
                        })
                    });
                });
            }
            Self::Path(_) | Self::All(_) | Self::When(..) => return accept(found),
        }
        first
    }

    fn untranslated<'o, 'e: 'o>(&'o self, scope: Scope<'o, 'e>) -> Option<FoundValue<'o>> {
        let mut unknown = None;
        match self {
            Self::Translated(value, table) => {
                value.visit(scope, &mut |found| {
                    let present = !found.value.is_absent();
                    if present
                        && unknown.is_none()
                        && !table.translate(scope.arena(), found, &mut |_| true)
                    {
                        unknown = Some(found);
                    }
                    present
                });
            }
            Self::When(conditions, _) if !holds(conditions, scope) => return None,
            _ => {}
        }
        unknown.or_else(|| {
            self.inner()
                .iter()
                .find_map(|value| value.untranslated(scope))
        })
    }
}

impl ReplacementTable {
    /// Calls `take` with the replacement of a value, or of each element of a list.
    fn translate<'o>(
        &'o self,
        arena: &'o Arena,
        found: FoundValue<'o>,
        take: &mut dyn FnMut(FoundValue<'o>) -> bool,
    ) -> bool {
        let mut present = false;
        arena.each_element(found.value, &mut |value| {
            present |= self.get(value).is_some_and(|constant| {
                take(FoundValue {
                    value: constant.json(),
                    translated: Some(value),
                    ..found
                })
            });
        });
        present
    }

    /// The replacement of a value: by its text, and of a number `1.0` also by `1`.
    fn get(&self, value: Json<'_>) -> Option<&Constant> {
        let text = value.text().filter(|_| !value.is_absent())?;
        let known = |text: &str| self.0.get(text);
        known(&text)
            .or_else(|| known(text.trim()))
            .or_else(|| known(&text_of(value)?))
    }
}

impl<'o> FoundValue<'o> {
    const fn new(value: Json<'o>, path: Option<&'o Path>) -> Self {
        Self {
            value,
            path,
            when: &[],
            translated: None,
            is_split: false,
            is_of_event: false,
        }
    }

    fn constant(constant: &'o Constant) -> Self {
        Self::new(constant.json(), None)
    }

    /// Whether it is a constant that does not depend on the event.
    pub const fn is_fixed(&self) -> bool {
        self.path.is_none() && self.when.is_empty()
    }
}

/// A value that is present.
fn present(found: FoundValue<'_>) -> Option<FoundValue<'_>> {
    (!found.value.is_absent()).then_some(found)
}

fn first_of_path<'o>(
    path: &'o Path,
    scope: Scope<'o, '_>,
    unknown: &Cell<bool>,
    accept: Accept<'_, 'o>,
) -> Option<FoundValue<'o>> {
    let mut first = None;
    let read = path.visit_or_read(scope, &mut |value| {
        first = first.or_else(|| accept(FoundValue::new(value, Some(path))));
    });
    let Some(read) = read else {
        return first;
    };
    unknown.set(unknown.get() | read.is_unknown);
    let accepted = read.accepted?;
    Some(FoundValue {
        translated: accepted.translated,
        is_split: accepted.is_split,
        is_of_event: true,
        ..FoundValue::new(accepted.value, Some(path))
    })
}

fn note_path<'o>(
    path: &'o Path,
    event: &'o Event<'_>,
    reads: &mut EventReads<'o>,
    unknown: &Cell<bool>,
    accept: Accept<'_, 'o>,
) {
    if path.path_in_event().is_none() {
        return;
    }
    let mut read = EventRead::default();
    unknown.set(false);
    path.visit_outside(event, &mut |value| {
        if read.first.is_none() && !value.is_absent() {
            read.first = Some(value);
        }
        if read.accepted.is_none() {
            let accepted = accept(FoundValue::new(value, Some(path)));
            read.accepted = accepted.map(|found| AcceptedValue {
                value: found.value,
                translated: found.translated,
                is_split: found.is_split,
            });
        }
    });
    read.is_unknown = unknown.get();
    reads.note(path, read);
}

fn visit_path<'o, F>(path: &'o Path, scope: Scope<'o, '_>, take: &mut F) -> bool
where
    F: FnMut(FoundValue<'o>) -> bool + ?Sized,
{
    let mut present = false;
    path.visit_in(scope, &mut |value| {
        present |= take(FoundValue::new(value, Some(path)));
    });
    present
}

#[cfg(test)]
mod tests;
