//! TLS for the requests that the relay sends.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use url::Url;

use crate::clock::Clock;

#[derive(Clone, Debug, Error)]
#[error("no usable CA certificates were found on this system")]
pub struct NoCertificates(#[source] rustls::Error);

/// Checks certificates by a clock: where the system's is wrong, the corrected one still lets the relay connect.
#[derive(Debug)]
struct CertificateTime(Arc<dyn Clock>);

impl TimeProvider for CertificateTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Uses the system's CA certificates, or none if the URL is plain HTTP.
pub fn client_config(url: &Url, clock: Arc<dyn Clock>) -> Result<ClientConfig, NoCertificates> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let time = Arc::new(CertificateTime(clock));
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .map_err(NoCertificates)?;
    if url.scheme() == "http" {
        return Ok(builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    Ok(builder
        .with_platform_verifier()
        .map_err(NoCertificates)?
        .with_no_client_auth())
}
