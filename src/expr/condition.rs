//! Conditions on an event, with Amplitude's operators.
//!
//! A property's *candidates* are the texts found where its path points: a scalar as it is, each
//! element of an array at any depth, and, since Amplitude forwards lists as strings, what a text that
//! holds JSON says beside the text itself. A property without candidates is not set, and the value
//! `(none)` stands for just that.
//!
//! Of a property there may be more than can be seen: what is remembered of it did not fit, or, where a
//! person's will is at stake ([`Texts::MayHideMore`]), a text begins as a list or an object and cannot be
//! read, or no object, or no list, stands on the way where there should be one. Then a condition holds only for what is seen: no negated operator does.
//!
//! The values of a condition are alternatives; for the set operators they are one set. A negated
//! operator holds where its counterpart does not, except `set does not contain`, which asks that
//! *none* of its values is in the array (Amplitude: Segment operators).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::event::arena::Arena;
use crate::event::decimal::Decimal;
use crate::event::number as amount;
use crate::expr::glob;
use crate::expr::path::{Path, Scope};
use crate::json::Json;

/// One condition: values are alternatives, except for the set operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at.
    pub property: Path,
    /// How it is compared.
    pub op: Op,
    /// What it is compared with; empty only for `is set` and `is not set`.
    pub values: Vec<Operand>,
}

/// What a property is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The value, as text.
    pub text: String,
    /// Whether it was written as a number, so that `5.5` is meant to equal `5.50`.
    pub is_number: bool,
}

macro_rules! operators {
    ($($name:ident = $text:literal,)+) => {
        /// Amplitude's operators.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "Amplitude's own names")]
        pub enum Op { $($name,)+ }

        impl Op {
            /// Every operator.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Amplitude's spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Finds an operator by Amplitude's spelling.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

operators! {
    Is = "is",
    IsNot = "is not",
    Contains = "contains",
    DoesNotContain = "does not contain",
    StartsWith = "starts with",
    DoesNotStartWith = "does not start with",
    Less = "less",
    LessOrEqual = "less or equal",
    Greater = "greater",
    GreaterOrEqual = "greater or equal",
    IsSet = "is set",
    IsNotSet = "is not set",
    SetIs = "set is",
    SetIsNot = "set is not",
    SetContains = "set contains",
    SetDoesNotContain = "set does not contain",
    GlobMatch = "glob match",
    GlobDoesNotMatch = "glob does not match",
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.property, self.op.as_str())?;
        for (at, value) in self.values.iter().enumerate() {
            let before = if at == 0 { " " } else { " or " };
            if value.is_number {
                write!(f, "{before}{}", value.text)?;
            } else {
                write!(f, "{before}{:?}", value.text)?;
            }
        }
        Ok(())
    }
}

/// The value that stands for a property that is not set.
const NONE: &str = "(none)";

/// What a text is that begins as a list or an object and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// A text, as a title in brackets.
    Plain,
    /// What is left of JSON that was cut off.
    MayHideMore,
}

/// Whether all conditions hold, however the event's own operations are read.
pub fn holds<'s, 'e: 's>(conditions: &[Condition], scope: impl Into<Scope<'s, 'e>>) -> bool {
    unmet(conditions, scope, Texts::Plain).is_none()
}

/// Whether all conditions hold by one reading of the event's own operations or the other, or could by what
/// is not seen.
pub fn may_hold<'s, 'e: 's>(conditions: &[Condition], scope: impl Into<Scope<'s, 'e>>) -> bool {
    let scope = scope.into();
    conditions.iter().all(|condition| {
        let readings = std::iter::once(scope).chain(scope.other_reading());
        let mut candidates =
            readings.map(|scope| Candidates::of(condition, scope, Texts::MayHideMore));
        candidates.any(|candidates| candidates.may_be_more || condition.holds_for(&candidates))
    })
}

