//! `[[sync.<name>.test]]`: the rule tests that stand beside the rules.

use config::ValueKind;

use crate::clock::UnixMillis;
use crate::config::expressions::json;
use crate::config::node::Node;
use crate::config::schema::KeyDefault::Example;
use crate::config::schema::{Codec, KnownTable, Table, keys, section};
use crate::event::request::{BrowserRequest, PATHS};
use crate::outcome::{Outcome, Reason};

/// What becomes of an event that goes on to the queue.
const MAPPED: &str = "mapped";

section! {
    /// `[[sync.<name>.test]]`: an event, and what must become of it.
    #[derive(Clone, Debug)]
    pub struct RuleTest = Section::by_presence(
        "sync.<name>.test",
        "A rule test, run by `pixel-relay check`: an event, and what must become of it.",
    );

    name: String = Codec::unprinted("a text", |node| node.text().map(str::to_owned)),
        Example(r#""an order becomes a Purchase""#), "What the test shows.";
    event: String = event(), Example(r#"'{"event_type": "Order Completed"}'"#),
        "The event, as a table or as JSON text.";
    request: Option<String> = Codec::unprinted("a table of what a browser's request holds", read_request).optional(),
        Example(r#"{ user_agent = "Mozilla/5.0", cookies._fbp = "fb.1.1790000000000.1234567890", gpc = true }"#),
        "What the browser's request holds, as the paths `request.…` find it. Absent: no browser brings \
         the event in.";
    now: UnixMillis = Codec::unprinted(r#"a time in UTC such as "2026-11-20T18:05:00Z""#, |node| node.parsed(UnixMillis::parse)),
        Example(r#""2026-11-20T18:05:00Z""#), "The present moment, as the test sees it.";
    outcome: String = Codec::of_table(Some(r#""mapped", "filtered" or "invalid""#), [], read_outcome, |_, _, _| {}), Example(r#""mapped""#),
        "What becomes of the event. Absent: what `reason` says, else `mapped`.";
    reason: Option<String> = Codec::unprinted(r#"a reason such as "not_selected""#, read_reason).optional(), Example(r#""not_selected""#),
        "Why, where it is not mapped.";
    fields: serde_json::Value = Codec::unprinted("a table", read_fields).or(|| serde_json::json!({})),
        Example(r#"{ event_name = "Purchase", custom_data.value = 59.9 }"#),
        "Fields of the mapped event that must be so, nested as in the event; there may be \
         others.";

    => then(table) {
        if let (Some(outcome), Some(fields)) = (&outcome, &fields) {
            check_expectations(table, outcome, reason.as_ref().and_then(Option::as_deref), fields);
        }
    }
}

/// All rule tests of a sync.
pub(super) fn rule_tests() -> Codec<Vec<RuleTest>> {
    Codec::unprinted("tables, each written [[sync.<name>.test]]", |node| {
        node.each(RuleTest::read_node)
    })
    .or(Vec::new)
}

/// `event`, or the file that `event_file` names.
fn event() -> Codec<String> {
    let file = keys! {
        "event_file": "the path of a file", Example(r#""events/order.json""#),
            "A file that holds the event as JSON, in place of `event`; a relative path starts from \
             the folder of the configuration file.";
    };
    let expects = Some("an event, as a table or as JSON text");
    Codec::of_table(expects, file, read_event, |_, _, _| {})
}

fn read_event(table: &KnownTable<'_>, name: &'static str) -> Option<String> {
    match (table.get(name), table.get("event_file")) {
        (Some(_), Some(file)) => file.refuse("found beside `event`, expected one of the two"),
        (Some(node), None) => match node.kind() {
            ValueKind::Table(_) => json(&node).map(|event| event.to_string()),
            _ => node.text().map(str::to_owned),
        },
        (None, Some(file)) => {
            let path = table.node.context.folder.join(file.text()?);
            std::fs::read_to_string(path).map_or_else(
                |error| file.refuse(format!("the file cannot be read: {error}")),
                Some,
            )
        }
        (None, None) => {
            table.refuse(name, "missing, expected an event (or event_file)");
            None
        }
    }
}

/// `mapped`, or the outcome of a reason; where it is absent, `reason` says it.
fn read_outcome(table: &KnownTable<'_>, name: &'static str) -> Option<String> {
    const OUTCOMES: [&str; 3] = [
        MAPPED,
        Outcome::Filtered.as_str(),
        Outcome::Invalid.as_str(),
    ];
    if let Some(node) = table.get(name) {
        return node.parsed(|text| OUTCOMES.contains(&text).then(|| text.to_owned()));
    }
    let reason = table.get("reason").and_then(|node| match node.kind() {
        ValueKind::String(text) => expected_reason(text),
        _ => None,
    });
    let outcome = reason.map_or(MAPPED, |reason| reason.outcome().as_str());
    Some(outcome.to_owned())
}

fn check_expectations(
    table: &KnownTable<'_>,
    outcome: &str,
    reason: Option<&str>,
    fields: &serde_json::Value,
) {
    if let Some(reason) = reason.and_then(Reason::parse)
        && reason.outcome().as_str() != outcome
    {
        let reason = reason.as_str();
        let message = format!("found {reason:?}, which is no reason for {outcome:?}");
        table.refuse("reason", message);
    }
    let expects_fields = fields.as_object().is_some_and(|fields| !fields.is_empty());
    if expects_fields && outcome != MAPPED {
        let message = format!("found beside outcome = {outcome:?}, expected with \"mapped\" only");
        table.refuse("fields", message);
    }
}

fn read_request(node: &Node<'_>) -> Option<String> {
    match serde_json::from_value::<BrowserRequest>(json(node)?) {
        Ok(told) => Some(told.to_json()),
        Err(_) => node.refuse(format!(
            "found something that no request holds, expected a table of what the paths {} find",
            PATHS.join(", ")
        )),
    }
}

fn read_reason(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let reason = expected_reason(text).or_else(|| {
        let known = Reason::ALL.iter().copied();
        let known = known.filter(|reason| can_be_expected(*reason));
        node.unknown_word(text, known.map(Reason::as_str))
    });
    reason.map(|reason| reason.as_str().to_owned())
}

fn expected_reason(text: &str) -> Option<Reason> {
    Reason::parse(text).filter(|reason| can_be_expected(*reason))
}

/// Whether a test can expect the reason: it is found before the queue.
const fn can_be_expected(reason: Reason) -> bool {
    matches!(reason.outcome(), Outcome::Filtered | Outcome::Invalid)
}

fn read_fields(node: &Node<'_>) -> Option<serde_json::Value> {
    match node.kind() {
        ValueKind::Table(_) => json(node),
        _ => node.unexpected(),
    }
}
