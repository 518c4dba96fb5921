//! The types of fields.

use serde_json::{Map, Value};

use super::{EventRefusal, JsonPlace, strict};

/// The names and types of an object's fields.
pub(super) type Fields = [(&'static str, FieldShape)];

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldShape {
    /// Any JSON.
    Any,
    /// A string that is not blank.
    Text,
    /// A number without fraction or exponent.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `true`, `false`, 0 or 1.
    Flag,
    /// A string that is not blank, or an integer.
    Id,
    /// A string that is not blank, or a boolean.
    TextOrBoolean,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An array of these.
    ListOf(&'static Self),
    /// An object with these fields and no others, none of them required.
    ObjectOf(&'static Fields),
}

impl FieldShape {
    /// Checks that the value is of this shape.
    pub(super) fn check(&self, value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
        let (holds, wanted) = match self {
            Self::Any => (true, "anything"),
            Self::Text => return text(value, place).map(|_| ()),
            Self::Integer => (is_integer(value), "an integer"),
            Self::Number => (value.is_number(), "a number"),
            Self::Boolean => (value.is_boolean(), "a boolean"),
            Self::Flag => (is_flag(value), "a boolean"),
            Self::Id if value.is_string() => return text(value, place).map(|_| ()),
            Self::Id => (is_integer(value), "a string or an integer"),
            Self::TextOrBoolean if value.is_string() => return text(value, place).map(|_| ()),
            Self::TextOrBoolean => (value.is_boolean(), "a string or a boolean"),
            Self::OneOf(allowed) => {
                let known = value.as_str().is_some_and(|text| allowed.contains(&text));
                (known, "one of the documented values")
            }
            Self::ListOf(shape) => return list(value, place, shape),
            Self::ObjectOf(fields) => return object(value, place)?.check_fields(fields),
        };
        if holds {
            return Ok(());
        }
        Err(EventRefusal::value(place, &format!("must be {wanted}")))
    }
}

/// An object and its place.
pub(super) struct Object<'a> {
    map: &'a Map<String, Value>,
    place: &'a JsonPlace<'a>,
}

impl<'a> Object<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn require(&self, key: &str) -> Result<&'a Value, EventRefusal> {
        self.get(key).ok_or_else(|| {
            let place = self.place;
            EventRefusal::schema(format!("Missing key \"{key}\" on param \"{place}\""))
        })
    }

    pub(super) fn unexpected(&self, key: &str) -> EventRefusal {
        let place = self.place;
        EventRefusal::schema(format!("Unexpected key \"{key}\" on param \"{place}\""))
    }

    /// Checks that every field is known and of its shape.
    pub(super) fn check_fields(&self, fields: &Fields) -> Result<(), EventRefusal> {
        for (key, value) in self.iter() {
            let Some((_, shape)) = fields.iter().find(|(name, _)| *name == key) else {
                return Err(self.unexpected(key));
            };
            shape.check(value, &self.place.key(key))?;
        }
        Ok(())
    }
}

/// The value as an object.
pub(super) fn object<'a>(
    value: &'a Value,
    place: &'a JsonPlace<'a>,
) -> Result<Object<'a>, EventRefusal> {
    match value {
        Value::Object(map) => Ok(Object { map, place }),
        _ => Err(EventRefusal::value(place, "must be an object")),
    }
}

/// The value as a string that is not blank.
pub(super) fn text<'a>(value: &'a Value, place: &JsonPlace<'_>) -> Result<&'a str, EventRefusal> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err(strict::refusal(place, "is blank")),
        Value::String(text) => Ok(text),
        _ => Err(EventRefusal::value(place, "must be a string")),
    }
}

fn list(value: &Value, place: &JsonPlace<'_>, shape: &FieldShape) -> Result<(), EventRefusal> {
    let Value::Array(items) = value else {
        return Err(EventRefusal::value(place, "must be an array"));
    };
    for (index, item) in items.iter().enumerate() {
        shape.check(item, &JsonPlace::Item(place, index))?;
    }
    Ok(())
}

/// Whether the value is a whole number, written without fraction or exponent.
pub(super) fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn is_flag(value: &Value) -> bool {
    value.is_boolean() || matches!(value.as_u64(), Some(0 | 1))
}
