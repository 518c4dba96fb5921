//! Where the sandbox is stricter than Meta.
//!
//! Meta is known or believed to take the following in silence and to ignore it. A caller that sends it has
//! a defect, so the sandbox refuses it, under a sub-code that is not Meta's:
//!
//! - the hash of nothing: of the empty string, `null` or `undefined`
//! - an `external_id` that is not hashed (Meta recommends the hash), nor the 32 digits of an MD5
//! - an empty list, or a list with a repeated member, in `user_data`
//! - blank text in any known field
//! - an invalid IP address, or one that no customer on the internet can have
//! - an advertiser id of zeros, or one with characters other than letters, digits, `-` and `_`
//! - an `fbp` that does not have the documented form
//! - a currency that is not in ISO 4217, and a negative `value`
//!
//! Three rules in the other files are also stricter than Meta's documentation: unknown keys of `user_data`
//! and `app_data` are refused like unknown keys of the event; an event may not lie in the future at all,
//! since no tolerance is documented; `event_time` must be an integer, although Meta is said to convert dates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use iso_currency::Currency;
use serde_json::Value;

use super::{EventRefusal, JsonPlace};

/// A sub-code that Meta does not use.
pub(super) const SUB_CODE: u32 = 2_804_999;

/// The hashes of the empty string, of `null` and of `undefined`.
const HASHES_OF_NOTHING: [&str; 3] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
    "eb045d78d273107348b0300c01d29b7552d622abbc6faf81b3ec55359aa9950c",
];

/// Refuses a value that Meta would take.
pub(super) fn refusal(place: &JsonPlace<'_>, problem: &str) -> EventRefusal {
    let detail = format!("Param \"{place}\" {problem}. Meta would take it; the sandbox does not");
    EventRefusal::new(SUB_CODE, "Stricter Than Meta", detail)
}

/// Refuses the hash of nothing.
pub(super) fn hash(hash: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let is_of_nothing = HASHES_OF_NOTHING.contains(&hash);
    refuse_if(is_of_nothing, place, "is the hash of nothing")
}

/// Refuses empty lists and repeated members.
pub(super) fn list(items: &[Value], place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    refuse_if(items.is_empty(), place, "is an empty list")?;
    let repeats = (items.iter().enumerate()).any(|(index, item)| items[..index].contains(item));
    refuse_if(repeats, place, "has the same member twice")
}

/// Refuses an address that no customer on the internet can have. Addresses for documentation pass.
pub(super) fn address(text: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let is_reachable = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => is_reachable_v4(address),
        Ok(IpAddr::V6(address)) => is_reachable_v6(address),
        Err(_) => false,
    };
    refuse_if(!is_reachable, place, "is not a public address")
}

/// Refuses what is not a mobile advertiser id.
pub(super) fn advertiser_id(text: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let is_id = text.bytes().all(is_id_byte) && !is_zero;
    refuse_if(!is_id, place, "is not an advertiser id")
}

/// Refuses a currency that does not exist.
pub(super) fn currency(code: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let code = code.to_ascii_uppercase();
    // Both guilders are in use since 2025, and lists of currencies hold one or the other.
    let is_guilder = matches!(&*code, "ANG" | "XCG");
    let is_unknown = Currency::from_code(&code).is_none() && !is_guilder;
    refuse_if(is_unknown, place, "is not a currency")
}

/// Refuses a negative value.
pub(super) fn value(number: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let is_negative = number.as_f64().is_some_and(|number| number < 0.0);
    refuse_if(is_negative, place, "is negative")
}

fn refuse_if(is_wrong: bool, place: &JsonPlace<'_>, problem: &str) -> Result<(), EventRefusal> {
    if is_wrong {
        return Err(refusal(place, problem));
    }
    Ok(())
}

fn is_reachable_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (second & 0xc0) == 64;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || first == 0
        || first >= 240)
}

fn is_reachable_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_reachable_v4(mapped);
    }
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_customers_can_have_pass() {
        let place = JsonPlace::Event(0);
        for good in [
            "8.8.8.8",
            "192.0.2.1",
            "203.0.113.9",
            "2001:db8::1",
            "2a00:1450::1",
        ] {
            assert_eq!(address(good, &place), Ok(()), "{good}");
        }
        for bad in [
            "",
            "8.8.8",
            "8.8.8.8 ",
            "8.8.8.8, 1.1.1.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(address(bad, &place).is_err(), "{bad}");
        }
    }
}
