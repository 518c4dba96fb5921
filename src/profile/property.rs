//! Operations on user properties, as Amplitude defines them, on values that may be hashes.
//!
//! An operation works on whole elements and compares them as they are, so it does the same to hashes as
//! to what was hashed. Two texts with the same hash count as one element.

use std::collections::{BTreeMap, HashSet};
use std::{fmt, mem};

use crate::event::operations::Act;

/// Most elements of one property. Nobody has more addresses, and no event may make a profile large.
pub const MOST_ELEMENTS: usize = 20;

/// The longest element, in bytes, where it is not hashed: as long as a text may be at Amplitude.
pub const LONGEST_ELEMENT: usize = 1024;

/// Which property: a hash of its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PropertyId(pub u64);

/// The value of a property. An empty one means that the property is set to something that cannot be sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// Its elements; one, where it is not a list.
    pub elements: Vec<Box<str>>,
    pub is_list: bool,
    /// There may be more elements that did not fit.
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
    pub slot: PropertyId,
    pub act: Act,
    pub value: Value,
    /// Whether an element may be in the list more than once.
    pub may_repeat: bool,
}

impl PropertyStep {
    pub(super) fn apply(&self, properties: &mut BTreeMap<PropertyId, Value>) {
        match (self.act, properties.get_mut(&self.slot)) {
            (Act::ClearAll, _) => properties.clear(),
            (Act::Unset, _) => drop(properties.remove(&self.slot)),
            (Act::SetOnce, Some(_)) | (Act::Remove, None) => {}
            (Act::Set, Some(value)) => *value = self.changed(Value::default()),
            (_, Some(value)) => *value = self.changed(mem::take(value)),
            (_, None) => {
                properties.insert(self.slot, self.changed(Value::default()));
            }
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
            // The elements to remove did not all fit: any element may be one of them.
            Act::Remove if self.value.is_cut => Vec::new(),
            Act::Remove => elements
                .into_iter()
                .filter(|element| !self.value.elements.contains(element))
                .collect(),
        };
        if !self.may_repeat || matches!(self.act, Act::PreInsert | Act::PostInsert) {
            let mut seen = HashSet::new();
            after.retain(|element| seen.insert(element.clone()));
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

    /// An absent number counts as zero; a value that is not a number stays as it is.
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
