//! A value that lanes share, and whose changes they wait for.
//!
//! As `tokio::sync::watch`, except that those who wait are woken in the order in which they began to wait. With
//! `watch` the order is random, so a run of several lanes could not be repeated from its seed.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// The value; clones share it.
pub(super) struct SharedValue<T>(Arc<ValueState<T>>);

struct ValueState<T> {
    /// With the number of changes so far.
    value: Mutex<(u64, T)>,
    changed: Notify,
}

/// Waits for changes of a value.
pub struct ValueWatch<T> {
    state: Arc<ValueState<T>>,
    /// The change that was seen last.
    seen: u64,
}

impl<T: Clone> SharedValue<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(ValueState {
            value: Mutex::new((0, value)),
            changed: Notify::new(),
        }))
    }

    pub(super) fn get(&self) -> T {
        self.0.lock().1.clone()
    }

    /// Shows changes from now on.
    pub(super) fn watch(&self) -> ValueWatch<T> {
        ValueWatch {
            state: Arc::clone(&self.0),
            seen: self.0.lock().0,
        }
    }

    /// Lets `change` change the value and tell whether it did; gives that.
    pub(super) fn change(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.0.lock();
        let has_changed = change(&mut value.1);
        value.0 += u64::from(has_changed);
        drop(value);
        if has_changed {
            self.0.changed.notify_waiters();
        }
        has_changed
    }

    /// Replaces the value if it is as expected. Tells whether it was.
    pub(super) fn replace_if(&self, is_expected: impl FnOnce(&T) -> bool, next: T) -> bool {
        self.change(|present| {
            let replaces = is_expected(present);
            if replaces {
                *present = next;
            }
            replaces
        })
    }
}

impl<T: Clone> ValueWatch<T> {
    /// The present value, which counts as seen.
    pub fn see(&mut self) -> T {
        let value = self.state.lock();
        self.seen = value.0;
        value.1.clone()
    }

    /// Waits for a change that was not seen; it counts as seen then.
    pub async fn changed(&mut self) {
        loop {
            // Made before the look, so that no change falls between the two.
            let notified = self.state.changed.notified();
            let last = self.state.lock().0;
            if last != self.seen {
                self.seen = last;
                return;
            }
            notified.await;
        }
    }
}

impl<T> ValueState<T> {
    fn lock(&self) -> MutexGuard<'_, (u64, T)> {
        self.value.lock().expect("no holder of this lock panics")
    }
}

impl<T: Default + Clone> Default for SharedValue<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Debug> Debug for SharedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedValue")
            .field(&self.0.lock().1)
            .finish()
    }
}

impl<T> Debug for ValueWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueWatch")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_once() {
        let value = SharedValue::new(1);
        let mut watch = value.watch();
        assert!(!value.replace_if(|present| *present == 2, 3));
        let second = Duration::from_secs(1);
        assert!(timeout(second, watch.changed()).await.is_err());
        assert!(value.replace_if(|present| *present == 1, 2));
        assert!(timeout(second, watch.changed()).await.is_ok());
        assert!(timeout(second, watch.changed()).await.is_err());
        assert!(value.change(|present| {
            *present += 1;
            true
        }));
        assert_eq!((watch.see(), value.get()), (3, 3));
        assert!(timeout(second, watch.changed()).await.is_err());
    }

    #[tokio::test]
    async fn who_waited_first_is_woken_first() {
        let (value, woken) = (SharedValue::new(0), Arc::new(Mutex::new(Vec::new())));
        let mut waiting = JoinSet::new();
        for number in 0..20 {
            let (mut watch, woken) = (value.watch(), Arc::clone(&woken));
            waiting.spawn(async move {
                watch.changed().await;
                woken.lock().unwrap().push(number);
            });
        }
        tokio::task::yield_now().await;
        value.replace_if(|_| true, 1);
        waiting.join_all().await;
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
