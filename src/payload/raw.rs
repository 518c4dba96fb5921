//! A mapped event as a JSON object inside other JSON. For `#[serde(with = "…")]`.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub fn serialize<S: Serializer>(json: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let json: &RawValue = serde_json::from_slice(json).map_err(S::Error::custom)?;
    json.serialize(serializer)
}

/// Accepts only one object on one line: Meta accepts no other, and exports are read line by line.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: From<Vec<u8>>,
    D: Deserializer<'de>,
{
    let json: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
    if json.starts_with('{') && !json.contains(['\n', '\r']) {
        Ok(json.into_string().into_bytes().into())
    } else {
        Err(D::Error::custom("a mapped event is one object on one line"))
    }
}

/// The same of an event that may be missing.
pub mod optional {
    use serde::{Deserializer, Serializer};
    use serde_json::value::RawValue;

    /// Whether it has to be left out: a damaged one would make all of the JSON invalid.
    pub fn is_unreadable(json: &Option<Vec<u8>>) -> bool {
        let json = json.as_deref().map(serde_json::from_slice::<&RawValue>);
        !matches!(json, Some(Ok(_)))
    }

    pub fn serialize<S: Serializer>(
        json: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::serialize(json.as_deref().unwrap_or_default(), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}
