//! What makes an event acceptable.

use crate::clock::UnixMillis;
use serde_json::Value;

/// Why an event, and with it its batch, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) sub_code: u32,
    pub(super) title: &'static str,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn poison() -> Self {
        Self {
            sub_code: 2_804_007,
            title: "Invalid Event",
            detail: String::new(),
        }
    }
}

pub(super) fn check(_event: &Value, _index: usize, _now: UnixMillis) -> Result<(), Refusal> {
    Ok(())
}
