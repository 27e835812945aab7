//! A listener's certificate: loaded at start, replaced while running when its files change.
//!
//! What the certificate says (names, dates) is the operator's business; here it must only be
//! readable and fit its key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::edge::clock::Clock;
use crate::telemetry::chain;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate file holds no PEM certificate.
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The key file holds no PEM private key.
    #[error("{} holds no private key in PEM form", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The two do not belong together, or are of a kind that TLS does not know.
    #[error("certificate {} and key {} cannot be used together", cert.display(), key.display())]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What became of a look at the files.
#[derive(Debug)]
pub enum Reload {
    /// They hold what they held before.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
    /// What they hold now cannot be used: the old certificate stays.
    Kept(TlsError),
}

/// A certificate and its key, replaced as one.
pub struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    /// Of the files as they were last looked at, usable or not.
    seen: RwLock<[u8; 32]>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    /// Any name gets the one certificate: which names it holds is the client's check.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl Certificate {
    /// Loads a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read or the two cannot be used.
    pub async fn load(cert_file: &Path, key_file: &Path) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let files = Files::read(cert_file, key_file).await?;
        let current = files.parse(cert_file, key_file, &provider)?;
        Ok(Arc::new(Self {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            provider,
            current: RwLock::new(Arc::new(current)),
            seen: RwLock::new(files.digest()),
        }))
    }

    /// Looks at the files and takes what they hold if it is new and usable.
    pub async fn reload(&self) -> Reload {
        let files = match Files::read(&self.cert_file, &self.key_file).await {
            Ok(files) => files,
            Err(error) => return Reload::Kept(error),
        };
        let digest = files.digest();
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return Reload::Unchanged;
        }
        *seen = digest;
        match files.parse(&self.cert_file, &self.key_file, &self.provider) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                Reload::Replaced
            }
            Err(error) => Reload::Kept(error),
        }
    }

    /// Looks at the files every so often until the listener stops.
    pub(super) async fn watch(
        &self,
        listener: &'static str,
        every: Duration,
        clock: &Clock,
        stopped: &CancellationToken,
    ) {
        let mut unreadable = false;
        while stopped
            .run_until_cancelled(clock.sleep(every))
            .await
            .is_some()
        {
            let reload = self.reload().await;
            // Unreadable files are reported once, not at every look.
            let again = unreadable;
            unreadable = matches!(reload, Reload::Kept(TlsError::Read { .. }));
            match reload {
                Reload::Unchanged => {}
                Reload::Replaced => tracing::info!(listener, "the certificate was replaced"),
                Reload::Kept(error) if !(unreadable && again) => tracing::error!(
                    listener,
                    error = %chain(&error),
                    "the new certificate cannot be used, the old one stays"
                ),
                Reload::Kept(_) => {}
            }
        }
    }

    /// Returns what rustls needs: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub(super) fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// What the two files hold at one time.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    async fn read(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let read = async |path: &Path| {
            tokio::fs::read(path)
                .await
                .map_err(|source| TlsError::Read {
                    path: path.to_owned(),
                    source,
                })
        };
        let (cert, key) = (read(cert_file).await?, read(key_file).await?);
        Ok(Self { cert, key })
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.cert.len().to_be_bytes())
            .chain_update(&self.cert)
            .chain_update(&self.key)
            .finalize()
            .into()
    }

    fn parse(
        &self,
        cert_file: &Path,
        key_file: &Path,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            let path = cert_file.to_owned();
            return Err(TlsError::NoCertificate { path });
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NoKey {
            path: key_file.to_owned(),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Unusable {
            cert: cert_file.to_owned(),
            key: key_file.to_owned(),
            source,
        })
    }
}
