//! The simulator's certificates: its own CA, made at start, or what the caller gives.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::SimError;
use super::config::SimTls;

/// What the HTTPS listener presents.
pub(super) struct Identity {
    /// Trust root for clients, PEM.
    pub(super) ca_pem: String,
    pub(super) server: Arc<ServerConfig>,
}

/// Loads the given certificate, or makes a CA and a certificate for `localhost`.
pub(super) fn identity(tls: Option<&SimTls>) -> Result<Identity, SimError> {
    let (ca_pem, cert_pem, key_pem) = match tls {
        Some(tls) => (
            tls.cert_pem.clone(),
            tls.cert_pem.clone(),
            tls.key_pem.clone(),
        ),
        None => generate().map_err(SimError::Certificate)?,
    };
    let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(SimError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(SimError::Pem)?;
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(SimError::Tls)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity {
        ca_pem,
        server: Arc::new(server),
    })
}

fn generate() -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Kling simulator CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_pem = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let cert_pem = params.signed_by(&key, &issuer)?.pem();
    Ok((ca_pem, cert_pem, key.serialize_pem()))
}
