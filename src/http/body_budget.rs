//! The memory that the bodies of all requests share.
//!
//! Strangers may use a part of it, and one address at most half of that part. The rest is there for senders who
//! have shown the secret, who may use it all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::http::client_address::network_of;

/// Whose share a body counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySender {
    /// One who has shown the secret.
    WithSecret,
    /// Anyone at this address, as trusted proxies forward it; all without one share.
    Stranger(Option<IpAddr>),
}

/// How many bytes there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct BudgetLimits {
    /// For strangers.
    pub(super) strangers: usize,
    /// On top of that, for those with the secret.
    pub(super) reserve: usize,
}

/// The budget.
#[derive(Debug)]
pub(super) struct BodyBudget {
    limits: BudgetLimits,
    used: Mutex<UsedBytes>,
}

#[derive(Debug, Default)]
struct UsedBytes {
    all: usize,
    strangers: usize,
    /// As many entries as there are bodies of strangers, at most.
    addresses: HashMap<IpAddr, usize>,
}

/// The bytes of one body, given back on drop.
#[derive(Debug)]
pub(super) struct BodyCharge {
    budget: Arc<BodyBudget>,
    /// The address whose share is charged; `None` for one with the secret.
    stranger: Option<IpAddr>,
    pub(super) bytes: usize,
}

/// The budget, or this sender's share of it, is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetExceeded;

impl BodyBudget {
    pub(super) fn new(limits: BudgetLimits) -> Arc<Self> {
        let used = Mutex::default();
        Arc::new(Self { limits, used })
    }

    fn used(&self) -> MutexGuard<'_, UsedBytes> {
        self.used.lock().expect("no holder of this lock panics")
    }
}

impl BodyCharge {
    pub(super) fn nothing(budget: &Arc<BodyBudget>, sender: BodySender) -> Self {
        let stranger = match sender {
            BodySender::WithSecret => None,
            BodySender::Stranger(address) => {
                Some(address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network_of))
            }
        };
        Self {
            budget: Arc::clone(budget),
            stranger,
            bytes: 0,
        }
    }

    /// Charges more bytes.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        if bytes == 0 {
            return Ok(());
        }
        let BudgetLimits { strangers, reserve } = self.budget.limits;
        let mut used = self.budget.used();
        let fits =
            |used: usize, limit: usize| used.checked_add(bytes).is_some_and(|sum| sum <= limit);
        if !fits(used.all, strangers.saturating_add(reserve)) {
            return Err(BudgetExceeded);
        }
        if let Some(address) = self.stranger {
            let own = used.addresses.get(&address).copied().unwrap_or_default();
            if !fits(used.strangers, strangers) || !fits(own, strangers / 2) {
                return Err(BudgetExceeded);
            }
            used.addresses.insert(address, own + bytes);
            used.strangers += bytes;
        }
        used.all += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.budget.used();
        used.all -= self.bytes;
        let Some(address) = self.stranger else {
            return;
        };
        used.strangers -= self.bytes;
        if let Some(own) = used.addresses.get_mut(&address) {
            *own -= self.bytes;
            if *own == 0 {
                used.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_the_reserve_and_an_address_leaves_half() {
        let budget = BodyBudget::new(BudgetLimits {
            strangers: 100,
            reserve: 50,
        });
        let of = |sender| BodyCharge::nothing(&budget, sender);
        let address = |text: &str| BodySender::Stranger(Some(text.parse().unwrap()));
        let mut first = of(address("2001:db8::1"));
        assert_eq!(first.add(30), Ok(()));
        let mut neighbour = of(address("2001:db8::2"));
        assert_eq!(neighbour.add(20), Ok(()));
        assert_eq!(neighbour.add(1), Err(BudgetExceeded));
        let mut other = of(address("198.51.100.9"));
        assert_eq!(other.add(50), Ok(()));
        assert_eq!(of(address("198.51.100.8")).add(1), Err(BudgetExceeded));
        assert_eq!(of(BodySender::Stranger(None)).add(1), Err(BudgetExceeded));
        let mut known = of(BodySender::WithSecret);
        assert_eq!(known.add(50), Ok(()));
        assert_eq!(known.add(1), Err(BudgetExceeded));
        assert_eq!(known.add(usize::MAX), Err(BudgetExceeded));
        drop(other);
        // What strangers leave is for those with the secret.
        assert_eq!(known.add(50), Ok(()));
        drop((first, neighbour, known));
        let used = budget.used();
        assert_eq!((used.all, used.strangers), (0, 0));
        assert!(used.addresses.is_empty());
    }
}
