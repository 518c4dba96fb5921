//! Conditions on an event, with Amplitude's operators.
//!
//! A property's *candidates* are the texts that its path leads to: a scalar, each element of an array at
//! any depth, and, since Amplitude forwards lists as strings, the text and the value of a string that holds
//! JSON. A property without candidates is not set; the value `(none)` matches such a property.
//!
//! Some values of a property may be hidden:
//!
//! - a profile had no room for all of them;
//! - in a question of consent ([`Texts::MayHideMore`]), a text begins as a list or an object and cannot be
//!   read, or something else stands where the path needs an object or a list.
//!
//! Then an operator that speaks of all values, such as a negated one, does not hold.
//!
//! The values of a condition are alternatives; for the set operators they are one set. A negated operator
//! holds where its counterpart does not, except `set does not contain`, which asks that *none* of its
//! values is in the array (Amplitude: Segment operators).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::event::arena::Arena;
use crate::event::decimal::Decimal;
use crate::event::number as amount;
use crate::expr::glob;
use crate::expr::path::{Path, Scope};
use crate::json::Json;
use crate::words::words;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub property: Path,
    pub op: Op,
    /// Empty only for `is set` and `is not set`.
    pub values: Vec<Operand>,
}

/// A value that a property is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    pub text: String,
    /// Whether the configuration has a number, so that `5.5` equals `5.50`.
    pub is_number: bool,
}

/// The values that an operator speaks of.
#[derive(PartialEq)]
enum Extent {
    /// One is enough for the operator to hold.
    Any,
    /// One more could make it false.
    All,
}

words! {
    /// Amplitude's operators, in its spelling.
    pub enum Op with extent: Extent {
        Is = "is" => Extent::Any,
        IsNot = "is not" => Extent::All,
        Contains = "contains" => Extent::Any,
        DoesNotContain = "does not contain" => Extent::All,
        StartsWith = "starts with" => Extent::Any,
        DoesNotStartWith = "does not start with" => Extent::All,
        Less = "less" => Extent::Any,
        LessOrEqual = "less or equal" => Extent::Any,
        Greater = "greater" => Extent::Any,
        GreaterOrEqual = "greater or equal" => Extent::Any,
        IsSet = "is set" => Extent::Any,
        IsNotSet = "is not set" => Extent::All,
        SetIs = "set is" => Extent::All,
        SetIsNot = "set is not" => Extent::All,
        SetContains = "set contains" => Extent::Any,
        SetDoesNotContain = "set does not contain" => Extent::All,
        GlobMatch = "glob match" => Extent::Any,
        GlobDoesNotMatch = "glob does not match" => Extent::All,
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.property, self.op)?;
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

/// The value that matches a property that is not set.
const NONE: &str = "(none)";

/// How to take a text that begins as a list or an object and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// As a text, such as a title in brackets.
    Plain,
    /// As the rest of JSON that was cut off.
    MayHideMore,
}

/// Whether all conditions hold by every reading of the event's operations.
pub fn holds<'s, 'e: 's>(conditions: &[Condition], scope: impl Into<Scope<'s, 'e>>) -> bool {
    unmet(conditions, scope, Texts::Plain).is_none()
}

/// Whether all conditions hold by some reading of the event's operations, or could by values that are not
/// seen.
pub fn may_hold<'s, 'e: 's>(conditions: &[Condition], scope: impl Into<Scope<'s, 'e>>) -> bool {
    let scope = scope.into();
    conditions.iter().all(|condition| {
        let readings = std::iter::once(scope).chain(scope.other_reading());
        let mut candidates =
            readings.map(|scope| Candidates::of(condition, scope, Texts::MayHideMore));
        candidates.any(|candidates| candidates.may_be_more || condition.holds_for(&candidates))
    })
}

