//! The present configuration, for the parts of the daemon that use it while they run.

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

    /// Returns the present configuration. Keep it to read several keys of the same configuration.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another configuration in its place.
    pub fn replace(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }

    /// Notifies about every later configuration.
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.0.subscribe()
    }
}
