//! Open files: how many this process may have, and how many of them are for senders.
//!
//! Each connection is an open file. If the listeners used up all of them, Meta could not be reached, the store
//! could open no file, and no command would be heard. So the limit is raised as far as the system allows, and
//! where that is not far enough, the listeners take fewer connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::http::ConnectionLimits;

/// The limit that is asked for where the system allows more.
const ENOUGH: u64 = 65_536;
/// Kept back for the store, the control socket, name resolution and the runtime: twice what they use.
const KEPT: usize = 64;

/// The bounds of the listeners for senders and for operators.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenerLimits {
    pub(super) public: ConnectionLimits,
    pub(super) admin: ConnectionLimits,
}

/// What this configuration needs of the process's open files.
#[derive(Clone, Copy, Debug)]
struct NeededFiles {
    /// For everything but the listeners.
    kept: usize,
    /// For each connection of the public listener: one more where its request may be passed on.
    per_sender: usize,
}

impl ListenerLimits {
    /// Raises the limit of open files, and bounds the listeners by it.
    pub(super) fn of_process(config: &Config) -> Self {
        let open_files = raise();
        let needed = NeededFiles::by(config);
        let limits = Self::within(open_files, needed);
        if open_files < needed.all() {
            tracing::warn!(
                open_files,
                public_connections = limits.public.connections,
                admin_connections = limits.admin.connections,
                "the system allows this process few open files, so that the listeners take few connections; \
                 allow at least {} (LimitNOFILE= in systemd, --ulimit nofile= for a container, ulimit -Hn)",
                needed.all()
            );
        }
        limits
    }

    fn within(open_files: usize, needed: NeededFiles) -> Self {
        if open_files >= needed.all() {
            return Self {
                public: ConnectionLimits::default(),
                admin: ConnectionLimits::default(),
            };
        }
        let free = open_files.saturating_sub(needed.kept);
        let admin = free / 4;
        Self {
            public: ConnectionLimits::of((free - admin) / needed.per_sender),
            admin: ConnectionLimits::of(admin),
        }
    }
}

impl NeededFiles {
    fn by(config: &Config) -> Self {
        let syncs = config.syncs.values();
        // Two for each request in flight: a connection that ends may overlap with the next.
        let in_flight = syncs.map(|sync| 2 * sync.delivery.max_in_flight.get());
        Self {
            kept: KEPT + in_flight.sum::<usize>(),
            per_sender: 1 + usize::from(config.ingest.upstream.is_some()),
        }
    }

    /// What is enough for listeners of the usual size.
    fn all(self) -> usize {
        self.kept + (self.per_sender + 1) * ConnectionLimits::default().most_open()
    }
}

/// Raises the limit as far as the system allows and is of use; returns it.
fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let allowed = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let mut limit = current.unwrap_or(ENOUGH);
    if limit < allowed {
        let raised = Rlimit {
            current: Some(allowed),
            maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = allowed,
            Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
        }
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_toml;

    fn needed(more: &str) -> NeededFiles {
        let text = format!(
            "[ingest]\napi_keys = [\"k\"]\n{more}\n\
             [sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n"
        );
        NeededFiles::by(&from_toml(&text, &[]).unwrap())
    }

    #[test]
    fn listeners_never_take_what_is_kept_back() {
        for more in ["", "upstream = \"https://api2.amplitude.com\""] {
            let needed = needed(more);
            for open_files in [100, 128, 256, 1024, 2048, needed.all() - 1] {
                let limits = ListenerLimits::within(open_files, needed);
                let taken =
                    needed.per_sender * limits.public.most_open() + limits.admin.most_open();
                assert!(taken + needed.kept <= open_files, "{open_files}: {taken}");
                assert!(limits.public.connections >= 2 && limits.admin.connections >= 2);
                assert!(limits.public.reserve >= 1 && limits.admin.reserve >= 1);
            }
        }
    }

    #[test]
    fn enough_is_enough_for_the_usual_size() {
        let needed = needed("");
        let limits = ListenerLimits::within(needed.all(), needed);
        assert_eq!(limits.public.connections, 1024);
        assert_eq!(limits.admin.connections, 1024);
    }

    #[test]
    fn the_limit_is_raised() {
        let raised = raise();
        let Rlimit { current, .. } = getrlimit(Resource::Nofile);
        assert!(current.is_none_or(|current| current >= u64::try_from(raised).unwrap()));
    }
}
