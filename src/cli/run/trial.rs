//! `pixel-relay run --sandbox`: the daemon with nothing to set up.
//!
//! The real daemon on loopback, with a built-in sync and a temporary store. It delivers to the simulated
//! Graph endpoint in the same process, through a real socket.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::{self, App};
use crate::cli::run::build_failure;
use crate::cli::{CommandFailure, Terminal, runtime};
use crate::clock::{Clock, SystemClock};
use crate::config::load::{self, Sources};
use crate::config::{Config, ConfigError};
use crate::panics;
use crate::sandbox::{self, Sandbox, SandboxConfig};
use crate::telemetry::logs;

const CONFIG: &str = include_str!("trial.toml");
const TOKEN: &str = "sandbox-token";
const PIXEL: &str = "123456789012345";

pub(super) fn run(sources: Sources, terminal: &mut Terminal) -> Result<(), CommandFailure> {
    let mut config = config(sources).map_err(CommandFailure::configuration)?;
    logs::init(&config.log).map_err(|error| CommandFailure::configuration(vec![error]))?;
    panics::log_panics();
    let store = tempfile::tempdir().context("cannot make a folder for the throw-away store")?;
    store.path().clone_into(&mut config.queue.path);

    runtime::serve(0, async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let graph = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        config.meta.url = format!("http://{}", graph.local_addr()?).parse()?;
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: vec![TOKEN.to_owned()],
            pixels: Some(vec![PIXEL.to_owned()]),
            clock: Arc::clone(&clock),
            ..SandboxConfig::default()
        });
        let shutdown = app::stop_on_signals()?;
        let app = App::build_with_sandbox(config, Arc::clone(&clock), &sandbox)
            .await
            .map_err(build_failure)?;
        let address = app.public_address()?;
        writeln!(terminal.output, "{}", curl_line(address, clock.as_ref()))?;
        terminal.output.flush()?;
        writeln!(
            terminal.errors,
            "run the line above in another terminal; then see what the simulated endpoint accepted:\n  \
             curl -sS -H 'Authorization: Bearer sandbox' http://{address}/sandbox/events"
        )?;
        // The endpoint stops after the daemon, so that it answers the last batches.
        let stop_endpoint = tokio_util::sync::CancellationToken::new();
        let endpoint = sandbox::serve(graph, sandbox, stop_endpoint.clone());
        let daemon = async {
            let result = app.run(shutdown).await;
            stop_endpoint.cancel();
            result
        };
        let (daemon, endpoint) = tokio::join!(daemon, endpoint);
        daemon?;
        endpoint.context("the simulated endpoint failed")?;
        Ok(())
    })
}

/// The built-in configuration. Its secret is public, so the listeners must be on loopback.
fn config(sources: Sources) -> Result<Config, Vec<ConfigError>> {
    let config = load::from_toml(CONFIG, &trial_environment(sources))?;
    let listeners = [
        ("server.listen", config.server.listen),
        ("admin.listen", config.admin.listen),
    ];
    let errors: Vec<ConfigError> = listeners
        .into_iter()
        .filter(|(_, address)| !address.ip().is_loopback())
        .map(|(key, address)| {
            ConfigError::new(
                key,
                format!(
                    "found {address}, which can be reached from outside; expected a loopback address \
                     such as 127.0.0.1:8080, as everybody knows the secret of --sandbox"
                ),
            )
        })
        .collect();
    if errors.is_empty() {
        Ok(config)
    } else {
        Err(errors)
    }
}

/// The variables that a trial reads: for the listeners and the logs.
fn trial_environment(sources: Sources) -> Vec<(String, String)> {
    const ALLOWED: [&str; 3] = [
        "PIXEL_RELAY__SERVER__LISTEN",
        "PIXEL_RELAY__ADMIN__LISTEN",
        "PIXEL_RELAY__LOG__",
    ];
    sources
        .environment
        .into_iter()
        .filter(|(name, _)| ALLOWED.iter().any(|allowed| name.starts_with(allowed)))
        .collect()
}

/// A command to copy: it sends one event as Amplitude's webhook does.
fn curl_line(address: SocketAddr, clock: &dyn Clock) -> String {
    let now = clock.now();
    let event = json!({
        "event_type": "Order Completed",
        "event_time": now.to_string(),
        "$insert_id": format!("trial-{}", now.0),
        "uuid": "2f9d2c2c-b4f1-49e4-9d6a-0c7b5a8e9f10",
        "user_id": "customer-88231",
        "device_id": "b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a60",
        "platform": "Web",
        "country": "United States",
        "region": "Oregon",
        "city": "Portland",
        "ip_address": "203.0.113.24",
        "event_properties": {
            "[Amplitude] Page Location": "https://shop.example.com/thanks?order=A-1009",
            "order_id": "A-1009",
            "total": "59.90",
            "currency": "usd",
            "coupon": "WELCOME",
            "products": [
                { "sku": "SKU-1", "qty": 2, "price": 19.95 },
                { "sku": "SKU-9", "qty": 1, "price": 20.00 },
            ],
        },
        "user_properties": {
            "email": "Pat.Doe@Example.com",
            "phone": "+1 503 555 0100",
            "first_name": "Pat",
            "last_name": "Doe",
            "fbclid": "IwAR0abcDEF",
            "fbp": "fb.1.1790000000000.1234567890",
        },
    });
    format!(
        "curl -sS -H 'Authorization: Bearer sandbox' -H 'Content-Type: application/json' \
         -d '{event}' http://{address}/webhook"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, address: &str) -> Vec<String> {
        let sources = Sources {
            file: None,
            environment: vec![(name.to_owned(), address.to_owned())],
        };
        let errors = config(sources).err().unwrap_or_default();
        errors.into_iter().map(|error| error.key).collect()
    }

    #[test]
    fn a_trial_stays_on_loopback() {
        let (server, admin) = ("PIXEL_RELAY__SERVER__LISTEN", "PIXEL_RELAY__ADMIN__LISTEN");
        for address in ["127.0.0.1:0", "127.0.0.2:80", "[::1]:0"] {
            assert_eq!(refused(server, address), [""; 0], "{address}");
        }
        for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            assert_eq!(refused(server, address), ["server.listen"], "{address}");
            assert_eq!(refused(admin, address), ["admin.listen"], "{address}");
        }
    }
}
