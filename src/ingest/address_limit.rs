//! How often one address may call, in bounded memory.
//!
//! An IPv6 sender has a whole /64, so that counts as one address. While more addresses call than can be
//! remembered, new ones share one allowance.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;

use crate::config::units::Rate;

/// Most addresses that are remembered: some megabytes.
const MOST: usize = 65_536;
/// An address may use the calls of this many seconds at once.
const BURST_SECONDS: f64 = 10.0;

type AddressLimiter<C> =
    RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Limits how often each address may call.
pub(super) struct AddressLimit<C: Clock = DefaultClock> {
    limiter: Option<AddressLimiter<C>>,
}

impl AddressLimit {
    /// Sets the limit; `None`: unlimited.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock> AddressLimit<C> {
    fn with_clock(rate: Option<Rate>, clock: C) -> Self {
        let limiter = rate.and_then(|rate| {
            let quota = rate.quota(rate.within(BURST_SECONDS))?;
            Some(RateLimiter::hashmap_with_clock(quota, clock))
        });
        Self { limiter }
    }

    /// Counts a call, and says whether it is within the limit.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let Some(limiter) = &self.limiter else {
            return true;
        };
        let mut key = network_of(address);
        if limiter.len() >= MOST {
            limiter.retain_recent();
            if limiter.len() >= MOST {
                key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        limiter.check_key(&key).is_ok()
    }
}

impl<C: Clock> fmt::Debug for AddressLimit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressLimit")
            .field("limited", &self.limiter.is_some())
            .finish_non_exhaustive()
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn each_address_has_its_own_allowance() {
        let clock = FakeRelativeClock::default();
        let limit = AddressLimit::with_clock(Rate::new(0.2), clock.clone());
        let [one, other, neighbour, far] =
            ["198.51.100.9", "198.51.100.8", "2001:db8::7", "2001:db8::8"]
                .map(|text| text.parse().unwrap());
        assert!(limit.admits(one) && limit.admits(one));
        assert!(!limit.admits(one));
        assert!(limit.admits(other));
        assert!(limit.admits(neighbour) && limit.admits(far) && !limit.admits(neighbour));
        clock.advance(Duration::from_secs(5));
        assert!(limit.admits(one));
        assert!(!limit.admits(one));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let clock = FakeRelativeClock::default();
        let limit = AddressLimit::with_clock(Rate::new(0.1), clock.clone());
        let most = u32::try_from(MOST).unwrap();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!((0..most).all(|number| limit.admits(address(number))));
        // All others share one.
        assert!(limit.admits(address(most)));
        assert!(!limit.admits(address(most + 1)));
        clock.advance(Duration::from_secs(60));
        assert!(limit.admits(address(most + 1)) && limit.admits(address(most + 2)));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limit = AddressLimit::new(None);
        assert!((0..10_000).all(|_| limit.admits(IpAddr::from([198, 51, 100, 9]))));
    }
}
