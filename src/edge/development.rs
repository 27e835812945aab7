//! What `dev` and `demo` need to run without configuration: keys, and a certificate authority that
//! made one server certificate. Made once in `<data_dir>/dev/`, readable by its owner only.
//!
//! The authority's own key is thrown away, so nobody who trusts `ca.pem` can be fooled with it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use secrecy::SecretString;

/// The tenant that the API key names.
pub const TENANT: &str = "dev";

/// What the server certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How long the certificates hold.
const YEARS: i16 = 10;

const API_KEY: &str = "api.key";
const OPERATOR_KEY: &str = "operator.key";
const CAPABILITY_KEY: &str = "capability.key";
const CA: &str = "ca.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
const ALL: [&str; 6] = [API_KEY, OPERATOR_KEY, CAPABILITY_KEY, CA, CERT, KEY];

/// Development material that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// The folder or a file in it cannot be made or read.
    #[error("cannot use {}", path.display())]
    Files {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody took a file away.
    #[error("{} is missing: delete the folder, and all of it is made anew", path.display())]
    Incomplete {
        /// Which file.
        path: PathBuf,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}

/// The material. Its secrets do not print.
#[derive(Clone, Debug)]
pub struct Development {
    /// Where everything lies.
    pub folder: PathBuf,
    /// The key of tenant [`TENANT`], without the tenant.
    pub api_key: SecretString,
    /// The operator's key.
    pub operator_key: SecretString,
    /// `id:secret`, as the configuration takes it.
    pub capability_key: SecretString,
    /// The authority's certificate: what clients trust.
    pub ca_file: PathBuf,
    /// The certificate for localhost and the loopback addresses.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl Development {
    /// Reads the material, and makes it first where there is none.
    ///
    /// # Errors
    /// [`DevelopmentError`] when it cannot be made or read, or is incomplete.
    pub fn ensure(data_dir: &Path, now: Timestamp) -> Result<Self, DevelopmentError> {
        let folder = data_dir.join("dev");
        if !folder.exists() {
            make(data_dir, &folder, now)?;
        }
        Self::read(folder)
    }

    fn read(folder: PathBuf) -> Result<Self, DevelopmentError> {
        let missing = ALL
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| !path.exists());
        if let Some(path) = missing {
            return Err(DevelopmentError::Incomplete { path });
        }
        let text = |name: &str| {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).map_err(files(&path))?;
            Ok::<_, DevelopmentError>(SecretString::from(text.trim()))
        };
        Ok(Self {
            api_key: text(API_KEY)?,
            operator_key: text(OPERATOR_KEY)?,
            capability_key: text(CAPABILITY_KEY)?,
            ca_file: folder.join(CA),
            cert_file: folder.join(CERT),
            key_file: folder.join(KEY),
            folder,
        })
    }
}

/// Makes everything beside the folder and moves it there whole: who finds the folder finds it
/// complete, also after a crash or beside another process that does the same.
fn make(data_dir: &Path, folder: &Path, now: Timestamp) -> Result<(), DevelopmentError> {
    let (ca, cert, key) = certificates(now)?;
    let contents = [
        (API_KEY, secret() + "\n"),
        (OPERATOR_KEY, secret() + "\n"),
        (CAPABILITY_KEY, format!("dev:{}\n", secret())),
        (CA, ca),
        (CERT, cert),
        (KEY, key),
    ];
    fs::create_dir_all(data_dir).map_err(files(data_dir))?;
    let beside = data_dir.join(format!(".dev-{}", secret()));
    DirBuilder::new()
        .mode(0o700)
        .create(&beside)
        .map_err(files(&beside))?;
    for (name, content) in contents {
        let path = beside.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(files(&path))?;
        file.write_all(content.as_bytes()).map_err(files(&path))?;
    }
    let moved = fs::rename(&beside, folder);
    if moved.is_err() {
        // Nothing depends on what is left of ours.
        let _ = fs::remove_dir_all(&beside);
    }
    match moved {
        Err(error) if !folder.exists() => Err(files(folder)(error)),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Makes an authority and one server certificate; returns authority, certificate and key as PEM.
fn certificates(now: Timestamp) -> Result<(String, String, String), rcgen::Error> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut authority = params(today, &[], "kling-relay development CA")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut server = params(today, &NAMES, "kling-relay development")?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let server = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), server.pem(), key.serialize_pem()))
}

fn params(today: Date, names: &[&str], common: &str) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    // The first of a month exists in every year; clocks may be a little off.
    let month = u8::try_from(today.month()).unwrap_or(1);
    params.not_before = date_time_ymd(i32::from(today.year()), month, 1);
    params.not_after = date_time_ymd(i32::from(today.year() + YEARS), month, 1);
    Ok(params)
}

/// Makes 256 random bits, as text that fits into headers and files.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn files(path: &Path) -> impl Fn(io::Error) -> DevelopmentError + use<> {
    let path = path.to_owned();
    move |source| DevelopmentError::Files {
        path: path.clone(),
        source,
    }
}