/// The first condition that does not hold, and where it does not.
pub fn unmet<'c, 's, 'e: 's>(
    conditions: &'c [Condition],
    scope: impl Into<Scope<'s, 'e>>,
    texts: Texts,
) -> Option<(&'c Condition, Scope<'s, 'e>)> {
    let scope = scope.into();
    conditions.iter().find_map(|condition| {
        let readings = std::iter::once(scope).chain(scope.other_reading());
        let mut unmet = readings
            .filter(|scope| !condition.holds_for(&Candidates::of(condition, *scope, texts)));
        unmet.next().map(|scope| (condition, scope))
    })
}

impl Condition {
    fn holds_for(&self, candidates: &Candidates<'_>) -> bool {
        if candidates.may_be_more && self.op.is_of_all() {
            return false;
        }
        judge(self.op, &self.values, candidates)
    }
}

impl Op {
    /// Whether the operator says something of all values, so that one more could make it false.
    const fn is_of_all(self) -> bool {
        match self {
            Self::IsNot
            | Self::DoesNotContain
            | Self::DoesNotStartWith
            | Self::IsNotSet
            | Self::SetIs
            | Self::SetIsNot
            | Self::SetDoesNotContain
            | Self::GlobDoesNotMatch => true,
            Self::Is
            | Self::Contains
            | Self::StartsWith
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::IsSet
            | Self::SetContains
            | Self::GlobMatch => false,
        }
    }
}

fn judge(op: Op, values: &[Operand], candidates: &Candidates<'_>) -> bool {
    let any = |matches: fn(&Candidate<'_>, &Operand) -> bool| {
        values.iter().any(|value| candidates.any(value, matches))
    };
    let contains = |value: &Operand| candidates.any(value, is);
    match op {
        Op::Is => any(is),
        Op::IsNot => !any(is),
        Op::Contains => any(text_contains),
        Op::DoesNotContain => !any(text_contains),
        Op::StartsWith => any(text_starts_with),
        Op::DoesNotStartWith => !any(text_starts_with),
        Op::Less => any(|candidate, value| compare(candidate, value) == Some(Ordering::Less)),
        Op::LessOrEqual => {
            any(|candidate, value| compare(candidate, value).is_some_and(Ordering::is_le))
        }
        Op::Greater => any(|candidate, value| compare(candidate, value) == Some(Ordering::Greater)),
        Op::GreaterOrEqual => {
            any(|candidate, value| compare(candidate, value).is_some_and(Ordering::is_ge))
        }
        Op::IsSet => candidates.is_set(),
        Op::IsNotSet => !candidates.is_set(),
        Op::SetIs => values.iter().all(contains) && candidates.all_among(values),
        Op::SetIsNot => !(values.iter().all(contains) && candidates.all_among(values)),
        Op::SetContains => values.iter().all(contains),
        Op::SetDoesNotContain => !values.iter().any(contains),
        Op::GlobMatch => any(|candidate, value| glob::matches(&value.text, &candidate.text)),
        Op::GlobDoesNotMatch => {
            !any(|candidate, value| glob::matches(&value.text, &candidate.text))
        }
    }
}

/// The texts of a property.
struct Candidates<'a> {
    texts: Vec<Candidate<'a>>,
    /// An object, which has no text, was found.
    object: bool,
    /// There may be values that are not seen.
    may_be_more: bool,
}

struct Candidate<'a> {
    text: Cow<'a, str>,
    is_number: bool,
    /// A text that holds a list stands beside its elements, and is no element of the set.
    is_list: bool,
}

/// Lists in lists are looked into so far. What is deeper counts as not seen.
const DEEPEST: usize = 8;

impl<'a> Candidates<'a> {
    fn of(condition: &Condition, scope: Scope<'a, '_>, texts: Texts) -> Self {
        let mut candidates = Self {
            texts: Vec::new(),
            object: false,
            may_be_more: condition.property.is_cut_in(scope),
        };
        let arena = scope.arena();
        let unreadable = condition
            .property
            .visit_in(scope, &mut |value| candidates.add(arena, value, texts));
        candidates.may_be_more |= unreadable && texts == Texts::MayHideMore;
        candidates
    }

