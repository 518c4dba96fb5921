//! Lists of things: `contents`, whose items Meta checks, and lists of the operator's own shape.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::path::Scope;
use crate::expr::path::reads::EventReads;
use crate::expr::value::{FoundValue, ValueExpr};
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
    /// The members that were written with a value of the event.
    pub(super) written: &'s WrittenMembers,
}

/// Members of items whose value is the event's: each is checked and written once for all items.
#[derive(Debug, Default)]
pub(super) struct WrittenMembers(RefCell<BTreeMap<MemberKey, (Vec<u8>, MemberFate)>>);

/// Where a member's name and its value lie in memory.
type MemberKey = (usize, usize);

/// What became of a member of an item.
#[derive(Clone, Copy, Debug, Default)]
struct MemberFate {
    /// Its value may go out, at least in part.
    is_free: bool,
    /// A part was left out that a hashed field is made from.
    is_part: bool,
    /// Why its value, or a part of it, could not be used.
    lost: Option<DropReason>,
    /// The number that it is, where that is asked for.
    count: Option<Count>,
}

impl WrittenMembers {
    /// Writes a member, or what was written before for the same value.
    fn write(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        found: &FoundValue<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> MemberFate,
    ) -> MemberFate {
        if !found.is_of_event {
            return write(out);
        }
        // Names and values stay where they are while the list is written.
        let key = [name, found.value.raw()]
            .map(|text| text.as_ptr().addr())
            .into();
        if let Some((json, fate)) = self.0.borrow().get(&key) {
            out.extend_from_slice(json);
            return *fate;
        }
        let start = out.len();
        let fate = write(out);
        let json = out.get(start..).unwrap_or_default().to_vec();
        self.0.borrow_mut().insert(key, (json, fate));
        fate
    }
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
    /// There were more than one list is given.
    pub(super) are_too_many: bool,
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

