//! The properties that an event's operations result in.
//!
//! SDKs send changes of properties: `{"$set": {"email": …}}`. `Resolved` holds the result for a person or
//! group without earlier properties: `$set` gives its value, `$setOnce` does so if nothing else is set,
//! operations on lists give the elements that they carry, and `$add` gives nothing.
//!
//! Part of this is a guess. `$setOnce` counts only if the person had no value, and of a property that
//! stands both in `$set` and plainly beside it, one value is wrong. So there is a second reading, without
//! `$setOnce` and with the plain value; a condition looks at both.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use super::OperationReading;
use super::arena::Arena;
use crate::json::Json;
use crate::json::keys::Member;
use crate::words::words;

/// The section of a person's properties.
pub const USER_PROPERTIES: &str = "user_properties";

/// The sections that may hold operations.
pub(super) const SECTIONS: [&str; 2] = [USER_PROPERTIES, "group_properties"];

words! {
    /// A change of a property (Amplitude: Identify API), in the order in which Amplitude executes them.
    pub enum Act {
        /// Removes all properties.
        ClearAll = "$clearAll",
        /// Removes the property.
        Unset = "$unset",
        Set = "$set",
        /// Sets the property, unless it has a value.
        SetOnce = "$setOnce",
        /// Adds a number to it.
        Add = "$add",
        /// Puts elements at the end of the list.
        Append = "$append",
        /// Puts elements at the beginning of the list.
        Prepend = "$prepend",
        /// Puts elements at the beginning of the list, unless they are in it.
        PreInsert = "$preInsert",
        /// Puts elements at the end of the list, unless they are in it.
        PostInsert = "$postInsert",
        /// Takes elements out of the list.
        Remove = "$remove",
    }
}

impl Act {
    /// Whether the operation works on the elements of a list.
    pub const fn is_on_lists(self) -> bool {
        matches!(
            self,
            Self::Append | Self::Prepend | Self::PreInsert | Self::PostInsert | Self::Remove
        )
    }

    /// Whether doing it twice is more than doing it once, where elements may repeat.
    pub const fn adds_up(self) -> bool {
        matches!(self, Self::Add | Self::Append | Self::Prepend)
    }

    /// The operation of a name in any case: a misspelt operation is not a property.
    fn named(name: &str) -> Option<Self> {
        if !name.starts_with('$') {
            return None;
        }
        let is_it = |act: &Self| act.as_str().eq_ignore_ascii_case(name);
        Self::ALL.iter().copied().find(is_it)
    }
}

/// Properties by name, each with its value as JSON text.
pub type Properties<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// One operation, with its operand for each property.
#[derive(Clone)]
pub struct Operation<'a> {
    pub act: Act,
    pub properties: Properties<'a>,
}

/// A section whose properties are the result of operations.
#[derive(Clone, Default)]
pub(super) struct Resolved<'a> {
    pub(super) section: &'static str,
    /// The properties, as far as the event alone tells.
    pub(super) properties: Properties<'a>,
    /// The second reading, where it differs.
    pub(super) other: Option<Properties<'a>>,
    /// All properties as one JSON object.
    pub(super) whole: String,
    /// In the order in which Amplitude executes them. A property that stands beside operations is set.
    pub(super) operations: Vec<Operation<'a>>,
    /// The properties that may have more elements than are known here.
    pub(super) cut: Vec<&'a str>,
    /// An operand cannot be read, so that it may change any property.
    pub(super) is_unreadable: bool,
}

/// What is known of a property besides what an event says.
#[derive(Clone)]
pub struct KnownProperty<'k> {
    pub name: &'k str,
    /// Its value as JSON, if known.
    pub json: Option<String>,
    /// Whether it may have more elements than are known.
    pub is_cut: bool,
}

impl<'a> Resolved<'a> {
    /// The result of the operations among the members of a section; `None` where there are none.
    pub(super) fn of(
        section: &'static str,
        members: &[Member<'a>],
        arena: &'a Arena,
    ) -> Option<Self> {
        if members.iter().all(|(name, _)| Act::named(name).is_none()) {
            return None;
        }
        let operations = operations(members, arena);
        let properties = result(&operations, OperationReading::First, arena);
        let other = result(&operations, OperationReading::Other, arena);
        Some(Self {
            section,
            whole: object(&properties),
            other: Some(other).filter(|other| *other != properties),
            properties,
            operations,
            cut: Vec::new(),
            is_unreadable: is_unreadable(members, arena),
        })
    }

    /// A section without operations.
    pub(super) fn plain(section: &'static str, members: &[Member<'a>]) -> Self {
        Self {
            section,
            properties: members.iter().cloned().map(as_text).collect(),
            ..Self::default()
        }
    }

