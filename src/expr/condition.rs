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
//!   read, or something else stands where the path needs an object or a list;
//! - in such a question, the event came with more members than are read.
//!
//! Then an operator that speaks of all values, such as a negated one, does not hold.
//!
//! The values of a condition are alternatives; for the set operators they are one set. A negated operator
//! holds where its counterpart does not, except `set does not contain`, which asks that *none* of its
//! values is in the array (Amplitude: Segment operators).

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::fmt;
use std::slice;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::event::decimal::Decimal;
use crate::event::number as amount;
use crate::expr::glob::GlobPattern;
use crate::expr::path::reads::EventReads;
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
    lower: String,
    number: Option<Decimal>,
    /// The text as a pattern, where it is compared as one.
    pattern: Option<GlobPattern>,
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
    let scope = scope.into();
    conditions.iter().all(|condition| {
        let known = scope.known(condition, &condition.property);
        known.unwrap_or_else(|| unmet(slice::from_ref(condition), scope, Texts::Plain).is_none())
    })
}

/// Notes which conditions hold for the items of a list that lack their properties.
pub(super) fn note_in_event(
    conditions: &[Condition],
    event: &Event<'_>,
    reads: &mut EventReads<'_>,
) {
    let nothing = EventReads::default();
    let item = Scope::element(event, Json::of_valid_text("null"), &[], &nothing);
    for condition in conditions {
        if condition.property.path_in_event().is_some() {
            let holds = unmet(slice::from_ref(condition), item, Texts::Plain).is_none();
            reads.note_condition(condition, holds);
        }
    }
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

impl Operand {
    pub fn new(text: String, is_number: bool) -> Self {
        Self {
            lower: text.to_lowercase(),
            number: number(&text),
            pattern: None,
            text,
            is_number,
        }
    }
}

impl Condition {
    pub fn new(property: Path, op: Op, mut values: Vec<Operand>) -> Self {
        if matches!(op, Op::GlobMatch | Op::GlobDoesNotMatch) {
            for value in &mut values {
                value.pattern = Some(GlobPattern::new(&value.text));
            }
        }
        Self {
            property,
            op,
            values,
        }
    }

    fn holds_for(&self, candidates: &Candidates<'_>) -> bool {
        if candidates.may_be_more && self.op.extent() == Extent::All {
            return false;
        }
        let is_none = !candidates.is_set && !candidates.may_be_more;
        let matches_none = |value: &Operand| value.text == NONE && is_none;
        let any = candidates.any_matches || self.values.iter().any(matches_none);
        let contains_all = || {
            let mut values = self.values.iter().zip(&candidates.matching);
            values.all(|(value, is_matching)| *is_matching || matches_none(value))
        };
        let is_set_of_values = || contains_all() && !candidates.has_others;
        match self.op {
            Op::Is
            | Op::Contains
            | Op::StartsWith
            | Op::Less
            | Op::LessOrEqual
            | Op::Greater
            | Op::GreaterOrEqual
            | Op::GlobMatch => any,
            Op::IsNot
            | Op::SetDoesNotContain
            | Op::DoesNotContain
            | Op::DoesNotStartWith
            | Op::GlobDoesNotMatch => !any,
            Op::IsSet => candidates.is_set,
            Op::IsNotSet => !candidates.is_set,
            Op::SetIs => is_set_of_values(),
            Op::SetIsNot => !is_set_of_values(),
            Op::SetContains => contains_all(),
        }
    }
}

/// What the values of a property are, beside those of a condition. No value is kept: a property may have as
/// many as an event has members.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says another thing of the values"
)]
struct Candidates<'c> {
    condition: &'c Condition,
    texts: Texts,
    /// Whether there is any.
    is_set: bool,
    /// Whether any matches one of the condition's.
    any_matches: bool,
    /// Whether any is equal to each of the condition's, where they are a set.
    matching: Vec<bool>,
    /// Whether any is none of the condition's, where they are a set.
    has_others: bool,
    /// Whether there is a list.
    has_list: bool,
    /// Whether there may be values that are not seen.
    may_be_more: bool,
}

struct Candidate<'a> {
    text: Cow<'a, str>,
    is_number: bool,
    lower: OnceCell<String>,
    number: OnceCell<Option<Decimal>>,
}

/// The depth of lists in lists. Deeper values count as not seen.
const DEEPEST: usize = 8;

