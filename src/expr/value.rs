//! Value expressions: where a mapping takes a value from.
//!
//! An expression is a list of sources, of which the first that gives anything present wins, and a
//! constant for where none does. A source is a path, or one of the things a path cannot say: the values
//! of several expressions at once, a value by a table, the parts of a text, or an expression under conditions.
//! Each may hold expressions again.
//!
//! What a source finds and its table does not know counts as nothing found, so that the next source
//! or the constant stands in; [`ValueExpr::untranslated`] tells of it where none does.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::event::decimal::whole_digits;
use crate::expr::condition::{Condition, holds};
use crate::expr::path::{Path, Scope};
use crate::json::Json;

/// A constant, kept as JSON text so that it is read like any value of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant(Box<str>);

impl Constant {
    /// Keeps a value.
    pub fn new(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }

    /// The value.
    pub fn json(&self) -> Json<'_> {
        Json::of_valid_text(&self.0)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueExpr {
    /// Tried in this order.
    pub sources: Vec<ValueSource>,
    /// Taken where no source gives anything; alone, a constant.
    pub default: Option<Constant>,
}

/// One way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// What a path points to.
    Path(Path),
    /// What each of several expressions gives, together.
    All(Vec<ValueExpr>),
    /// What stands in a table beside the value that is found.
    Translated(ValueExpr, ReplacementTable),
    /// What stands between the separators of the texts that are found.
    Split(ValueExpr, Box<str>),
    /// What an expression gives, where all conditions hold.
    When(Vec<Condition>, ValueExpr),
}

/// What values are replaced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacementTable(pub BTreeMap<String, Constant>);

/// A value, and what gave it.
#[derive(Clone, Copy, Debug)]
pub struct FoundValue<'o> {
    /// The value; what [`ValueExpr::first`] and [`ValueExpr::all`] give is never absent.
    pub value: Json<'o>,
    /// The path that gave it; `None` for a constant or a default.
    pub path: Option<&'o Path>,
    /// The conditions that chose it; none where it was not chosen by any.
    pub when: &'o [Condition],
    /// The value that a table replaced.
    pub translated: Option<Json<'o>>,
    /// It was split off from a text.
    pub is_split: bool,
}

impl ValueExpr {
    /// An expression of one path.
    pub fn path(path: Path) -> Self {
        Self {
            sources: vec![ValueSource::Path(path)],
            default: None,
        }
    }

    /// A constant alone.
    pub const fn constant(constant: Constant) -> Self {
        Self {
            sources: Vec::new(),
            default: Some(constant),
        }
    }

