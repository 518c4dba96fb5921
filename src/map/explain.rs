//! Why each field of a server event is as it is.
//!
//! An [`Explanation`] is a [`Recorder`], so the code that maps is the code that explains. It holds personal
//! data in clear text: it is for the operator who entered the event, and never logged.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::fields::WebsiteField;
use crate::dropped::DropReason;
use crate::expr::condition::Condition;
use crate::expr::path::Scope;
use crate::expr::value::{ValueExpr, ValueSource as Way};
use crate::json::Json;
use crate::map::record::{Recorder, SentValue, ServerField, Source};
use crate::normalize::field::UserDataField;

/// Most characters of a cell in the table for people; the last one may be longer.
const MOST_WIDE: usize = 44;

/// A field that every written event has.
const WRITTEN_FIRST: &str = "event_time";

/// Why each field of one server event is as it is, in the order in which they were decided.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub struct Explanation {
    fields: Vec<Explained>,
}

/// One value of a field, or the lack of one.
#[derive(Default, Serialize)]
pub struct Explained {
    /// The field's place in the server event, as `user_data.em`.
    pub field: String,
    /// The path that gave the value; absent for a fixed value or one that the mapping made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The JSON type of the value as it came.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub raw_type: Option<&'static str>,
    /// The conditions by which the configuration chose it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// The configuration replaced the value that came.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub translated: bool,
    /// The configuration split it off from a text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
    /// The text that was hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalised: Option<String>,
    /// The JSON in the server event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Box<RawValue>>,
    /// The rule that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// Why it is missing: a reason as in the metrics, or where nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// What the reason means, for people.
    #[serde(skip)]
    meaning: Option<&'static str>,
}

impl Explanation {
    /// The explained fields.
    pub fn fields(&self) -> &[Explained] {
        &self.fields
    }

    /// The rows of a table for people, with its head; none where nothing is explained.
    pub fn rows(&self) -> Vec<Vec<String>> {
        if self.fields.is_empty() {
            return Vec::new();
        }
        let head = ["FIELD", "FROM", "TYPE", "NORMALISED", "SENT", "RULE"].map(str::to_owned);
        std::iter::once(head)
            .chain(self.fields.iter().map(Explained::cells))
            .map(Vec::from)
            .collect()
    }

    /// Names the condition for which the event is left out, and the key that holds it.
    pub(crate) fn left_out(&mut self, key: &str, condition: &Condition, scope: Scope<'_, '_>) {
        let value = condition.property.first_in(scope);
        let found = match value {
            Some(value) if value.text().is_some() => format!("it is {}", value.raw()),
            Some(value) => format!("it is of type {}", value.type_name()),
            None if condition.property.visit_in(scope, &mut |_| {}) => {
                "what should hold it cannot be read".to_owned()
            }
            None => "it is not set".to_owned(),
        };
        // The condition may hold by the first reading.
        let found = if scope.is_other_reading() {
            format!("but for what $setOnce and $set give, {found}")
        } else {
            found
        };
        self.fields.push(Explained {
            from: Some(condition.property.to_string()),
            raw_type: value.map(Json::type_name),
            ..Explained::missing(key.to_owned(), format!("not met: {condition}; {found}"))
        });
    }

    /// Adds the customer information fields that the configuration does not map, unless the event was
    /// refused before they were looked at.
    pub(crate) fn complete(&mut self) {
        if self.has(WRITTEN_FIRST) {
            for field in UserDataField::ALL {
                self.add_unmapped(&ServerField::UserData(*field).path());
            }
        }
    }

    fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|explained| explained.field == field)
    }

    fn add_unmapped(&mut self, field: &str) {
        if !self.has(field) {
            let unmapped = Explained::missing(field.to_owned(), "not mapped".to_owned());
            self.fields.push(unmapped);
        }
    }
}

impl Explained {
    /// A field and where its value came from. A property that is passed on with all others has only its name.
    fn of(field: ServerField<'_>, source: Source<'_>) -> Self {
        Self {
            field: field.path(),
            from: match field {
                ServerField::Property(name) => Some(format!("event_properties[{name:?}]")),
                _ => source.path.map(str::to_owned),
            },
            raw_type: source.translated.or(source.value).map(Json::type_name),
            ..Self::default()
        }
    }

    fn missing(field: String, why: String) -> Self {
        Self {
            field,
            missing: Some(why),
            ..Self::default()
        }
    }

    fn cells(&self) -> [String; 6] {
        let text = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
        let sent = self.sent.as_ref().map_or("-", |sent| sent.get());
        let rule = match (&self.missing, self.meaning) {
            (Some(missing), Some(meaning)) => format!("missing: {missing}. {meaning}"),
            (Some(missing), None) => format!("missing: {missing}"),
            (None, _) => self.rule.unwrap_or("-").to_owned(),
        };
        let translated = if self.translated { ", translated" } else { "" };
        let split = if self.split { ", split" } else { "" };
        let when = match &*self.when {
            [] => String::new(),
            conditions => format!(", as {}", conditions.join(" and ")),
        };
        let rule = format!("{rule}{split}{translated}{when}");
        // A value without a path is in the configuration: a constant, a default or a name.
        let from = match (&self.from, self.raw_type) {
            (None, Some(_)) => "configuration".to_owned(),
            (from, _) => text(from),
        };
        let [field, from, raw_type, normalised, sent] = [
            self.field.clone(),
            from,
            self.raw_type.unwrap_or("-").to_owned(),
            text(&self.normalised),
            sent.to_owned(),
        ]
        .map(|cell| short(&cell));
        [field, from, raw_type, normalised, sent, rule]
    }
}

