//! Lists of things: `contents`, whose items Meta checks, and lists of the operator's own shape.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::path::Scope;
use crate::expr::path::reads::EventReads;
use crate::expr::value::ValueExpr;
use crate::json::{Json, write};

use super::number::{self, Count};
use super::screen::Screen;
use super::standard::DELIVERY_CATEGORIES;
use super::typed::{self, Guard};

/// How the objects of a list are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemShape<'s, 'e> {
    /// How each member is called, and where it is in the element.
    pub(super) members: &'s BTreeMap<String, ValueExpr>,
    /// The event, for what is not in the element.
    pub(super) event: &'s Event<'e>,
    /// What the members find in the event.
    pub(super) reads: &'s EventReads<'s>,
    /// What of the members may go out.
    pub(super) screen: &'s Screen,
}

/// Most members of an item in Meta's own form that are looked at; Meta knows eight.
const MOST_MEMBERS: usize = 50;

/// What became of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    /// Items written.
    pub(super) written: usize,
    /// Items left out: they have no `id`, or a `quantity` of zero or less.
    pub(super) refused: usize,
    /// The sum of the quantities of `contents`; `None` where it is beyond 64 bits.
    pub(super) quantity: Option<i64>,
    /// A fraction was rounded up.
    pub(super) rounded: bool,
    /// Members that were left out of an item, wholly or in part, and why.
    pub(super) lost: Vec<(Box<str>, DropReason)>,
    /// Numbers out of range were left out of a field of the operator's own.
    pub(super) lacks_number: bool,
}

impl Items {
    /// Notes a member that was left out of an item; each once, and at most [`MOST_MEMBERS`], so that no event
    /// can make it slow.
    fn lose(&mut self, member: &str, reason: DropReason) {
        let noted = |(own, why): &(Box<str>, DropReason)| **own == *member && *why == reason;
        if self.lost.len() < MOST_MEMBERS && !self.lost.iter().any(noted) {
            self.lost.push((member.into(), reason));
        }
    }
}

/// Writes one item of `contents`: an object with an `id` and a `quantity`, which is 1 where it is absent or
/// cannot be read. Without a shape, its members keep their own names.
pub(super) fn write_content(
    out: &mut Vec<u8>,
    element: Json<'_>,
    shape: Option<ItemShape<'_, '_>>,
    guard: Guard,
    items: &mut Items,
) {
    let start = out.len();
    write::separate(out);
    let Some(quantity) = content(out, &ContentsElement::new(element, shape), guard, items) else {
        out.truncate(start);
        items.refused += 1;
        return;
    };
    items.quantity = match items.written {
        0 => Some(quantity),
        _ => items.quantity.and_then(|sum| sum.checked_add(quantity)),
    };
    items.written += 1;
}

/// Writes an object of the operator's own shape; one without a single member is left out.
pub(super) fn write_object(
    out: &mut Vec<u8>,
    element: Json<'_>,
    shape: ItemShape<'_, '_>,
    guard: Guard,
    items: &mut Items,
) {
    let start = out.len();
    write::separate(out);
    out.push(b'{');
    let empty = out.len();
    ContentsElement::new(element, Some(shape)).each(&[], |name, value| {
        let written = value.and_then(|value| write_other(out, name, value, guard));
        if let Err(reason) = written {
            items.lose(name, reason);
        }
    });
    if out.len() == empty {
        out.truncate(start);
        items.refused += 1;
    } else {
        out.push(b'}');
        items.written += 1;
    }
}

/// An element of a list, and the names of its members.
struct ContentsElement<'v, 's, 'e> {
    value: Json<'v>,
    members: Vec<(Cow<'v, str>, Json<'v>)>,
    shape: Option<ItemShape<'s, 'e>>,
}

impl<'v, 's, 'e> ContentsElement<'v, 's, 'e> {
    fn new(value: Json<'v>, shape: Option<ItemShape<'s, 'e>>) -> Self {
        Self {
            value,
            members: value.all_members(),
            shape,
        }
    }

