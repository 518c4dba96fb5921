//! Events from conversations (Conversions API: Business Messaging).

use serde_json::Value;

use super::EventRefusal;
use super::shape::Object;

const EVENT_NAMES: [&str; 14] = [
    "AddToCart",
    "CartAbandoned",
    "InitiateCheckout",
    "LeadSubmitted",
    "OrderCanceled",
    "OrderCreated",
    "OrderDelivered",
    "OrderReturned",
    "OrderShipped",
    "Purchase",
    "QualifiedLead",
    "RatingProvided",
    "ReviewProvided",
    "ViewContent",
];

/// Checks the additional rules for events of `action_source` `business_messaging`.
pub(super) fn check(
    event_name: &str,
    event: &Object<'_>,
    user_data: &Value,
) -> Result<(), EventRefusal> {
    let lacks = |key: &str| user_data.get(key).is_none();
    let Some(channel) = event.get("messaging_channel").and_then(Value::as_str) else {
        let detail = "Events from conversations need a messaging_channel";
        return Err(EventRefusal::new(
            2_804_063,
            "Missing Messaging Channel",
            detail,
        ));
    };
    if !EVENT_NAMES.contains(&event_name) {
        let detail = "Conversations have no event of this name";
        return Err(EventRefusal::new(
            2_804_066,
            "Event Name Not Allowed",
            detail,
        ));
    }
    let (sub_code, title, detail) = match channel {
        "messenger" if lacks("page_id") || lacks("page_scoped_user_id") => {
            let detail = "Messenger needs page_id and page_scoped_user_id";
            (2_804_069, "Missing Page ID", detail)
        }
        "instagram" if lacks("ig_account_id") || lacks("ig_sid") => {
            let detail = "Instagram needs ig_account_id and ig_sid";
            (2_804_079, "Missing Instagram Account ID", detail)
        }
        "whatsapp" if lacks("whatsapp_business_account_id") => {
            let detail = "WhatsApp needs whatsapp_business_account_id";
            (2_804_116, "Missing WhatsApp Business Account", detail)
        }
        "whatsapp" if lacks("ctwa_clid") => {
            (2_804_087, "Invalid Click ID", "WhatsApp needs ctwa_clid")
        }
        _ => return Ok(()),
    };
    Err(EventRefusal::new(sub_code, title, detail))
}
