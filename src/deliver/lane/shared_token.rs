//! What lanes with the same access token know of it together.
//!
//! That a token is dead concerns every lane that uses it: one finds out, all are paused, one probes,
//! and all go on when it gets through. Tokens are told apart by their hash; none is kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::standing::Waiting;

/// The tokens of all lanes; clones share them.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<HashMap<[u8; 32], Weak<State>>>>);

/// `None`: nothing is wrong with it as far as is known.
type State = watch::Sender<Option<Waiting>>;

/// One lane's view of its token.
#[derive(Debug)]
pub struct SharedToken {
    state: Arc<State>,
    /// What the lane knew when it last looked.
    seen: Option<Waiting>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// The view of a lane that uses this token from now on, and that waits for another one so far, or
    /// not.
    pub fn join(&self, token: &SecretString, waiting: Option<Waiting>) -> SharedToken {
        let hash = Sha256::digest(token.expose_secret()).into();
        let mut tokens = self.0.lock().expect("no holder of this lock panics");
        tokens.retain(|_, state| state.strong_count() > 0);
        let known = tokens.get(&hash).and_then(Weak::upgrade);
        let state = known.unwrap_or_else(|| {
            let state = Arc::new(watch::Sender::new(None));
            tokens.insert(hash, Arc::downgrade(&state));
            state
        });
        SharedToken {
            state,
            seen: waiting,
        }
    }
}

impl SharedToken {
    /// Tells the others what the lane knows, if it has found out something, and gives what holds. A
    /// token that gets through is alive, whatever others say; else the first to say something is
    /// right.
    pub fn agree(&mut self, mine: Option<Waiting>) -> Option<Waiting> {
        if mine != self.seen {
            let seen = self.seen;
            self.state.send_if_modified(|shared| {
                let is_ours = mine.is_none() || *shared == seen;
                if is_ours {
                    *shared = mine;
                }
                is_ours
            });
        }
        self.seen = *self.state.borrow();
        self.seen
    }

    /// Claims the probe that is due. Not so where another lane has, or something else is new.
    pub fn claim(&mut self, probing: Waiting) -> bool {
        let seen = self.seen;
        let claimed = self.state.send_if_modified(|shared| {
            let is_free = *shared == seen;
            if is_free {
                *shared = Some(probing);
            }
            is_free
        });
        if claimed {
            self.seen = Some(probing);
        }
        claimed
    }

    /// Shows changes.
    pub fn watch(&self) -> watch::Receiver<Option<Waiting>> {
        self.state.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::standing::Standing;
    use super::*;
    use crate::deliver::verdict::Fix;

    fn dead(now: Instant) -> Option<Waiting> {
        let mut standing = Standing::default();
        standing.needs(Fix::Token, now, now);
        standing.token()
    }

    #[test]
    fn what_one_lane_finds_out_holds_for_all_of_the_same_token() {
        let tokens = Tokens::default();
        let [mut one, mut two, mut other] =
            ["a", "a", "b"].map(|token| tokens.join(&SecretString::from(token), None));
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        assert_eq!(one.agree(dead(now)), dead(now));
        // Whoever finds out the same a little later agrees with the first.
        assert_eq!(two.agree(dead(later)), dead(now));
        assert_eq!(other.agree(None), None);
        assert_eq!(two.agree(None), None, "it got through");
        assert_eq!(one.agree(dead(now)), None);
    }

    #[test]
    fn one_lane_probes_at_a_time() {
        let tokens = Tokens::default();
        let [mut one, mut two] =
            ["a", "a"].map(|token| tokens.join(&SecretString::from(token), None));
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
        let tokens = Tokens::default();
        for token in ["a", "b", "c"] {
            tokens.join(&SecretString::from(token), None);
        }
        assert_eq!(tokens.0.lock().unwrap().len(), 1);
    }
}