    /// Whether there is nothing that could give a value: what is switched off.
    pub const fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.default.is_none()
    }

    /// The first present value.
    pub fn first<'o, 'e: 'o>(&'o self, scope: impl Into<Scope<'o, 'e>>) -> Option<FoundValue<'o>> {
        let scope = scope.into();
        let found = self.sources.iter().find_map(|source| match source {
            ValueSource::Path(path) => path
                .first_in(scope)
                .map(|value| FoundValue::at(path, value)),
            source => {
                let mut first = None;
                source.visit(scope, &mut |found| {
                    let present = !found.value.is_absent();
                    if present && first.is_none() {
                        first = Some(found);
                    }
                    present
                });
                first
            }
        });
        found.or_else(|| self.default.as_ref().map(FoundValue::constant))
    }

    /// All present values of the first source that has any; a path with `[*]` may give several.
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

    /// Calls `take` with the values of one source after the other, absent ones too, until it took one
    /// of them as present; then those of that source are the last. Says whether any was present.
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

    /// A present value that a table does not know, so that it gave nothing.
    pub fn untranslated<'o, 'e: 'o>(
        &'o self,
        scope: impl Into<Scope<'o, 'e>>,
    ) -> Option<FoundValue<'o>> {
        let scope = scope.into();
        self.sources
            .iter()
            .find_map(|source| source.untranslated(scope))
    }

    /// Whether it gives several values as one list.
    pub fn gathers(&self) -> bool {
        self.sources.iter().any(|source| match source {
            ValueSource::Path(_) => false,
            ValueSource::All(_) | ValueSource::Split(..) => true,
            ValueSource::Translated(value, _) | ValueSource::When(_, value) => value.gathers(),
        })
    }

    /// The paths that may give a value.
    pub fn paths(&self) -> Vec<&Path> {
        let paths = self.sources.iter().flat_map(|source| match source {
            ValueSource::Path(path) => vec![path],
            ValueSource::All(values) => values.iter().flat_map(Self::paths).collect(),
            ValueSource::Translated(value, _)
            | ValueSource::Split(value, _)
            | ValueSource::When(_, value) => value.paths(),
        });
        paths.collect()
    }

    /// Every path that it may read, those of its conditions too.
    pub fn all_paths(&self) -> Vec<&Path> {
        let paths = self.sources.iter().flat_map(|source| match source {
            ValueSource::Path(path) => vec![path],
            ValueSource::All(values) => values.iter().flat_map(Self::all_paths).collect(),
            ValueSource::Translated(value, _) | ValueSource::Split(value, _) => value.all_paths(),
            ValueSource::When(conditions, value) => {
                let conditions = conditions.iter().map(|condition| &condition.property);
                conditions.chain(value.all_paths()).collect()
            }
        });
        paths.collect()
    }

    /// Calls `take` with the paths that may give a value as it stands, source by source, until it took
    /// those of one. A path whose values a table replaces or that are split is none, nor is one whose conditions do not hold
    /// in the scope; without a scope they count as met.
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

    /// The constants that may be given; what a table translates on the way is not among them.
    pub fn constants(&self) -> Vec<&Constant> {
        let within = self.sources.iter().flat_map(|source| match source {
            ValueSource::Path(_) => Vec::new(),
            ValueSource::All(values) => values.iter().flat_map(Self::constants).collect(),
            ValueSource::Translated(_, table) => table.0.values().collect(),
            ValueSource::Split(value, _) | ValueSource::When(_, value) => value.constants(),
        });
        within.chain(&self.default).collect()
    }

    /// Whether it gives a constant, if nothing else, whatever the event.
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
                let mut present = false;
                let mut each = |value| {
                    present |= take(FoundValue {
                        value,
                        is_split: true,
                        ..found
                    });
                };
                let arena = scope.arena();
                arena.each_piece(found.value, separator, &mut each);
                present
            }),
            Self::When(conditions, value) => {
                holds(conditions, scope)
                    && value.visit(scope, &mut |found| {
                        let when = if found.when.is_empty() {
                            conditions
                        } else {
                            found.when
                        };
                        take(FoundValue { when, ..found })
                    })
            }
        }
    }

    fn untranslated<'o, 'e: 'o>(&'o self, scope: Scope<'o, 'e>) -> Option<FoundValue<'o>> {
        match self {
            Self::Path(_) => None,
            Self::All(values) => values.iter().find_map(|value| value.untranslated(scope)),
            Self::Translated(value, table) => {
                let mut unknown = None;
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
                unknown.or_else(|| value.untranslated(scope))
            }
            Self::Split(value, _) => value.untranslated(scope),
            Self::When(conditions, value) => holds(conditions, scope)
                .then(|| value.untranslated(scope))
                .flatten(),
        }
    }
}

impl ReplacementTable {
    /// Calls `take` with what stands beside a value, or beside each element of a list.
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

    /// What stands beside a value: by its text, and for a number `1.0` also by `1`.
    fn get(&self, value: Json<'_>) -> Option<&Constant> {
        if value.is_absent() {
            return None;
        }
        let text = value.text()?;
        let known = |text: &str| self.0.get(text);
        known(&text).or_else(|| known(text.trim())).or_else(|| {
            let digits = value.is_number().then(|| whole_digits(value.raw()))??;
            known(&digits)
        })
    }
}

impl<'o> FoundValue<'o> {
    const fn at(path: &'o Path, value: Json<'o>) -> Self {
        Self {
            value,
            path: Some(path),
            when: &[],
            translated: None,
            is_split: false,
        }
    }

    fn constant(constant: &'o Constant) -> Self {
        Self {
            value: constant.json(),
            path: None,
            when: &[],
            translated: None,
            is_split: false,
        }
    }

    /// Whether it is a constant that nothing in the event chose.
    pub const fn is_fixed(&self) -> bool {
        self.path.is_none() && self.when.is_empty()
    }
}

fn visit_path<'o, F>(path: &'o Path, scope: Scope<'o, '_>, take: &mut F) -> bool
where
    F: FnMut(FoundValue<'o>) -> bool + ?Sized,
{
    let mut present = false;
    path.visit_in(scope, &mut |value| {
        present |= take(FoundValue::at(path, value));
    });
    present
}

#[cfg(test)]
mod tests;
