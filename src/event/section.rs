//! An event with other members in one of its sections.

use std::borrow::Cow;

use super::{Event, Field, Index, Json};

impl Event<'_> {
    /// The same event with other members in a section, laid over this one. Its own text stays as it came.
    pub fn with_section<'b>(
        &'b self,
        section: &'b str,
        members: Vec<(Cow<'b, str>, Json<'b>)>,
    ) -> Event<'b> {
        let kept = self.members.iter();
        let mut all: Vec<_> = kept
            .map(|(name, value)| (Cow::Borrowed(&**name), *value))
            .collect();
        let first = all.len();
        all.extend(members);
        let others = self.fields.iter().filter(|field| field.key != section);
        let mut fields: Vec<Field<'b>> = others
            .map(|field| Field {
                key: Cow::Borrowed(&*field.key),
                value: field.value,
                members: field.members.clone(),
            })
            .collect();
        let value = self.field(section).filter(|value| value.is_object());
        fields.push(Field {
            key: Cow::Borrowed(section),
            value: value.unwrap_or(Json("{}")),
            members: first..all.len(),
        });
        let mut index = Index::default();
        index.fill(&fields);
        Event {
            raw: self.raw,
            fields,
            index,
            members: all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_is_another_and_the_rest_stays() {
        let raw = br#"{"user_id":"u","user_properties":{"a":1},"event_properties":{"b":2}}"#;
        let event = Event::decode(raw).unwrap();
        assert_eq!(
            event.member("event_properties", "b").map(Json::raw),
            Some("2")
        );
        let members = vec![(Cow::Borrowed("c"), Json::of_valid_text("3"))];
        let other = event.with_section("user_properties", members);
        assert_eq!(other.member("user_properties", "a"), None);
        assert_eq!(
            other.member("user_properties", "c").map(Json::raw),
            Some("3")
        );
        assert_eq!(
            other.member("event_properties", "b").map(Json::raw),
            Some("2")
        );
        assert_eq!(other.field("user_id").map(Json::raw), Some("\"u\""));
        assert_eq!(other.raw(), event.raw());
        let added = event.with_section(
            "groups",
            vec![(Cow::Borrowed("d"), Json::of_valid_text("4"))],
        );
        assert_eq!(added.member("groups", "d").map(Json::raw), Some("4"));
    }
}
