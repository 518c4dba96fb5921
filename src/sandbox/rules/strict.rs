//! Where the sandbox is stricter than Meta.
//!
//! Meta is known or believed to take the following in silence, and to make nothing of it. A caller that
//! sends it has a defect, so the sandbox refuses it, under a sub-code that is not Meta's:
//!
//! - the hash of nothing: of the empty string, `null` or `undefined`
//! - an `external_id` that is not hashed (Meta recommends the hash), nor the 32 digits of an MD5
//! - an empty list, or a list with a repeated member, in `user_data`
//! - blank text in any known field
//! - an address that is none, or that no customer on the internet can have
//! - an advertiser id of zeros, or one with other signs than letters, digits, `-` and `_`
//! - an `fbp` that has not the documented form
//! - a currency that is not in ISO 4217, and a negative `value`
//!
//! Beyond these, three rules of the other files are firmer than what is published: unknown keys of
//! `user_data` and `app_data` are refused like unknown keys of the event; an event may not lie in the future at
//! all, since no tolerance is published; `event_time` must be an integer, though dates are said to be converted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use iso_currency::Currency;
use serde_json::Value;

use super::EventRefusal;
use super::place::JsonPlace;

/// A sub-code that Meta does not use.
pub(super) const SUB_CODE: u32 = 2_804_999;

/// The hashes of the empty string, of `null` and of `undefined`.
const HASHES_OF_NOTHING: [&str; 3] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
    "eb045d78d273107348b0300c01d29b7552d622abbc6faf81b3ec55359aa9950c",
];

/// Blank text.
pub(super) fn blank(place: &JsonPlace<'_>) -> EventRefusal {
    refusal(place, "is blank")
}

/// A known field that is no hash, though Meta would take it.
pub(super) fn unhashed(place: &JsonPlace<'_>) -> EventRefusal {
    refusal(place, "is not hashed")
}

/// A browser id of another form.
pub(super) fn browser_id(place: &JsonPlace<'_>) -> EventRefusal {
    refusal(place, "is not fb.<index>.<milliseconds>.<random>")
}

/// Refuses the hash of nothing.
pub(super) fn hash(hash: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    if HASHES_OF_NOTHING.contains(&hash) {
        return Err(refusal(place, "is the hash of nothing"));
    }
    Ok(())
}

/// Refuses empty lists and repeated members.
pub(super) fn list(items: &[Value], place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    if items.is_empty() {
        return Err(refusal(place, "is an empty list"));
    }
    let repeats = (items.iter().enumerate()).any(|(index, item)| items[..index].contains(item));
    if repeats {
        return Err(refusal(place, "has the same member twice"));
    }
    Ok(())
}

/// Refuses what is no address of a customer on the internet. Addresses for documentation pass.
pub(super) fn address(text: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let reachable = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => is_reachable_v4(address),
        Ok(IpAddr::V6(address)) => is_reachable_v6(address),
        Err(_) => false,
    };
    if reachable {
        return Ok(());
    }
    Err(refusal(place, "is not a public address"))
}

/// Refuses what is no mobile advertiser id.
pub(super) fn advertiser_id(text: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    if text.bytes().all(is_id_byte) && !is_zero {
        return Ok(());
    }
    Err(refusal(place, "is not an advertiser id"))
}

/// Refuses a currency that does not exist.
pub(super) fn currency(code: &str, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let code = code.to_ascii_uppercase();
    // Both guilders are in use since 2025, and lists of currencies hold one or the other.
    let is_guilder = matches!(&*code, "ANG" | "XCG");
    if Currency::from_code(&code).is_none() && !is_guilder {
        return Err(refusal(place, "is not a currency"));
    }
    Ok(())
}

/// Refuses a negative value.
pub(super) fn value(number: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    if number.as_f64().is_some_and(|number| number < 0.0) {
        return Err(refusal(place, "is negative"));
    }
    Ok(())
}

fn refusal(place: &JsonPlace<'_>, problem: &str) -> EventRefusal {
    EventRefusal {
        sub_code: SUB_CODE,
        title: "Stricter Than Meta",
        detail: format!("Param \"{place}\" {problem}. Meta would take it; the sandbox does not"),
    }
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
