//! What is allowed and yet deserves a word at start.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, IngestConfig, Mistake, SyncConfig, SyncName};

/// How long Amplitude repeats an event that was not answered with 2xx.
const AMPLITUDE_REPEATS_FOR: Duration = Duration::from_secs(4 * 60 * 60);

/// What the sample files hold in the place of a secret.
const PLACEHOLDER: &str = "REPLACE_ME";

/// Finds what an operator may not have meant.
pub(super) fn find(config: &Config) -> Vec<Mistake> {
    let mut warnings = Vec::new();
    let admin = &config.admin;
    if !admin.listen.ip().is_loopback() && admin.secret.is_none() {
        warnings.push(Mistake::new(
            "admin.listen",
            format!(
                "{} can be reached from outside and there is no admin.secret: anyone who reaches it \
                 reads the metrics",
                admin.listen
            ),
        ));
    }
    ingest(&config.ingest, &mut warnings);
    if config.queue.duplicate_window < AMPLITUDE_REPEATS_FOR {
        warnings.push(Mistake::new(
            "queue.duplicate_window",
            "shorter than the 4 hours for which Amplitude repeats an event: a late repeat is sent \
             twice",
        ));
    }
    for (name, one) in &config.syncs {
        sync(name, one, &mut warnings);
    }
    if config.syncs.values().all(|sync| !sync.enabled) {
        warnings.push(Mistake::new(
            "sync",
            "no sync is enabled: no event is taken",
        ));
    }
    warnings
}

fn ingest(ingest: &IngestConfig, warnings: &mut Vec<Mistake>) {
    if ingest.allow_unauthenticated {
        warnings.push(Mistake::new(
            "ingest.allow_unauthenticated",
            "events are taken from anyone who reaches the listener",
        ));
    }
    if ingest.secrets.iter().any(is_placeholder) {
        warnings.push(placeholder("ingest.secret".to_owned()));
    }
}

fn sync(name: &SyncName, sync: &SyncConfig, warnings: &mut Vec<Mistake>) {
    if sync.test_event_code.is_some() {
        warnings.push(Mistake::new(
            format!("sync.{name}.test_event_code"),
            "every event is sent as a test event: remove it when you go live",
        ));
    }
    if is_placeholder(&sync.access_token) {
        warnings.push(placeholder(format!("sync.{name}.access_token")));
    }
}

fn placeholder(key: String) -> Mistake {
    Mistake::new(key, "still holds the placeholder of the sample file")
}

fn is_placeholder(secret: &SecretString) -> bool {
    secret.expose_secret().contains(PLACEHOLDER)
}