    /// Puts known values in the place of properties that depend on what they were before, and of missing
    /// ones. If a known value is cut, the event's elements stand beside it.
    pub(super) fn complete(
        &mut self,
        known: impl IntoIterator<Item = KnownProperty<'a>>,
        arena: &Arena,
    ) {
        for KnownProperty { name, json, is_cut } in known {
            let depends = self.depends_on_before(name);
            for properties in [&mut self.properties].into_iter().chain(&mut self.other) {
                let is_own = |(own, value): &(Cow<'_, str>, Cow<'_, str>)| {
                    own == name && !Json::of_valid_text(value).is_absent()
                };
                let own = properties.iter().find(|own| is_own(own));
                if own.is_some() && !depends {
                    continue;
                }
                let value: Option<Cow<'a, str>> = match own.filter(|_| is_cut) {
                    Some((_, own)) => {
                        list(Act::PostInsert, json.as_deref(), own, arena).map(Cow::Owned)
                    }
                    None => json.clone().map(Cow::Owned),
                };
                if is_cut && !self.cut.contains(&name) {
                    self.cut.push(name);
                }
                if own.is_some() || value.is_some() {
                    properties.retain(|(own, _)| own != name);
                }
                properties.extend(value.map(|value| (name.into(), value)));
            }
        }
        self.other.take_if(|other| *other == self.properties);
        self.whole = object(&self.properties);
    }

    /// Whether the result for a property depends on what it was before the event.
    pub(super) fn depends_on_before(&self, name: &str) -> bool {
        let names =
            |operation: &&Operation<'_>| operation.properties.iter().any(|(own, _)| own == name);
        let mut acts = self
            .operations
            .iter()
            .filter(names)
            .map(|own| own.act)
            .peekable();
        acts.peek().is_some() && acts.all(|act| act != Act::Set)
    }
}

impl fmt::Debug for KnownProperty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be personal data.
        write!(f, "KnownProperty({})", self.name)
    }
}

impl fmt::Debug for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be personal data.
        write!(f, "{:?}({} properties)", self.act, self.properties.len())
    }
}

/// The operations among the members of a section, in the order in which Amplitude executes them.
fn operations<'a>(members: &[Member<'a>], arena: &'a Arena) -> Vec<Operation<'a>> {
    let mut operations = Vec::new();
    let mut add = |act, properties| operations.push(Operation { act, properties });
    for &act in Act::ALL {
        if act == Act::Set {
            let plain = members
                .iter()
                .filter(|(name, _)| Act::named(name).is_none());
            add(act, plain.cloned().map(as_text).collect());
        }
        let mut named = members
            .iter()
            .rev()
            .filter(|(name, _)| Act::named(name) == Some(act));
        if let Some((_, operand)) = named.next() {
            let properties = arena.opened(*operand).all_members().into_iter();
            add(act, properties.map(as_text).collect());
        }
    }
    operations
}

/// Whether an operation that needs properties as its operand has none that can be read.
fn is_unreadable<'a>(members: &[Member<'a>], arena: &'a Arena) -> bool {
    members.iter().any(|(name, operand)| {
        let act = Act::named(name).filter(|act| *act != Act::ClearAll);
        act.is_some() && arena.opened(*operand).hides_members()
    })
}

fn as_text((name, value): Member<'_>) -> (Cow<'_, str>, Cow<'_, str>) {
    (name, Cow::Borrowed(value.raw()))
}