/// The first condition that does not hold, and the scope in which it does not.
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
        if candidates.may_be_more && self.op.extent() == Extent::All {
            return false;
        }
        let any = |matches: Matches| {
            let mut values = self.values.iter();
            values.any(|value| candidates.any(value, matches))
        };
        let contains_all = || self.values.iter().all(|value| candidates.any(value, is));
        let is_set_of_values = || contains_all() && candidates.all_among(&self.values);
        match self.op {
            Op::Is => any(is),
            Op::IsNot | Op::SetDoesNotContain => !any(is),
            Op::Contains => any(contains),
            Op::DoesNotContain => !any(contains),
            Op::StartsWith => any(starts_with),
            Op::DoesNotStartWith => !any(starts_with),
            Op::Less => any(|own, value| compare(own, value).is_some_and(Ordering::is_lt)),
            Op::LessOrEqual => any(|own, value| compare(own, value).is_some_and(Ordering::is_le)),
            Op::Greater => any(|own, value| compare(own, value).is_some_and(Ordering::is_gt)),
            Op::GreaterOrEqual => {
                any(|own, value| compare(own, value).is_some_and(Ordering::is_ge))
            }
            Op::IsSet => candidates.is_set(),
            Op::IsNotSet => !candidates.is_set(),
            Op::SetIs => is_set_of_values(),
            Op::SetIsNot => !is_set_of_values(),
            Op::SetContains => contains_all(),
            Op::GlobMatch => any(matches_glob),
            Op::GlobDoesNotMatch => !any(matches_glob),
        }
    }
}

/// Whether a text of a property matches a value.
type Matches = fn(&Candidate<'_>, &Operand) -> bool;

/// The texts of a property.
struct Candidates<'a> {
    texts: Vec<Candidate<'a>>,
    /// Whether there is an object, which has no text.
    object: bool,
    /// Whether there may be values that are not seen.
    may_be_more: bool,
}

struct Candidate<'a> {
    text: Cow<'a, str>,
    is_number: bool,
    /// The text of a list stands beside the elements, and does not belong to the set.
    is_list: bool,
}

/// The depth of lists in lists. Deeper values count as not seen.
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
            .visit_in(scope, &mut |value| candidates.find(arena, value, texts));
        candidates.may_be_more |= unreadable && texts == Texts::MayHideMore;
        candidates
    }

    fn find(&mut self, arena: &'a Arena, value: Json<'a>, texts: Texts) {
        let mut due = vec![(value, 0)];
        while let Some((value, depth)) = due.pop() {
            let read = arena.read(value);
            match read.elements() {
                Some(_) if depth == DEEPEST => self.may_be_more = true,
                Some(elements) => {
                    let mut is_filled = false;
                    due.extend(elements.map(|element| {
                        is_filled |= !element.is_absent() && !element.is_object();
                        (element, depth + 1)
                    }));
                    if value.is_string() && is_filled {
                        self.add(value, true);
                    }
                }
                None => {
                    self.may_be_more |= texts == Texts::MayHideMore && read.begins_as_json();
                    self.add(value, false);
                    if value.is_string() && read.is_string() && read != value {
                        self.add(read, false);
                    }
                }
            }
        }
    }

    fn add(&mut self, value: Json<'a>, is_list: bool) {
        if value.is_absent() {
            return;
        }
        match value.text() {
            Some(text) => self.texts.push(Candidate {
                text,
                is_number: value.is_number(),
                is_list,
            }),
            None => self.object = true,
        }
    }

    const fn is_set(&self) -> bool {
        self.object || !self.texts.is_empty()
    }

    fn any(&self, value: &Operand, matches: Matches) -> bool {
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
    // `10` and `10.0` are one number if the event or the configuration has a number.
    candidate.text == value.text
        || (candidate.is_number || value.is_number)
            && number(&candidate.text).is_some_and(|own| number(&value.text) == Some(own))
}

fn contains(candidate: &Candidate<'_>, value: &Operand) -> bool {
    let text = candidate.text.to_lowercase();
    text.contains(&value.text.to_lowercase())
}

fn starts_with(candidate: &Candidate<'_>, value: &Operand) -> bool {
    let text = candidate.text.to_lowercase();
    text.starts_with(&value.text.to_lowercase())
}

fn matches_glob(candidate: &Candidate<'_>, value: &Operand) -> bool {
    glob::matches(&value.text, &candidate.text)
}

/// Compares numbers by size, other texts, such as dates, by their characters; a number and a text not at all.
fn compare(candidate: &Candidate<'_>, value: &Operand) -> Option<Ordering> {
    match (number(&candidate.text), number(&value.text)) {
        (Some(own), Some(value)) => Some(own.cmp(&value)),
        (None, None) => Some((*candidate.text).cmp(value.text.as_str())),
        _ => None,
    }
}

/// The number that a text is, or the amount of money, such as `59,90` or `$59.90`, if it can mean only one. It
/// has all its digits, since ids are longer than what a float tells apart.
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
