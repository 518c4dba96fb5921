//! Places in a call, as the endpoint writes them.

use std::fmt::{self, Display};

/// A place in a call; it writes itself as a JSON path, as the endpoint does in its texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum JsonPlace<'a> {
    /// An event, by its index in the batch.
    Event(usize),
    /// A field of an object.
    Key(&'a Self, &'a str),
    /// An element of a list.
    Item(&'a Self, usize),
}

impl<'a> JsonPlace<'a> {
    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }
}

impl Display for JsonPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(index) => write!(f, "$['data'][{index}]"),
            Self::Key(parent, key) => write!(f, "{parent}['{key}']"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