/// The result of operations where there were no properties before.
fn result<'a>(
    operations: &[Operation<'a>],
    reading: OperationReading,
    arena: &'a Arena,
) -> Properties<'a> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut result: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)> = Vec::new();
    let is_set = |operation: &&Operation<'_>| operation.act == Act::Set;
    let (sets, others): (Vec<_>, Vec<_>) = operations.iter().partition(is_set);
    let mut ordered = [sets, others].concat();
    if reading == OperationReading::Other {
        ordered.retain(|operation| operation.act != Act::SetOnce);
        // Plain properties are the first set, and have the last word.
        let sets = ordered.partition_point(|operation| operation.act == Act::Set);
        ordered[..sets].reverse();
    }
    for operation in ordered {
        for (name, value) in &operation.properties {
            let place = *places.entry(name).or_insert(result.len());
            if place == result.len() {
                result.push((name.clone(), None));
            }
            if let Some((_, current)) = result.get_mut(place) {
                *current = changed(operation.act, current.take(), value, arena);
            }
        }
    }
    let result = result.into_iter();
    result
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// A property after an operation.
fn changed<'a>(
    act: Act,
    before: Option<Cow<'a, str>>,
    operand: &Cow<'a, str>,
    arena: &Arena,
) -> Option<Cow<'a, str>> {
    let is_present = |value: &Cow<'_, str>| !Json::of_valid_text(value).is_absent();
    match act {
        // They come first: there is nothing to remove.
        Act::ClearAll | Act::Unset => before,
        Act::Set => Some(operand.clone()),
        Act::SetOnce if before.as_ref().is_some_and(is_present) => before,
        Act::SetOnce => Some(operand.clone()).filter(is_present),
        Act::Add => before.map(|before| match sum(&before, operand) {
            Some(sum) => Cow::Owned(sum),
            None => before,
        }),
        _ => list(act, before.as_deref(), operand, arena).map(Cow::Owned),
    }
}

/// The sum of two numbers, or of texts that hold one.
fn sum(before: &str, operand: &str) -> Option<String> {
    let number = |text| Json::of_valid_text(text).text()?.trim().parse::<f64>().ok();
    let sum = serde_json::Number::from_f64(number(before)? + number(operand)?)?.to_string();
    // Amplitude writes a whole sum without a fraction.
    Some(sum.strip_suffix(".0").map(str::to_owned).unwrap_or(sum))
}

/// A list after an operation on it, as JSON; `None` where it is empty.
fn list(act: Act, before: Option<&str>, operand: &str, arena: &Arena) -> Option<String> {
    let own = before.map_or_else(Vec::new, |before| elements(before, arena));
    let given = elements(operand, arena);
    let new = || {
        let mut known: HashSet<&str> = own.iter().copied().collect();
        let mut new = given.clone();
        new.retain(|element| known.insert(element));
        new
    };
    let after = match act {
        Act::Append => [own, given].concat(),
        Act::Prepend => [given, own].concat(),
        Act::PreInsert => [&new()[..], &own].concat(),
        Act::PostInsert => [&own[..], &new()].concat(),
        _ => {
            let taken: HashSet<&str> = given.into_iter().collect();
            let left = own.into_iter().filter(|element| !taken.contains(element));
            left.collect()
        }
    };
    (!after.is_empty()).then(|| format!("[{}]", after.join(",")))
}

/// The present elements of a list, or of a list of this one value, as JSON texts.
fn elements<'v>(value: &'v str, arena: &'v Arena) -> Vec<&'v str> {
    let mut elements = Vec::new();
    arena.each_element(Json::of_valid_text(value), &mut |element| {
        if !element.is_absent() {
            elements.push(element.raw());
        }
    });
    elements
}

/// Properties as one JSON object.
fn object(properties: &Properties<'_>) -> String {
    let mut object = String::from("{");
    for (name, value) in properties {
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&serde_json::Value::from(&**name).to_string());
        object.push(':');
        object.push_str(value);
    }
    object.push('}');
    object
}

#[cfg(test)]
mod tests {
    use super::KnownProperty;
    use crate::event::arena::Arena;
    use crate::event::{Event, OperationReading};
    use crate::json::Json;

    /// Reads one property, `p`, of an event's user properties.
    #[track_caller]
    fn check(properties: &str, first: Option<&str>, other: Option<&str>) {
        for section in super::SECTIONS {
            let text = format!("{{\"{section}\":{properties}}}");
            let arena = Arena::default();
            let event = Event::decode(text.as_bytes(), &arena).unwrap();
            let read = |reading| event.member_by(reading, section, "p").map(Json::raw);
            let found = (read(OperationReading::First), read(OperationReading::Other));
            assert_eq!(found, (first, other), "{properties}");
        }
    }

