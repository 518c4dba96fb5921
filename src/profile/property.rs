//! Operations on user properties, as Amplitude defines them, on values that may be hashes.
//!
//! An operation works on whole elements and compares them as they are, so it does the same to hashes as
//! to what was hashed. Two texts with the same hash are one element, which is all that it can tell.

use std::fmt;

use crate::event::operations::Act;

/// Most elements of one property. Nobody has more addresses, and no event may make a profile large.
pub const MOST_ELEMENTS: usize = 20;

/// The longest element, in bytes, where it is not hashed: as long as a text may be at Amplitude.
pub const LONGEST_ELEMENT: usize = 1024;

/// A place for what is remembered of one property: a hash of what the configuration calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PropertyId(pub u64);

/// The value of a property. An empty one stands for a value that is of no use: the property is set, and
/// nothing is sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// Its elements; one, where it is no list.
    pub elements: Vec<Box<str>>,
    /// Whether it is a list.
    pub is_list: bool,
    /// Whether there may be more than its elements: what did not fit. Of that nothing is known.
    pub is_cut: bool,
}

impl Value {
    /// Whether there is nothing of use.
    pub const fn is_empty(&self) -> bool {
        self.elements.is_empty() && !self.is_cut
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be personal data.
        write!(f, "Value({} elements)", self.elements.len())
    }
}

/// One operation on one property.
#[derive(Clone, Debug)]
pub struct PropertyStep {
    /// The property.
    pub slot: PropertyId,
    /// What is done.
    pub act: Act,
    /// With what.
    pub value: Value,
    /// Whether an element may be in the list more than once.
    pub may_repeat: bool,
}

/// What is remembered of one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertySlot {
    /// Which.
    pub id: PropertyId,
    /// Its value.
    pub value: Value,
}

impl PropertyStep {
    /// Does it to the properties.
    pub(super) fn apply(&self, slots: &mut Vec<PropertySlot>) {
        let place = slots.iter().position(|slot| slot.id == self.slot);
        let present = place.and_then(|place| slots.get_mut(place));
        match (self.act, present) {
            (Act::ClearAll, _) => slots.clear(),
            (Act::Unset, _) => slots.retain(|slot| slot.id != self.slot),
            (Act::SetOnce, Some(_)) | (Act::Remove, None) => {}
            (Act::Set, Some(slot)) => slot.value = self.changed(Value::default()),
            (_, Some(slot)) => slot.value = self.changed(std::mem::take(&mut slot.value)),
            (_, None) => slots.push(PropertySlot {
                id: self.slot,
                value: self.changed(Value::default()),
            }),
        }
    }

    fn changed(&self, before: Value) -> Value {
        if self.act == Act::Add {
            return self.sum(before);
        }
        let Value {
            elements, is_cut, ..
        } = before;
        let given = || self.value.elements.iter().cloned();
        let new = || given().filter(|element| !elements.contains(element));
        let mut after: Vec<Box<str>> = match self.act {
            Act::ClearAll | Act::Unset | Act::Add => Vec::new(),
            Act::Set | Act::SetOnce => given().collect(),
            Act::Append => elements.iter().cloned().chain(given()).collect(),
            Act::Prepend => given().chain(elements).collect(),
            Act::PreInsert => new().chain(elements.iter().cloned()).collect(),
            Act::PostInsert => elements.iter().cloned().chain(new()).collect(),
            // What else is taken out did not fit: any element may be gone.
            Act::Remove if self.value.is_cut => Vec::new(),
            Act::Remove => elements
                .into_iter()
                .filter(|element| !self.value.elements.contains(element))
                .collect(),
        };
        if !self.may_repeat || matches!(self.act, Act::PreInsert | Act::PostInsert) {
            keep_first_of_each(&mut after);
        }
        let fits = after.len() <= MOST_ELEMENTS;
        after.truncate(MOST_ELEMENTS);
        let was_cut = is_cut && !matches!(self.act, Act::Set | Act::SetOnce);
        Value {
            elements: after,
            is_cut: was_cut || self.value.is_cut || !fits,
            is_list: match self.act {
                Act::Set | Act::SetOnce => self.value.is_list,
                act => act.is_on_lists(),
            },
        }
    }

    /// A number that is not there counts as zero; what is no number stays as it is.
    fn sum(&self, before: Value) -> Value {
        let number = |value: &Value| match value.elements.as_slice() {
            _ if value.is_cut => None,
            [one] if !value.is_list => one.parse::<f64>().ok().filter(|sum| sum.is_finite()),
            [] => Some(0.0),
            _ => None,
        };
        let sum = number(&before).zip(number(&self.value)).map(|(a, b)| a + b);
        match sum.and_then(serde_json::Number::from_f64) {
            Some(sum) => {
                // Amplitude writes a whole sum without a fraction.
                let text = sum.to_string();
                let text = text.strip_suffix(".0").unwrap_or(&text);
                Value {
                    elements: vec![text.into()],
                    is_list: false,
                    is_cut: false,
                }
            }
            None => before,
        }
    }
}

/// Leaves each element in its first place only.
fn keep_first_of_each(elements: &mut Vec<Box<str>>) {
    let mut kept: Vec<Box<str>> = Vec::with_capacity(elements.len());
    for element in elements.drain(..) {
        if !kept.contains(&element) {
            kept.push(element);
        }
    }
    *elements = kept;
}
