//! The configuration that holds now, for the parts of the daemon that go by it while they run.

use std::sync::Arc;

use tokio::sync::watch;

use super::Config;

/// A handle on the configuration that holds now; clones share it.
#[derive(Clone, Debug)]
pub struct LiveConfig(watch::Sender<Arc<Config>>);

impl LiveConfig {
    pub fn new(config: Config) -> Self {
        Self(watch::Sender::new(Arc::new(config)))
    }

    /// Returns the present configuration. Keep it where several keys must come from one configuration.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another configuration in its place.
    pub fn replace(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }

    /// Tells of each configuration that comes after this call.
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.0.subscribe()
    }
}
