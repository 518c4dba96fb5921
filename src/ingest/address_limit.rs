//! How much one address may send in a time, in bounded memory.
//!
//! An IPv6 sender has a whole /64, so that counts as one address. While more addresses send than can be
//! remembered, new ones share one allowance.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;

use crate::config::units::Rate;
use crate::http::client_address::network_of;

/// Most addresses that are remembered: some megabytes.
const MOST: usize = 65_536;
/// An address may use the allowance of this many seconds at once.
const BURST_SECONDS: f64 = 10.0;
/// The shortest time between two looks for addresses that can be forgotten, each of which reads all of them.
const SHRINK_PAUSE: Duration = Duration::from_secs(1);

type AddressLimiter<C> =
    RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Limits what each address sends.
pub(super) struct AddressLimit<C: Clock = DefaultClock> {
    limit: Option<KeyedLimit<C>>,
}

struct KeyedLimit<C: Clock> {
    limiter: AddressLimiter<C>,
    burst: NonZeroU32,
    /// When addresses were last forgotten.
    shrunk: Mutex<Option<C::Instant>>,
}

impl AddressLimit {
    /// Sets the limit; `None`: unlimited.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock> AddressLimit<C> {
    fn with_clock(rate: Option<Rate>, clock: C) -> Self {
        let limit = rate.and_then(|rate| {
            let burst = rate.within(BURST_SECONDS);
            Some(KeyedLimit {
                limiter: RateLimiter::hashmap_with_clock(rate.quota(burst)?, clock),
                burst,
                shrunk: Mutex::new(None),
            })
        });
        Self { limit }
    }

    /// Charges an address, and says whether that is within the limit; if it is not, nothing is charged. What is
    /// more than the address can ever have at once counts as that much: else it would be refused for ever.
    pub(super) fn admits(&self, address: IpAddr, count: NonZeroU32) -> bool {
        let Some(limit) = &self.limit else {
            return true;
        };
        let count = count.min(limit.burst);
        let charged = limit.limiter.check_key_n(&limit.key(address), count);
        charged.is_ok_and(|charged| charged.is_ok())
    }
}

impl<C: Clock> KeyedLimit<C> {
    /// What an address is remembered by.
    fn key(&self, address: IpAddr) -> IpAddr {
        if self.limiter.len() >= MOST {
            self.forget_rested();
            if self.limiter.len() >= MOST {
                return IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        network_of(address)
    }

    /// Forgets the addresses that have their whole allowance again.
    fn forget_rested(&self) {
        let now = self.limiter.clock().now();
        let mut shrunk = self.shrunk.lock().expect("no holder of this lock panics");
        if shrunk.is_some_and(|last| Duration::from(now.duration_since(last)) < SHRINK_PAUSE) {
            return;
        }
        *shrunk = Some(now);
        self.limiter.retain_recent();
    }
}

impl<C: Clock> fmt::Debug for AddressLimit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressLimit")
            .field("limited", &self.limit.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    #[test]
    fn each_address_has_its_own_allowance() {
        let clock = FakeRelativeClock::default();
        let limit = AddressLimit::with_clock(Rate::new(0.2), clock.clone());
        let [one, other, neighbour, far] =
            ["198.51.100.9", "198.51.100.8", "2001:db8::7", "2001:db8::8"]
                .map(|text| text.parse().unwrap());
        let admits = |address| limit.admits(address, ONE);
        assert!(admits(one) && admits(one));
        assert!(!admits(one));
        assert!(admits(other));
        assert!(admits(neighbour) && admits(far) && !admits(neighbour));
        clock.advance(Duration::from_secs(5));
        assert!(admits(one));
        assert!(!admits(one));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let clock = FakeRelativeClock::default();
        let limit = AddressLimit::with_clock(Rate::new(0.1), clock.clone());
        let most = u32::try_from(MOST).unwrap();
        let admits = |number: u32| limit.admits(IpAddr::from(number.to_be_bytes()), ONE);
        assert!((0..most).all(admits));
        // All others share one.
        assert!(admits(most));
        assert!(!admits(most + 1));
        clock.advance(Duration::from_secs(60));
        assert!(admits(most + 1) && admits(most + 2));
    }

    #[test]
    fn what_can_never_fit_costs_all_that_there_is() {
        let clock = FakeRelativeClock::default();
        let limit = AddressLimit::with_clock(Rate::new(10.0), clock.clone());
        let admits = |count| {
            let count = NonZeroU32::new(count).unwrap();
            limit.admits(IpAddr::from([198, 51, 100, 9]), count)
        };
        assert!(admits(60) && !admits(60) && admits(40));
        assert!(!admits(2000));
        clock.advance(Duration::from_secs(9));
        assert!(!admits(2000), "all of it must be there again");
        clock.advance(Duration::from_secs(1));
        assert!(admits(2000) && !admits(1));
        clock.advance(Duration::from_secs(1));
        assert!(admits(10) && !admits(1));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limit = AddressLimit::new(None);
        let address = IpAddr::from([198, 51, 100, 9]);
        assert!((0..10_000).all(|_| limit.admits(address, NonZeroU32::MAX)));
    }
}
