//! What lanes with the same access token know about it.
//!
//! A dead token concerns every lane that uses it: one finds out, all pause, one probes, and all go on
//! when it gets through. Limits of the app or the user behind it concern every pixel that it is used for.
//! Tokens are told apart by their hash; none is kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::breaker::RetrySchedule;
use crate::deliver::limiter::PixelLimiter;
use crate::deliver::shared_value::{SharedValue, ValueWatch};

/// The tokens of all lanes; clones share them.
#[derive(Clone, Default)]
pub struct TokenRegistry(Arc<Mutex<HashMap<[u8; 32], Weak<TokenState>>>>);

#[derive(Debug, Default)]
struct TokenState {
    /// `None`: as far as is known, the token works.
    retry: SharedValue<Option<RetrySchedule>>,
    /// Of the pixels that the lanes use it for, one for each lane.
    limiters: Mutex<Vec<Arc<PixelLimiter>>>,
}

/// One lane's view of its token.
#[derive(Debug)]
pub struct SharedToken {
    state: Arc<TokenState>,
    /// Of the pixel that the lane uses it for.
    pub(super) limiter: Arc<PixelLimiter>,
    /// What all knew when the lane last looked.
    seen: Option<RetrySchedule>,
}

impl fmt::Debug for TokenRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRegistry")
    }
}

impl TokenRegistry {
    /// Lets a lane use this token from now on. `retry`: the lane waits for another token so far.
    pub fn join(
        &self,
        token: &SecretString,
        limiter: &Arc<PixelLimiter>,
        retry: Option<RetrySchedule>,
    ) -> SharedToken {
        let hash = Sha256::digest(token.expose_secret()).into();
        let mut tokens = self.0.lock().expect("no holder of this lock panics");
        tokens.retain(|_, state| state.strong_count() > 0);
        let known = tokens.get(&hash).and_then(Weak::upgrade);
        let state = known.unwrap_or_else(|| {
            let state = Arc::<TokenState>::default();
            tokens.insert(hash, Arc::downgrade(&state));
            state
        });
        state.limiters().push(Arc::clone(limiter));
        SharedToken {
            state,
            limiter: Arc::clone(limiter),
            seen: retry,
        }
    }
}

impl SharedToken {
    /// Tells the other lanes what this one has found out, if anything, and gives what holds. A token that
    /// gets through works, whatever the others found; else the first finding holds.
    pub fn agree(&mut self, mine: Option<RetrySchedule>) -> Option<RetrySchedule> {
        if mine != self.seen {
            let is_ours = |shared: &_| mine.is_none() || *shared == self.seen;
            self.state.retry.replace_if(is_ours, mine);
        }
        self.seen = self.state.retry.get();
        self.seen
    }

    /// Claims the probe that is due, unless another lane has claimed it or found out something.
    pub fn claim(&mut self, probing: RetrySchedule) -> bool {
        let is_free = |shared: &_| *shared == self.seen;
        let claimed = self.state.retry.replace_if(is_free, Some(probing));
        if claimed {
            self.seen = Some(probing);
        }
        claimed
    }

    /// Takes the place of another token of the lane, which waits for this retry, if for any. What the lane
    /// found out about another token is not published for this one.
    pub fn replaces(&mut self, before: &Self, retry: Option<RetrySchedule>) {
        let is_same = Arc::ptr_eq(&self.state, &before.state);
        self.seen = if is_same { before.seen } else { retry };
    }

    pub fn watch(&self) -> ValueWatch<Option<RetrySchedule>> {
        self.state.retry.watch()
    }

    /// The limiters of every pixel that the token is used for, each once.
    pub fn limiters(&self) -> Vec<Arc<PixelLimiter>> {
        let mut limiters = self.state.limiters().clone();
        limiters.sort_by(|one, other| one.pixel_id().cmp(other.pixel_id()));
        limiters.dedup_by(|one, other| one.pixel_id() == other.pixel_id());
        limiters
    }
}

impl Drop for SharedToken {
    fn drop(&mut self) {
        let mut limiters = self.state.limiters();
        let is_own = |limiter: &Arc<PixelLimiter>| limiter.pixel_id() == self.limiter.pixel_id();
        if let Some(own) = limiters.iter().position(is_own) {
            limiters.swap_remove(own);
        }
    }
}

impl TokenState {
    fn limiters(&self) -> MutexGuard<'_, Vec<Arc<PixelLimiter>>> {
        self.limiters.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::breaker::Breaker;
    use super::*;
    use crate::deliver::limiter::Rates;
    use crate::deliver::verdict::Fix;

    fn join(tokens: &TokenRegistry, token: &str, pixel_id: &str) -> SharedToken {
        let limiter = PixelLimiter::new(pixel_id, Rates::default());
        tokens.join(&SecretString::from(token), &limiter, None)
    }

    fn dead(now: Instant) -> Option<RetrySchedule> {
        let mut breaker = Breaker::default();
        breaker.pause(Fix::Token, now, now);
        breaker.token_retry()
    }

    #[test]
    fn what_one_lane_finds_out_holds_for_all_of_the_same_token() {
        let tokens = TokenRegistry::default();
        let [mut one, mut two, mut other] = ["a", "a", "b"].map(|token| join(&tokens, token, "1"));
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        assert_eq!(one.agree(dead(now)), dead(now));
        // The second to find out agrees with the first.
        assert_eq!(two.agree(dead(later)), dead(now));
        assert_eq!(other.agree(None), None);
        assert_eq!(two.agree(None), None, "it got through");
        assert_eq!(one.agree(dead(now)), None);
    }

    #[test]
    fn one_lane_probes_at_a_time() {
        let tokens = TokenRegistry::default();
        let [mut one, mut two] = ["a", "a"].map(|token| join(&tokens, token, "1"));
        let now = Instant::now();
        one.agree(dead(now));
        two.agree(None);
        let due = now + Duration::from_secs(60);
        let probing = dead(now).unwrap().probing(due);
        assert!(two.claim(probing));
        assert!(!one.claim(probing));
        assert_eq!(one.agree(dead(now)), Some(probing));
    }

    #[test]
    fn a_token_that_no_lane_uses_is_forgotten() {
        let tokens = TokenRegistry::default();
        for token in ["a", "b", "c"] {
            join(&tokens, token, "1");
        }
        assert_eq!(tokens.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_token_knows_the_pixels_that_it_is_used_for_now() {
        let tokens = TokenRegistry::default();
        let ids = |token: &SharedToken| {
            let limiters = token.limiters().into_iter();
            let ids = limiters.map(|limiter| limiter.pixel_id().to_owned());
            ids.collect::<Vec<_>>()
        };
        let one = join(&tokens, "a", "1");
        let again = join(&tokens, "a", "1");
        let two = join(&tokens, "a", "2");
        let other = join(&tokens, "b", "3");
        assert_eq!(ids(&one), ["1", "2"]);
        assert_eq!(ids(&other), ["3"]);
        drop(again);
        assert_eq!(ids(&two), ["1", "2"]);
        drop(one);
        assert_eq!(ids(&two), ["2"]);
    }
}
