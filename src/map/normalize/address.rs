//! IP addresses: the first one that is reachable from the internet.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::map::dropped::DropReason;

/// Finds the client in a list as proxies write it (`X-Forwarded-For`), without port and brackets.
pub(super) fn normalize(text: &str) -> Result<Cow<'_, str>, DropReason> {
    let mut found = DropReason::NotAnAddress;
    for entry in text.split(',') {
        let entry = entry.trim().trim_matches('"');
        let Some(address) = parse(entry) else {
            continue;
        };
        if is_public(address) {
            let canonical = address.to_string();
            return Ok(if canonical == text {
                Cow::Borrowed(text)
            } else {
                Cow::Owned(canonical)
            });
        }
        found = DropReason::PrivateAddress;
    }
    Err(found)
}

fn parse(entry: &str) -> Option<IpAddr> {
    let address = match entry.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match entry.parse::<SocketAddr>() {
            Ok(with_port) => with_port.ip(),
            Err(_) => {
                let inner = entry.strip_prefix('[')?.strip_suffix(']')?;
                IpAddr::V6(inner.parse().ok()?)
            }
        },
    };
    Some(address.to_canonical())
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
