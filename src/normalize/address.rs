//! IP addresses: the first one that is reachable from the internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dropped::DropReason;

/// Finds the client in a list as proxies write it (`X-Forwarded-For`), without port and brackets.
pub(super) fn normalize<'a>(text: &'a str, buffer: &'a mut String) -> Result<&'a str, DropReason> {
    let mut found = DropReason::NotAnAddress;
    // `[',']` splits character by character, which is faster than a search in lists as short as these.
    for entry in text.split([',']) {
        let entry = entry.trim().trim_matches('"');
        let Some((written, address)) = parse(entry) else {
            continue;
        };
        // An IPv4 address may come wrapped in IPv6: `::ffff:203.0.113.7`.
        let canonical = address.to_canonical();
        if is_public(canonical) {
            if canonical == address {
                return Ok(written);
            }
            *buffer = canonical.to_string();
            return Ok(buffer);
        }
        found = DropReason::PrivateAddress;
    }
    Err(found)
}

/// Finds the address in an entry, which may be bracketed and have a port.
fn parse(entry: &str) -> Option<(&str, IpAddr)> {
    if let Ok(address) = entry.parse() {
        return Some((entry, address));
    }
    let (host, port) = match entry.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => entry.split_at_checked(entry.find(':')?)?,
    };
    let port_is_well = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
    match host.parse() {
        Ok(address) if port_is_well => Some((host, address)),
        _ => None,
    }
}

/// Documentation addresses count as public: samples and tests are written with them.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let carrier_grade_nat = first == 100 && (64..128).contains(&second);
    let benchmarking = first == 198 && (18..20).contains(&second);
    // 224 and above: multicast, reserved, broadcast.
    !(first == 0
        || first >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || carrier_grade_nat
        || benchmarking)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.segments();
    let site_local = first & 0xffc0 == 0xfec0;
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || site_local)
}