impl<'c> Candidates<'c> {
    fn of(condition: &'c Condition, scope: Scope<'_, '_>, texts: Texts) -> Self {
        let is_set = matches!(condition.op, Op::SetIs | Op::SetIsNot | Op::SetContains);
        let mut candidates = Self {
            condition,
            texts,
            is_set: false,
            any_matches: false,
            matching: vec![false; if is_set { condition.values.len() } else { 0 }],
            has_others: false,
            has_list: false,
            may_be_more: condition.property.is_cut_in(scope),
        };
        let arena = scope.arena();
        let unreadable = condition
            .property
            .visit_in(scope, &mut |value| candidates.find(arena, value, 0));
        let is_short = scope.lacks_members() && (candidates.has_list || !candidates.is_set);
        candidates.may_be_more |= (unreadable || is_short) && texts == Texts::MayHideMore;
        candidates
    }

    fn find<'a>(&mut self, arena: &'a Arena, value: Json<'a>, depth: usize) {
        let read = arena.read(value);
        match read.elements() {
            Some(_) if depth == DEEPEST => self.may_be_more = true,
            Some(elements) => {
                self.has_list = true;
                let mut is_filled = false;
                for element in elements {
                    is_filled |= !element.is_absent() && !element.is_object();
                    self.find(arena, element, depth + 1);
                }
                if value.is_string() && is_filled {
                    // The text of a list stands beside the elements, and does not belong to the set.
                    self.add(value, true);
                }
            }
            None => {
                self.may_be_more |= self.texts == Texts::MayHideMore && read.begins_as_json();
                self.add(value, false);
                if value.is_string() && read.is_string() && read != value {
                    self.add(read, false);
                }
            }
        }
    }

    fn add(&mut self, value: Json<'_>, is_list: bool) {
        if value.is_absent() {
            return;
        }
        self.is_set = true;
        let Some(text) = value.text() else {
            return;
        };
        let candidate = Candidate {
            text,
            is_number: value.is_number(),
            lower: OnceCell::new(),
            number: OnceCell::new(),
        };
        let Condition { op, values, .. } = self.condition;
        if !self.matching.is_empty() {
            let mut is_known = false;
            for (value, is_matching) in values.iter().zip(&mut self.matching) {
                let is_equal = value.text != NONE && candidate.is(value);
                *is_matching |= is_equal;
                is_known |= is_equal;
            }
            self.has_others |= !is_known && !is_list;
        } else if !self.any_matches {
            let mut values = values.iter().filter(|value| value.text != NONE);
            self.any_matches = values.any(|value| candidate.matches(*op, value));
        }
    }
}

impl Candidate<'_> {
    fn matches(&self, op: Op, value: &Operand) -> bool {
        let compared = || self.compare(value);
        match op {
            Op::Is | Op::IsNot | Op::SetDoesNotContain => self.is(value),
            Op::Contains | Op::DoesNotContain => self.lower().contains(&value.lower),
            Op::StartsWith | Op::DoesNotStartWith => self.lower().starts_with(&value.lower),
            Op::Less => compared().is_some_and(Ordering::is_lt),
            Op::LessOrEqual => compared().is_some_and(Ordering::is_le),
            Op::Greater => compared().is_some_and(Ordering::is_gt),
            Op::GreaterOrEqual => compared().is_some_and(Ordering::is_ge),
            Op::GlobMatch | Op::GlobDoesNotMatch => {
                let pattern = value.pattern.as_ref();
                pattern.is_some_and(|pattern| pattern.matches(&self.text))
            }
            // They ask for no value, or for a set.
            Op::IsSet | Op::IsNotSet | Op::SetIs | Op::SetIsNot | Op::SetContains => false,
        }
    }

    fn is(&self, value: &Operand) -> bool {
        // `10` and `10.0` are one number if the event or the configuration has a number.
        self.text == value.text
            || (self.is_number || value.is_number)
                && value.number.is_some()
                && self.number() == value.number.as_ref()
    }

    /// Compares numbers by size, other texts, such as dates, by their characters; a number and a text not at
    /// all.
    fn compare(&self, value: &Operand) -> Option<Ordering> {
        match (self.number(), &value.number) {
            (Some(own), Some(value)) => Some(own.cmp(value)),
            (None, None) => Some((*self.text).cmp(value.text.as_str())),
            _ => None,
        }
    }

    fn lower(&self) -> &str {
        self.lower.get_or_init(|| self.text.to_lowercase())
    }

    fn number(&self) -> Option<&Decimal> {
        self.number.get_or_init(|| number(&self.text)).as_ref()
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