    /// The member of Meta's name, where it is present.
    fn get(&self, name: &str) -> Option<Json<'_>> {
        match self.shape {
            Some(shape) => {
                let found = shape.members.get(name)?.first(self.scope(shape))?;
                shape.screen.is_free(&found).then_some(found.value)
            }
            None => self
                .members
                .iter()
                .find(|(own, value)| own == name && !value.is_absent())
                .map(|(_, value)| *value),
        }
    }

    /// Calls `each` with Meta's name and the value of every other member that is present, or with the
    /// reason why its value cannot be used.
    fn each(&self, done: &[&str], mut each: impl FnMut(&str, Result<Json<'_>, DropReason>)) {
        let Some(shape) = self.shape else {
            for (name, value) in self.members.iter().take(MOST_MEMBERS) {
                if !value.is_absent() && !done.contains(&&**name) {
                    each(name, Ok(*value));
                }
            }
            return;
        };
        let members = shape.members.iter();
        for (name, expr) in members.filter(|(name, _)| !done.contains(&name.as_str())) {
            let scope = self.scope(shape);
            if let Some(found) = expr.first(scope) {
                let screened = shape.screen.screened(scope.arena(), &found);
                if screened.is_part() {
                    each(name, Err(DropReason::HashedSource));
                }
                each(name, screened.json().ok_or(DropReason::HashedSource));
            } else if expr.untranslated(scope).is_some() {
                each(name, Err(DropReason::NotInMap));
            }
        }
    }

    fn scope<'f>(&'f self, shape: ItemShape<'f, 'e>) -> Scope<'f, 'e> {
        Scope::element(shape.event, self.value, &self.members, shape.reads)
    }
}

/// Writes the item and gives its quantity; `None` where it is no item.
fn content(
    out: &mut Vec<u8>,
    element: &ContentsElement<'_, '_, '_>,
    guard: Guard,
    items: &mut Items,
) -> Option<i64> {
    let guard = match element.shape {
        Some(_) => guard,
        None => guard.of_unnamed(),
    };
    out.push(b'{');
    let id = element.get("id")?;
    write::key(out, "\"id\":");
    typed::id(out, "id", id, guard.of_id()).ok()?;
    let quantity = match element.get("quantity") {
        Some(quantity) => match number::count(quantity) {
            Ok(Count { whole: 0, .. }) | Err(DropReason::Negative) => return None,
            Ok(count) => {
                items.rounded |= count.is_rounded;
                count.whole
            }
            Err(reason) => {
                items.lose("quantity", reason);
                1
            }
        },
        None => 1,
    };
    write::key(out, "\"quantity\":");
    write::integer(out, quantity);
    element.each(&["id", "quantity"], |name, value| {
        let start = out.len();
        write::member(out, name);
        let written = value.and_then(|value| match name {
            "item_price" => typed::number(out, value, true),
            "delivery_category" => typed::word(out, value, DELIVERY_CATEGORIES),
            "title" | "description" | "brand" | "category" => typed::text(out, name, value, guard),
            _ => guard
                .check(&"".into(), name)
                .and_then(|()| typed::scalar(out, name, value, guard)),
        });
        // A member that cannot be used costs itself, not the item.
        if let Err(reason) = written {
            out.truncate(start);
            items.lose(name, reason);
        }
    });
    out.push(b'}');
    Some(quantity)
}

fn write_other(
    out: &mut Vec<u8>,
    name: &str,
    value: Json<'_>,
    guard: Guard,
) -> Result<(), DropReason> {
    let start = out.len();
    write::member(out, name);
    let written = match typed::any(out, name, value, guard) {
        Ok(false) => return Ok(()),
        // The rest of it stays.
        Ok(true) => return Err(DropReason::NotANumber),
        Err(DropReason::Empty) => Ok(()),
        refused => refused.map(drop),
    };
    out.truncate(start);
    written
}