    #[track_caller]
    fn check_both(properties: &str, expected: Option<&str>) {
        check(properties, expected, expected);
    }

    #[test]
    fn each_operation_gives_what_it_carries() {
        check_both(r#"{"p":1}"#, Some("1"));
        check_both(r#"{"$set":{"p":[1,2]}}"#, Some("[1,2]"));
        check_both(r#"{"$set":{"p":{"a":1}},"q":2}"#, Some(r#"{"a":1}"#));
        check(r#"{"$setOnce":{"p":"x"}}"#, Some("\"x\""), None);
        for act in ["$append", "$prepend", "$preInsert", "$postInsert"] {
            let with = |operand: &str| format!("{{\"{act}\":{{\"p\":{operand}}}}}");
            check_both(&with("\"x\""), Some("[\"x\"]"));
            check_both(&with("[1,null,\"\",2]"), Some("[1,2]"));
            check_both(&with(r#""[\"x\",1]""#), Some("[\"x\",1]"));
            check_both(&with("null"), None);
        }
        for act in ["$add", "$unset", "$remove", "$clearAll"] {
            check_both(&format!("{{\"{act}\":{{\"p\":1}}}}"), None);
        }
        check_both(r#"{"$clearAll":"-"}"#, None);
    }

    #[test]
    fn operations_are_executed_in_amplitudes_order() {
        check_both(r#"{"$unset":{"p":"-"},"$set":{"p":1}}"#, Some("1"));
        check_both(r#"{"$set":{"p":1},"$clearAll":"-"}"#, Some("1"));
        check_both(r#"{"$setOnce":{"p":2},"$set":{"p":1}}"#, Some("1"));
        check_both(r#"{"$setOnce":{"p":2},"p":1}"#, Some("1"));
        check(
            r#"{"$setOnce":{"p":2},"$set":{"p":null}}"#,
            Some("2"),
            Some("null"),
        );
        check_both(r#"{"$add":{"p":2.5},"$set":{"p":"1.5"}}"#, Some("4"));
        check_both(r#"{"$add":{"p":2},"$set":{"p":"many"}}"#, Some("\"many\""));
        check(r#"{"$add":{"p":2},"$setOnce":{"p":1}}"#, Some("3"), None);
        let all = r#"{"$remove":{"p":"r"},"$postInsert":{"p":["a","z"]},"$preInsert":{"p":["b","a"]},
            "$prepend":{"p":"0"},"$append":{"p":["r","a"]},"$set":{"p":"s"}}"#;
        check_both(all, Some(r#"["b","0","s","a","z"]"#));
        check_both(r#"{"$set":{"p":["a"]},"$remove":{"p":["a"]}}"#, None);
        check(
            r#"{"$setOnce":{"p":"o"},"$append":{"p":"a"}}"#,
            Some(r#"["o","a"]"#),
            Some(r#"["a"]"#),
        );
    }

    #[test]
    fn plain_properties_stand_beside_operations() {
        check_both(r#"{"$add":{"q":1},"p":1}"#, Some("1"));
        check(r#"{"$set":{"p":1},"p":2}"#, Some("1"), Some("2"));
        check_both(r#"{"p":1,"$set":{},"p":2}"#, Some("2"));
    }

    #[test]
    fn the_last_of_equal_keys_counts_and_operands_may_be_json_text() {
        check_both(r#"{"$set":{"p":1,"p":2}}"#, Some("2"));
        check_both(r#"{"$set":{"p":1},"$set":{"p":2}}"#, Some("2"));
        check_both(r#"{"$set":"{\"p\":\"x\"}"}"#, Some("\"x\""));
        check_both(r#"{"$set":"{\"p\":"}"#, None);
        check_both(r#""{\"$set\":{\"p\":1}}""#, Some("1"));
        check_both(r#"" {\"$set\":\"{\\\"p\\\":1}\",\"q\":2}""#, Some("1"));
        check_both(r#"{"$set":{"p":"\ud83d"},"q":1e999}"#, Some(r#""\ud83d""#));
        check_both(r#"{"$SET":{"p":1}}"#, Some("1"));
        check(r#"{"$setonce":{"p":1}}"#, Some("1"), None);
        for odd in ["7", "[1]", "null", "\"x\"", "true"] {
            check_both(&format!("{{\"$set\":{odd},\"p\":1}}"), Some("1"));
        }
    }

    #[test]
    fn a_section_as_a_whole_is_what_the_operations_give() {
        let raw = br#"{"user_properties":{"$set":{"a\"":1},"$setOnce":{"b":[2]},"c":null}}"#;
        let arena = Arena::default();
        let event = Event::decode(raw, &arena).unwrap();
        let whole = event.field_or_result("user_properties").map(Json::raw);
        assert_eq!(whole, Some(r#"{"c":null,"a\"":1,"b":[2]}"#));
        let members: Vec<_> = event
            .section("user_properties")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(members, ["c", "a\"", "b"]);
        assert!(event.has_other_reading());
        assert_eq!(event.raw(), raw);
    }

    #[test]
    fn what_is_known_completes_what_an_event_says() {
        let raw = br#"{"user_properties":{"$setOnce":{"a":1,"b":1},"$append":{"c":1},"$set":{"d":1,"e":""},"$unset":{"f":"-"}}}"#;
        let arena = Arena::default();
        let event = Event::decode(raw, &arena).unwrap();
        let known = [
            ("a", "2"),
            ("c", "[2]"),
            ("d", "2"),
            ("e", "2"),
            ("f", "2"),
            ("g", "2"),
        ]
        .map(|(name, json)| known_as(name, Some(json), false));
        let event = event.completed("user_properties", known);
        let read = |name| {
            [OperationReading::First, OperationReading::Other].map(|reading| {
                let value = event.member_by(reading, "user_properties", name);
                value.map_or("-", Json::raw)
            })
        };
        assert_eq!(read("a"), ["2", "2"]);
        assert_eq!(read("b"), ["1", "-"]);
        assert_eq!(read("c"), ["[2]", "[2]"]);
        assert_eq!(read("d"), ["1", "1"]);
        assert_eq!(read("e"), ["2", "2"]);
        assert_eq!(read("f"), ["2", "2"]);
        assert_eq!(read("g"), ["2", "2"]);
        let arena = Arena::default();
        let plain = Event::decode(br#"{"user_properties":{"a":1}}"#, &arena).unwrap();
        let plain = plain.completed(
            "user_properties",
            [("a", "2"), ("b", "2")].map(|(name, json)| known_as(name, Some(json), false)),
        );
        let read = |name| plain.member("user_properties", name).map(Json::raw);
        assert_eq!((read("a"), read("b")), (Some("1"), Some("2")));
        assert!(!plain.has_other_reading());
    }

    fn known_as<'k>(name: &'k str, json: Option<&str>, is_cut: bool) -> KnownProperty<'k> {
        let json = json.map(str::to_owned);
        KnownProperty { name, json, is_cut }
    }

    #[test]
    fn what_is_cut_stands_beside_what_an_event_says() {
        let raw = br#"{"user_properties":{"$append":{"a":"x","b":"x"},"$set":{"c":"x"},"$setOnce":{"d":"x"},"$remove":{"e":"x"}}}"#;
        let arena = Arena::default();
        let event = Event::decode(raw, &arena).unwrap();
        let names = ["a", "b", "c", "d", "e", "f"];
        let pairs = names.map(|name| known_as(name, (name != "b").then_some("[1]"), true));
        let event = event.completed("user_properties", pairs);
        let read = |name| {
            let value = |reading| event.member_by(reading, "user_properties", name);
            let [first, other] = [OperationReading::First, OperationReading::Other].map(value);
            let raw = |value: Option<Json<'_>>| value.map_or("-", Json::raw).to_owned();
            (
                raw(first),
                raw(other),
                event.is_cut("user_properties", name),
            )
        };
        let texts = |first: &str, other: &str, cut| (first.to_owned(), other.to_owned(), cut);
        assert_eq!(read("a"), texts(r#"[1,"x"]"#, r#"[1,"x"]"#, true));
        assert_eq!(read("b"), texts(r#"["x"]"#, r#"["x"]"#, true));
        assert_eq!(read("c"), texts(r#""x""#, r#""x""#, false));
        assert_eq!(read("d"), texts(r#"[1,"x"]"#, "[1]", true));
        assert_eq!(read("e"), texts("[1]", "[1]", true));
        assert_eq!(read("f"), texts("[1]", "[1]", true));
    }
}
