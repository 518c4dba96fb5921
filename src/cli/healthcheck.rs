//! `pixel-relay healthcheck`: succeeds if the daemon gives any HTTP answer.
//!
//! A daemon that answers 503 (no room to store) is alive: a restart would free no disk.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::CommandFailure;
use crate::config::load::{self, Sources};

const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn healthcheck(sources: &Sources) -> Result<(), CommandFailure> {
    let address = reachable(load::listen_address(sources).map_err(CommandFailure::configuration)?);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut start = [0; 5];
    stream
        .read_exact(&mut start)
        .with_context(|| format!("{address} gives no answer"))?;
    if &start != b"HTTP/" {
        return Err(anyhow::anyhow!("{address} does not speak HTTP").into());
    }
    Ok(())
}

/// The address to connect to, for the address that the daemon listens on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_through_loopback() {
        assert_eq!(
            reachable("0.0.0.0:8080".parse().unwrap()),
            "127.0.0.1:8080".parse().unwrap()
        );
        assert_eq!(
            reachable("[::]:8080".parse().unwrap()),
            "[::1]:8080".parse().unwrap()
        );
        assert_eq!(
            reachable("10.0.0.7:80".parse().unwrap()),
            "10.0.0.7:80".parse().unwrap()
        );
    }
}
