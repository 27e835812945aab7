//! Opens the store that a URL names, with the options of the configuration over the provider's own
//! environment variables.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Storage;
use crate::config;

/// Why storage cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageSetupError {
    /// Not one of the four kinds.
    #[error("storage.url begins with {0}: expected file://, s3://, gs:// or az://")]
    Scheme(String),
    /// It holds more than a place.
    #[error(
        "storage.url must be a plain address without user name, password, query or fragment: it \
         stands in every event; credentials belong in storage.options"
    )]
    NotPlain,
    /// A folder that cannot be made.
    #[error("the folder of storage.url cannot be made")]
    Folder(#[source] io::Error),
    /// A `file://` URL that is no absolute path.
    #[error("storage.url must hold an absolute path: file:///…")]
    NotAPath,
    /// An option that the store does not have; a typing mistake must not go unnoticed.
    #[error("storage.options.{0} is not an option of {1}")]
    UnknownOption(String, &'static str),
    /// `storage.ca_file` cannot be read.
    #[error("storage.ca_file cannot be read")]
    ReadCa(#[source] io::Error),
    /// The store does not accept the settings.
    #[error("storage.url or storage.options are not accepted")]
    Build(#[source] object_store::Error),
}

impl Storage {
    /// Opens the storage of the configuration; without a URL, the folder `<data_dir>/assets`.
    ///
    /// Only a local folder is touched; whether a bucket can be written shows at the first write.
    ///
    /// # Errors
    /// [`StorageSetupError`] when the settings cannot be used.
    pub fn open(config: &config::Storage, data_dir: &Path) -> Result<Self, StorageSetupError> {
        let Some(url) = &config.url else {
            return local(&data_dir.join("assets"), &config.options);
        };
        let has_secrets = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if has_secrets {
            return Err(StorageSetupError::NotPlain);
        }
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| StorageSetupError::NotAPath)?;
                return local(&folder, &config.options);
            }
            "s3" => Arc::new(s3(url, config)?),
            "gs" => Arc::new(gcs(url, config)?),
            "az" => Arc::new(azure(url, config)?),
            other => return Err(StorageSetupError::Scheme(other.to_owned())),
        };
        let prefix = ObjectPath::from_url_path(url.path());
        Ok(Self {
            store,
            prefix: prefix.map_err(|error| StorageSetupError::Build(error.into()))?,
            base: url.clone(),
            keeps_media_type: true,
        })
    }
}

fn local(
    folder: &Path,
    options: &BTreeMap<String, SecretString>,
) -> Result<Storage, StorageSetupError> {
    if let Some(name) = options.keys().next() {
        return Err(StorageSetupError::UnknownOption(
            name.clone(),
            "a local folder",
        ));
    }
    let folder = make_folder(folder).map_err(StorageSetupError::Folder)?;
    let base = Url::from_directory_path(&folder).map_err(|()| StorageSetupError::NotAPath)?;
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(StorageSetupError::Build)?;
    Ok(Storage {
        // The event that says "stored" survives a power cut, so the file must too.
        store: Arc::new(store.with_fsync(true)),
        prefix: ObjectPath::default(),
        base,
        keeps_media_type: false,
    })
}

fn make_folder(folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    folder.canonicalize()
}

macro_rules! opener {
    ($name:ident, $builder:ty, $key:ty, $called:literal) => {
        fn $name(
            url: &Url,
            config: &config::Storage,
        ) -> Result<impl ObjectStore, StorageSetupError> {
            let mut builder = <$builder>::from_env()
                .with_url(url.as_str())
                .with_retry(retry(config))
                .with_http_connector(connector(config)?);
            for (name, value) in &config.options {
                let key = <$key>::from_str(&name.to_ascii_lowercase());
                let key =
                    key.map_err(|_| StorageSetupError::UnknownOption(name.clone(), $called))?;
                builder = builder.with_config(key, value.expose_secret());
            }
            builder.build().map_err(StorageSetupError::Build)
        }
    };
}

opener!(s3, AmazonS3Builder, AmazonS3ConfigKey, "S3");
opener!(
    gcs,
    GoogleCloudStorageBuilder,
    GoogleConfigKey,
    "Google Cloud Storage"
);
opener!(
    azure,
    MicrosoftAzureBuilder,
    AzureConfigKey,
    "Azure Blob Storage"
);

fn retry(config: &config::Storage) -> RetryConfig {
    RetryConfig {
        max_retries: usize::try_from(config.attempts_max).unwrap_or(usize::MAX),
        retry_timeout: config.total_timeout,
        ..RetryConfig::default()
    }
}

fn connector(config: &config::Storage) -> Result<TrustingConnector, StorageSetupError> {
    let roots = match &config.ca_file {
        None => Vec::new(),
        Some(file) => {
            let pem = std::fs::read(file).map_err(StorageSetupError::ReadCa)?;
            Certificate::from_pem_bundle(&pem).map_err(StorageSetupError::Build)?
        }
    };
    Ok(TrustingConnector { roots })
}

/// Adds the configured trust roots to whatever client options the environment and options ask for.
#[derive(Debug)]
struct TrustingConnector {
    roots: Vec<Certificate>,
}

impl HttpConnector for TrustingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let add = |options: ClientOptions, root: &Certificate| {
            options.with_root_certificate(root.clone())
        };
        let options = self.roots.iter().fold(options.clone(), add);
        ReqwestConnector::default().connect(&options)
    }
}
