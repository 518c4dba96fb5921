//! Reads `[[sync.<name>.test]]`: the rule tests that stand beside the rules.

use std::path::Path;

use config::ValueKind;

use crate::clock::UnixMillis;
use crate::config::expressions::json;
use crate::config::keys::sync::TEST;
use crate::config::values::{KnownTable, Node};
use crate::event::request::{BrowserRequest, PATHS};
use crate::outcome::{Outcome, Reason};

/// `[[sync.<name>.test]]`: an event, and what must become of it.
#[derive(Clone, Debug)]
pub struct RuleTest {
    /// What the test shows.
    pub name: String,
    /// The event, as JSON text.
    pub event: String,
    /// What a browser's own request tells, as JSON text, where one brings the event in.
    pub request: Option<String>,
    /// The present moment, as the test sees it.
    pub now: crate::clock::UnixMillis,
    /// `mapped`, or a reason's outcome: `filtered`, `invalid`.
    pub outcome: String,
    /// The reason, where one is expected.
    pub reason: Option<String>,
    /// Fields of the mapped event that must be so; others may be there too.
    pub fields: serde_json::Value,
}

/// What becomes of an event that goes on to the queue.
const MAPPED: &str = "mapped";

/// Reads all rule tests of a sync. Files are looked for in `folder`.
pub(super) fn all(node: &Node<'_>, folder: &Path) -> Option<Vec<RuleTest>> {
    node.each(|node| test(node, folder))
}

fn test(node: &Node<'_>, folder: &Path) -> Option<RuleTest> {
    let table = node.table(&TEST)?;
    let name = table.require("name").and_then(|node| node.text());
    let event = event(&table, folder);
    let request = table.get("request").and_then(|node| request(&node));
    let now = table.require("now").and_then(|node| moment(&node));
    let reason = table.get("reason").and_then(|node| reason(&node));
    let outcome = match table.get("outcome") {
        Some(node) => node.parsed(|text| {
            [
                MAPPED,
                Outcome::Filtered.as_str(),
                Outcome::Invalid.as_str(),
            ]
            .into_iter()
            .find(|known| *known == text)
        }),
        None => Some(reason.map_or(MAPPED, |reason| reason.outcome().as_str())),
    };
    let fields = table
        .get("fields")
        .map_or_else(|| Some(serde_json::json!({})), |node| fields(&node));
    let (outcome, fields) = (outcome?, fields?);
    if let Some(reason) = reason
        && reason.outcome().as_str() != outcome
    {
        table.refuse(
            "reason",
            format!(
                "found {:?}, which is no reason for {outcome:?}",
                reason.as_str()
            ),
        );
    }
    let expects_fields = fields.as_object().is_some_and(|fields| !fields.is_empty());
    if expects_fields && outcome != MAPPED {
        table.refuse(
            "fields",
            format!("found beside outcome = {outcome:?}, expected with \"mapped\" only"),
        );
    }
    Some(RuleTest {
        name: name?.to_owned(),
        event: event?,
        request,
        now: now?,
        outcome: outcome.to_owned(),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        fields,
    })
}

fn event(table: &KnownTable<'_>, folder: &Path) -> Option<String> {
    match (table.get("event"), table.get("event_file")) {
        (Some(_), Some(file)) => file.refuse("found beside `event`, expected one of the two"),
        (Some(node), None) => match node.kind() {
            ValueKind::Table(_) => json(&node).map(|event| event.to_string()),
            _ => node.text().map(str::to_owned),
        },
        (None, Some(file)) => {
            let path = folder.join(file.text()?);
            std::fs::read_to_string(path).map_or_else(
                |error| file.refuse(format!("the file cannot be read: {error}")),
                Some,
            )
        }
        (None, None) => {
            table.refuse("event", "missing, expected an event (or event_file)");
            None
        }
    }
}

/// What a browser's own request tells, as the paths read it.
fn request(node: &Node<'_>) -> Option<String> {
    match serde_json::from_value::<BrowserRequest>(json(node)?) {
        Ok(told) => Some(told.to_json()),
        Err(_) => node.refuse(format!(
            "found what no request tells, expected a table of what the paths {} find",
            PATHS.join(", ")
        )),
    }
}

fn moment(node: &Node<'_>) -> Option<UnixMillis> {
    node.parsed(UnixMillis::parse)
}

fn reason(node: &Node<'_>) -> Option<Reason> {
    let expected_of_a_test =
        |reason: &Reason| matches!(reason.outcome(), Outcome::Filtered | Outcome::Invalid);
    let text = node.text()?;
    Reason::parse(text).filter(expected_of_a_test).or_else(|| {
        let known: Vec<&str> = Reason::ALL
            .iter()
            .copied()
            .filter(expected_of_a_test)
            .map(Reason::as_str)
            .collect();
        node.refuse(format!(
            "found {text:?}, expected one of {}",
            known.join(", ")
        ))
    })
}

fn fields(node: &Node<'_>) -> Option<serde_json::Value> {
    match node.kind() {
        ValueKind::Table(_) => json(node),
        _ => node.unexpected(),
    }
}
