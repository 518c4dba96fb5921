//! The simulated Graph endpoint of one case.

use std::net::SocketAddr;

use pixel_relay::sandbox::faults::Faults;
use pixel_relay::sandbox::{self, Sandbox, SandboxConfig};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::events::PIXEL;
use crate::place::TOKEN;

pub struct Graph {
    pub sandbox: Sandbox,
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl Graph {
    pub async fn start(faults: &str) -> Self {
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: vec![TOKEN.to_owned()],
            pixels: Some(vec![PIXEL.to_owned()]),
            keep_events: 1 << 20,
            keep_bytes: 1 << 30,
            ..SandboxConfig::default()
        });
        sandbox.set_faults(faults.parse::<Faults>().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(sandbox::serve(listener, sandbox.clone(), stop.clone()));
        Self {
            sandbox,
            address,
            _stop: stop.drop_guard(),
        }
    }
}
