//! What one file holds besides events.

use crate::cli::table::plain;

/// How many parts of each kind are named; the rest is counted, since an archive may hold a million.
const NAMED: usize = 20;
const NAMED_UNRELATED: usize = 3;
/// How many characters of a name are shown.
const LONGEST_NAME: usize = 150;

/// The summary of one file.
#[derive(Debug, Default)]
pub(super) struct FileSummary {
    /// Whether there was an event.
    pub(super) has_events: bool,
    damaged: usize,
    last_damaged: Option<String>,
    unrelated: usize,
    unrelated_names: Vec<String>,
}

impl FileSummary {
    /// Notes what is wrong with a part; returns the message, once for each part.
    pub(super) fn add_damaged(&mut self, part: &str, what: &str) -> Option<String> {
        if self.last_damaged.as_deref() == Some(part) {
            return None;
        }
        self.last_damaged = Some(part.to_owned());
        self.damaged += 1;
        let part = shown(part);
        let part = if part.is_empty() { part } else { part + ": " };
        (self.damaged <= NAMED).then(|| format!("{part}{what}"))
    }

    /// Notes a part that holds no events and need not.
    pub(super) fn add_unrelated(&mut self, part: &str) {
        self.unrelated += 1;
        if self.unrelated_names.len() < NAMED_UNRELATED {
            self.unrelated_names.push(shown(part));
        }
    }

    /// Whether everything could be read, and held events.
    pub(super) const fn is_complete(&self) -> bool {
        self.damaged == 0 && self.has_events
    }

    /// The messages at the end of the file.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.damaged > NAMED {
            let more = self.damaged - NAMED;
            words.push(format!("{more} more parts could not be read to their end"));
        }
        if self.unrelated > 0 {
            let names = self.unrelated_names.join(", ");
            let more = match self.unrelated - self.unrelated_names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let parts = if self.unrelated == 1 {
                "file that holds"
            } else {
                "files that hold"
            };
            words.push(format!(
                "passed over {} {parts} no events: {names}{more}",
                self.unrelated
            ));
        }
        if self.damaged == 0 && !self.has_events {
            words.push("it holds no event".to_owned());
        }
        words
    }
}

/// An untrusted name, safe to show and not too long.
fn shown(name: &str) -> String {
    let mut shown = plain(name);
    if let Some((end, _)) = shown.char_indices().nth(LONGEST_NAME) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_once_and_safely_and_not_without_end() {
        let mut summary = FileSummary::default();
        let long = "x".repeat(1000);
        let said = summary
            .add_damaged("../a\u{1b}[2J", "it is cut off")
            .unwrap();
        assert_eq!(said, "../a\u{fffd}[2J: it is cut off");
        assert_eq!(summary.add_damaged("../a\u{1b}[2J", "again"), None);
        assert!(summary.add_damaged(&long, "").unwrap().len() < 200);
        assert_eq!(summary.add_damaged("", "bad").unwrap(), "bad");
        let named = (0..100).filter_map(|part| summary.add_damaged(&part.to_string(), "bad"));
        assert_eq!(named.count(), NAMED - 3);
        for part in ["a", "b", "c", "d", "e"] {
            summary.add_unrelated(part);
        }
        assert_eq!(
            summary.in_words(),
            [
                "83 more parts could not be read to their end",
                "passed over 5 files that hold no events: a, b, c and 2 more",
            ]
        );
    }

    #[test]
    fn a_file_without_an_event_is_not_well() {
        let mut summary = FileSummary::default();
        assert!(!summary.is_complete());
        assert_eq!(summary.in_words(), ["it holds no event"]);
        summary.has_events = true;
        assert!(summary.is_complete());
        assert!(summary.in_words().is_empty());
    }
}