    fn lose_some(&mut self, member: &str, reason: Option<DropReason>) {
        if let Some(reason) = reason {
            self.lose(member, reason);
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
    ContentsElement::new(element, Some(shape)).write_each(out, &[], items, |out, name, value| {
        match typed::any(out, name, value, guard) {
            // The rest of it stays.
            Ok(true) => Ok(Some(DropReason::NotANumber)),
            Ok(false) => Ok(None),
            Err(reason) => Err(Some(reason).filter(|reason| *reason != DropReason::Empty)),
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

/// Writes the id that a shape gives an element as an item of a list, or counts it as refused.
pub(super) fn write_shaped_id(
    out: &mut Vec<u8>,
    name: &str,
    element: Json<'_>,
    shape: ItemShape<'_, '_>,
    guard: Guard,
    items: &mut Items,
) {
    let start = out.len();
    write::separate(out);
    let element = ContentsElement::new(element, Some(shape));
    let fate = element.write_value(out, "id", |out, id| typed::id(out, name, id, guard));
    if fate.is_some_and(|fate| fate.lost.is_none()) {
        items.written += 1;
    } else {
        out.truncate(start);
        items.refused += 1;
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

    /// Writes the value of the member of Meta's name; `None` where it is absent.
    fn write_value(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        write: impl FnOnce(&mut Vec<u8>, Json<'_>) -> Result<(), DropReason>,
    ) -> Option<MemberFate> {
        self.read(out, name, |out, value| write(out, value).map(|()| None))
    }

    /// The number that the member of Meta's name is; `None` where it is absent.
    fn count(&self, name: &str) -> Option<Result<Count, DropReason>> {
        let fate = self.read(&mut Vec::new(), name, |_, value| {
            number::count(value).map(Some)
        })?;
        fate.count.map(Ok).or(fate.lost.map(Err))
    }

    fn read(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        read: impl FnOnce(&mut Vec<u8>, Json<'_>) -> Result<Option<Count>, DropReason>,
    ) -> Option<MemberFate> {
        let fate = |out: &mut Vec<u8>, value| {
            let read = read(out, value);
            MemberFate {
                is_free: true,
                is_part: false,
                lost: read.err(),
                count: read.ok().flatten(),
            }
        };
        let Some(shape) = self.shape else {
            let mut members = self.members.iter();
            let (_, value) = members.find(|(own, value)| own == name && !value.is_absent())?;
            return Some(fate(out, *value));
        };
        let (name, expr) = shape.members.get_key_value(name)?;
        let found = expr.first(self.scope(shape))?;
        let fate = shape.written.write(out, name, &found, |out| {
            if shape.screen.is_free(&found) {
                fate(out, found.value)
            } else {
                MemberFate::default()
            }
        });
        fate.is_free.then_some(fate)
    }

    /// Writes every other member that is present. `write` writes its value and gives the reason why a part of
    /// it could not be used; or it says why all of it could not, if that is to be told.
    fn write_each(
        &self,
        out: &mut Vec<u8>,
        done: &[&str],
        items: &mut Items,
        write: impl Fn(&mut Vec<u8>, &str, Json<'_>) -> Result<Option<DropReason>, Option<DropReason>>,
    ) {
        let write = |out: &mut Vec<u8>, name: &str, value: Json<'_>| {
            let start = out.len();
            write::text(out, name);
            out.push(b':');
            // A member that cannot be used costs itself, not the item.
            write(out, name, value).unwrap_or_else(|reason| {
                out.truncate(start);
                reason
            })
        };
        let Some(shape) = self.shape else {
            for (name, value) in self.members.iter().take(MOST_MEMBERS) {
                if !value.is_absent() && !done.contains(&&**name) {
                    let lost = separated(out, |out| write(out, name, *value));
                    items.lose_some(name, lost);
                }
            }
            return;
        };
        let members = shape.members.iter();
        for (name, expr) in members.filter(|(name, _)| !done.contains(&name.as_str())) {
            let scope = self.scope(shape);
            let unknown = Cell::new(false);
            let Some(found) = expr.first_noting(scope, &unknown) else {
                items.lose_some(name, unknown.get().then_some(DropReason::NotInMap));
                continue;
            };
            let fate = separated(out, |out| {
                shape.written.write(out, name, &found, |out| {
                    let screened = shape.screen.screened(scope.arena(), &found);
                    MemberFate {
                        is_free: true,
                        is_part: screened.is_part(),
                        lost: match screened.json() {
                            Some(value) => write(out, name, value),
                            None => Some(DropReason::HashedSource),
                        },
                        count: None,
                    }
                })
            });
            items.lose_some(name, fate.is_part.then_some(DropReason::HashedSource));
            items.lose_some(name, fate.lost);
        }
    }

    fn scope<'f>(&'f self, shape: ItemShape<'f, 'e>) -> Scope<'f, 'e> {
        Scope::element(shape.event, self.value, &self.members, shape.reads)
    }
}

/// Writes a member behind a comma, if one is needed, and neither where nothing is written.
fn separated<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    write::separate(out);
    let begin = out.len();
    let fate = write(out);
    if out.len() == begin {
        out.truncate(start);
    }
    fate
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
    write::key(out, "\"id\":");
    let id = element.write_value(out, "id", |out, id| typed::id(out, "id", id, guard.of_id()))?;
    if id.lost.is_some() {
        return None;
    }
    let quantity = match element.count("quantity") {
        Some(Ok(Count { whole: 0, .. }) | Err(DropReason::Negative)) => return None,
        Some(Ok(count)) => {
            items.rounded |= count.is_rounded;
            count.whole
        }
        Some(Err(reason)) => {
            items.lose("quantity", reason);
            1
        }
        None => 1,
    };
    write::key(out, "\"quantity\":");
    write::integer(out, quantity);
    element.write_each(out, &["id", "quantity"], items, |out, name, value| {
        let written = match name {
            "item_price" => typed::number(out, value, true),
            "delivery_category" => typed::word(out, value, DELIVERY_CATEGORIES),
            "title" | "description" | "brand" | "category" => typed::text(out, name, value, guard),
            _ => guard
                .check(&"".into(), name)
                .and_then(|()| typed::scalar(out, name, value, guard)),
        };
        written.map(|()| None).map_err(Some)
    });
    out.push(b'}');
    Some(quantity)
}