    fn add(&mut self, arena: &'a Arena, value: Json<'a>, texts: Texts) {
        let mut due = vec![(value, 0)];
        while let Some((value, depth)) = due.pop() {
            let read = arena.read(value);
            match read.elements() {
                Some(_) if depth == DEEPEST => self.may_be_more = true,
                Some(elements) => {
                    let before = due.len();
                    due.extend(elements.map(|element| (element, depth + 1)));
                    let is_filled = due
                        .iter()
                        .skip(before)
                        .any(|(element, _)| !element.is_absent() && !element.is_object());
                    if value.is_string() && is_filled {
                        self.add_text_of_list(value);
                    }
                }
                None => {
                    self.may_be_more |= texts == Texts::MayHideMore && read.begins_as_json();
                    self.add_scalar(value);
                    if value.is_string() && read.is_string() && read != value {
                        self.add_scalar(read);
                    }
                }
            }
        }
    }

    fn add_text_of_list(&mut self, value: Json<'a>) {
        if let Some(text) = value.as_str() {
            self.texts.push(Candidate {
                text,
                is_number: false,
                is_list: true,
            });
        }
    }

    fn add_scalar(&mut self, value: Json<'a>) {
        if value.is_absent() {
            return;
        }
        match value.text() {
            Some(text) => self.texts.push(Candidate {
                text,
                is_number: value.is_number(),
                is_list: false,
            }),
            None => self.object = true,
        }
    }

    const fn is_set(&self) -> bool {
        self.object || !self.texts.is_empty()
    }

    fn any(&self, value: &Operand, matches: fn(&Candidate<'_>, &Operand) -> bool) -> bool {
        if value.text == NONE {
            return !self.is_set() && !self.may_be_more;
        }
        self.texts.iter().any(|candidate| matches(candidate, value))
    }

    fn all_among(&self, values: &[Operand]) -> bool {
        self.texts
            .iter()
            .filter(|candidate| !candidate.is_list)
            .all(|candidate| values.iter().any(|value| is(candidate, value)))
    }
}

fn is(candidate: &Candidate<'_>, value: &Operand) -> bool {
    // `10` and `10.0` are one number where the event or the configuration has a number.
    candidate.text == value.text
        || (candidate.is_number || value.is_number)
            && number(&candidate.text).is_some_and(|own| number(&value.text) == Some(own))
}

fn text_contains(candidate: &Candidate<'_>, value: &Operand) -> bool {
    let text = candidate.text.to_lowercase();
    text.contains(&value.text.to_lowercase())
}

fn text_starts_with(candidate: &Candidate<'_>, value: &Operand) -> bool {
    let text = candidate.text.to_lowercase();
    text.starts_with(&value.text.to_lowercase())
}

/// Numbers by size, other texts (dates) by their characters; a number and a text not at all.
fn compare(candidate: &Candidate<'_>, value: &Operand) -> Option<Ordering> {
    match (number(&candidate.text), number(&value.text)) {
        (Some(own), Some(value)) => Some(own.cmp(&value)),
        (None, None) => Some((*candidate.text).cmp(value.text.as_str())),
        _ => None,
    }
}

/// The number that a text is, also as an amount of money, such as `59,90` or `$59.90`, that can mean but one
/// thing: to its last digit, since ids are longer than what a float tells apart.
fn number(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let amount = || {
        // `R10` is a coupon or a size rather than ten rands.
        let is_code =
            text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(char::is_whitespace);
        amount::in_text(text).ok().filter(|_| !is_code)
    };
    Decimal::parse(text).or_else(|| Decimal::parse(&amount()?))
}

#[cfg(test)]
mod tests;
