//! The address of a request's sender, behind trusted proxies.
//!
//! Anyone can write an `X-Forwarded-For`. Only the part that trusted proxies write counts: from the right,
//! the first address that is not one of theirs is the sender's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The other end of a connection, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The address of a request's sender. An entry that cannot be read ends the search.
pub fn sender(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut sender = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    while is_trusted(sender)
        && let Some(before) = hops.next().and_then(|hop| address(hop.trim()))
    {
        sender = before.to_canonical();
    }
    sender
}

/// What counts as one address where addresses have shares: an IPv6 sender has a whole /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    within(address, 64)
}

/// What counts as one address where an address may hold much for long: one site of IPv6 may have a /48, which is 65,536
/// networks.
pub(super) fn site_of(address: IpAddr) -> IpAddr {
    within(address, 48)
}

/// The first bits of an IPv6 address; the whole of any other.
fn within(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = u128::BITS - bits;
            Ipv6Addr::from_bits(address.to_bits() >> rest << rest).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Reads an address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok();
    bare.parse().ok().or_else(|| Some(with_port()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let found = sender(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{lines:?}");
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxys_counts() {
        check("203.0.113.1", &[], "203.0.113.1");
        check("203.0.113.1", &["198.51.100.9"], "203.0.113.1");
        check("10.1.1.1", &["198.51.100.9"], "198.51.100.9");
        check(
            "10.1.1.1",
            &["6.6.6.6, 198.51.100.9, 10.0.0.2"],
            "198.51.100.9",
        );
        check(
            "10.1.1.1",
            &["6.6.6.6", "198.51.100.9", "10.0.0.2"],
            "198.51.100.9",
        );
        check("10.1.1.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3");
        check("::ffff:10.1.1.1", &["::ffff:198.51.100.9"], "198.51.100.9");
        check("fd00::1", &["2001:db8::7"], "2001:db8::7");
    }

    #[test]
    fn a_whole_network_is_one_address() {
        for (address, network, site) in [
            ("198.51.100.9", "198.51.100.9", "198.51.100.9"),
            ("::ffff:198.51.100.9", "198.51.100.9", "198.51.100.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::"),
            ("2001:db8:1:3::", "2001:db8:1:3::", "2001:db8:1::"),
            ("2001:db8:2::", "2001:db8:2::", "2001:db8:2::"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(network_of(address), network.parse::<IpAddr>().unwrap());
            assert_eq!(site_of(address), site.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn ports_are_left_out_and_rubbish_ends_the_search() {
        check("10.1.1.1", &["198.51.100.9:4711"], "198.51.100.9");
        check("10.1.1.1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("10.1.1.1", &["[2001:db8::7]"], "2001:db8::7");
        check("10.1.1.1", &["198.51.100.9, unknown"], "10.1.1.1");
        check("10.1.1.1", &["198.51.100.9, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.1.1.1", &[""], "10.1.1.1");
    }
}