/// Where an expression found nothing: its paths, and the conditions of its fixed values.
fn searched(expr: &ValueExpr) -> String {
    let (mut paths, mut unmet) = (Vec::new(), Vec::new());
    list_ways(expr, &mut paths, &mut unmet);
    let (paths, unmet) = (paths.join(", "), unmet.join(", nor "));
    match (&*paths, &*unmet) {
        ("", "") => String::new(),
        (paths, "") => format!("nothing at {paths}"),
        ("", unmet) => format!("not met: {unmet}"),
        (paths, unmet) => format!("nothing at {paths}; not met: {unmet}"),
    }
}

fn list_ways(expr: &ValueExpr, paths: &mut Vec<String>, unmet: &mut Vec<String>) {
    for way in &expr.sources {
        match way {
            Way::Path(path) => paths.push(path.to_string()),
            Way::All(values) => values
                .iter()
                .for_each(|value| list_ways(value, paths, unmet)),
            Way::Translated(value, _) | Way::Split(value, _) => list_ways(value, paths, unmet),
            Way::When(conditions, value) => {
                let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
                let conditions = conditions.join(" and ");
                if value.sources.is_empty() {
                    unmet.push(conditions);
                    continue;
                }
                let before = paths.len();
                list_ways(value, paths, unmet);
                if let Some(last) = paths.get_mut(before..).and_then(<[_]>::last_mut) {
                    write!(last, " (where {conditions})").expect("writing to memory does not fail");
                }
            }
        }
    }
}

/// A cell that fits: one line, and cut where it is long.
fn short(cell: &str) -> String {
    let mut short: String = cell
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST_WIDE)
        .collect();
    if cell.chars().count() > MOST_WIDE {
        short.pop();
        short.push('…');
    }
    short
}

impl Recorder for Explanation {
    fn sent(&mut self, field: ServerField<'_>, source: Source<'_>, sent: SentValue<'_>) {
        let json = String::from_utf8_lossy(sent.json).into_owned();
        self.fields.push(Explained {
            when: source.when.iter().map(ToString::to_string).collect(),
            translated: source.translated.is_some(),
            split: source.is_split,
            normalised: sent.normalised.map(str::to_owned),
            sent: RawValue::from_string(json).ok(),
            rule: Some(sent.rule),
            ..Explained::of(field, source)
        });
    }

    fn dropped(&mut self, field: ServerField<'_>, source: Source<'_>, reason: DropReason) {
        self.fields.push(Explained {
            missing: Some(reason.as_str().to_owned()),
            meaning: Some(reason.meaning()),
            ..Explained::of(field, source)
        });
    }

    fn absent(&mut self, field: ServerField<'_>, expr: &ValueExpr) {
        let stands_in_only = matches!(&*expr.sources, [Way::Path(path)] if path.is_of_request());
        if stands_in_only && matches!(field, ServerField::UserData(_)) {
            return;
        }
        let why = if expr.is_empty() {
            "switched off".to_owned()
        } else {
            searched(expr)
        };
        self.fields.push(Explained::missing(field.path(), why));
    }

    fn incomplete(&mut self, lacking: WebsiteField) {
        let path = match lacking {
            WebsiteField::ClientUserAgent => {
                ServerField::UserData(UserDataField::ClientUserAgent).path()
            }
            WebsiteField::EventSourceUrl => ServerField::Event(lacking.as_str()).path(),
        };
        self.add_unmapped(&path);
        let mut of_field = self.fields.iter_mut().rev();
        if let Some(explained) = of_field.find(|explained| explained.field == path) {
            explained
                .meaning
                .get_or_insert("Meta asks for it of events of a website.");
        }
    }

    fn may_count_twice(&mut self) {
        let mut fields = self.fields.iter_mut();
        if let Some(time) = fields.find(|explained| explained.field == WRITTEN_FIRST) {
            time.rule = Some("older than 48 h: counted twice where Meta's Pixel sent it too");
        }
    }
}

impl std::fmt::Debug for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are personal data.
        write!(f, "Explanation({} fields)", self.fields.len())
    }
}

impl std::fmt::Debug for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Explained({})", self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_toml;
    use crate::event::Event;
    use crate::event::arena::Arena;

    #[test]
    fn a_condition_that_is_not_met_is_named_with_what_is_there() {
        let config = from_toml(
            "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n\
             where = [{ property = \"user_properties.consent\", op = \"is\", values = [true, \"yes\"] }]\n",
            &[],
        );
        let conditions = &config
            .unwrap()
            .syncs
            .values()
            .next()
            .unwrap()
            .conditions
            .clone();
        let rule = |user_properties: &str| {
            let raw = format!(r#"{{"event_type":"X","user_properties":{user_properties}}}"#);
            let mut explanation = Explanation::default();
            let arena = Arena::default();
            let event = Event::decode(raw.as_bytes(), &arena).unwrap();
            explanation.left_out("where", &conditions[0], (&event).into());
            explanation.complete();
            let [_, row] = &explanation.rows()[..] else {
                panic!("one row was explained");
            };
            row[5].strip_prefix("missing: ").unwrap().to_owned()
        };
        let condition = "not met: user_properties.consent is \"true\" or \"yes\"";
        assert_eq!(
            rule(r#"{"consent":"no"}"#),
            format!("{condition}; it is \"no\"")
        );
        assert_eq!(
            rule(r#"{"consent":["no"]}"#),
            format!("{condition}; it is of type array")
        );
        assert_eq!(rule("{}"), format!("{condition}; it is not set"));
    }

    #[test]
    fn what_was_never_looked_at_is_not_called_unmapped() {
        let mut explanation = Explanation::default();
        explanation.complete();
        assert!(explanation.rows().is_empty());
    }
}
