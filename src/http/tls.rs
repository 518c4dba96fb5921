//! TLS for the requests that the relay sends.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use url::Url;

#[derive(Clone, Debug, Error)]
#[error("no usable CA certificates were found on this system")]
pub struct NoCertificates(#[source] rustls::Error);

/// Uses the system's CA certificates, or none if the URL is plain HTTP.
pub fn client_config(url: &Url) -> Result<ClientConfig, NoCertificates> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
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
