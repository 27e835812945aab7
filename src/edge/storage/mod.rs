//! Object storage by URL: content-addressed keys, digest checked on the way in, size checked after.
//!
//! A local folder, S3, Google Cloud Storage and Azure Blob Storage. Which key a file gets is
//! decided by `decide::placement`; a key holds the digest of its content, so writing it twice
//! changes nothing.

mod open;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload,
};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use url::Url;

use crate::edge::fetch::sniff;
use crate::model::task::Asset;

pub use self::open::StorageSetupError;

/// Files above this are written in parts; also the smallest size of a part, bytes. Every provider
/// takes parts of this size.
const PART_BYTES: u64 = 8 << 20;

/// The largest number of parts that every provider takes.
const PARTS_MAX: u64 = 10_000;

/// First bytes that tell what a file is.
const HEAD_BYTES: u64 = 4_096;

/// A place for finished files.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// Stands before every key in the store; empty for a local folder.
    prefix: ObjectPath,
    /// What asset addresses begin with.
    base: Url,
    /// Whether the store keeps a media type with each file; a local folder cannot.
    keeps_media_type: bool,
}

/// What is known of a file before it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Size.
    pub bytes: u64,
    /// Of the whole content, 64 hexadecimal digits.
    pub sha256: &'a str,
    /// What it is.
    pub media_type: &'a str,
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Credentials, permissions or the bucket are wrong: a person has to change something, then it
    /// can be tried again.
    #[error("storage refuses {key}: check storage.url, storage.options and the permissions")]
    Refused {
        /// Of the file.
        key: String,
        /// What the store says.
        #[source]
        source: object_store::Error,
    },
    /// It may pass: try again later.
    #[error("storage is not available for {key}")]
    Unavailable {
        /// Of the file.
        key: String,
        /// What the store says.
        #[source]
        source: object_store::Error,
    },
    /// What was read from disk, or what the store has now, is not what was described: try again
    /// from the download on.
    #[error("{key} does not have the content that was checked")]
    Mismatch {
        /// Of the file.
        key: String,
    },
    /// The file to store cannot be read.
    #[error("the file for {key} cannot be read")]
    Read {
        /// Of the file.
        key: String,
        /// What the disk says.
        #[source]
        source: io::Error,
    },
}

impl fmt::Debug for Storage {
    // The store's own form would show its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.base)
    }
}

impl Storage {
    /// Stores a file under a key that holds its digest, and returns it as an asset.
    ///
    /// A file that is there already is left as it is.
    ///
    /// # Errors
    /// [`StorageError`]; nothing stands under the key then, or all of it.
    pub async fn put_file(
        &self,
        key: &str,
        file: &Path,
        described: Described<'_>,
    ) -> Result<Asset, StorageError> {
        // Some policies answer "forbidden" for what is not there, so only a clear yes counts.
        if !matches!(self.size(key).await, Ok(Some(bytes)) if bytes == described.bytes) {
            self.write(key, file, described).await?;
            if self.size(key).await? != Some(described.bytes) {
                return Err(mismatch(key));
            }
        }
        Ok(Asset {
            key: key.to_owned(),
            uri: self.uri(key),
            bytes: described.bytes,
            media_type: described.media_type.to_owned(),
            sha256: described.sha256.to_owned(),
        })
    }

    /// Returns the size of what stands under a key, bytes; `None` if nothing does.
    ///
    /// # Errors
    /// [`StorageError::Refused`] or [`StorageError::Unavailable`].
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let location = self.location(key)?;
        match self.store.head(&location).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(key, error)),
        }
    }

    /// Finds what is stored under a folder of keys that hold their digests, by place.
    ///
    /// # Errors
    /// [`StorageError::Refused`] or [`StorageError::Unavailable`].
    pub async fn stored(&self, folder: &str) -> Result<BTreeMap<u32, Asset>, StorageError> {
        let location = self.location(folder)?;
        let mut listed = self.store.list(Some(&location));
        let mut found = BTreeMap::new();
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|error| failed(folder, error))?;
            let Some((n, sha256, name)) = meta.location.filename().and_then(parse_name) else {
                continue;
            };
            let head = self
                .store
                .get_range(&meta.location, 0..HEAD_BYTES.min(meta.size));
            let head = head.await.map_err(|error| failed(folder, error))?;
            let key = format!("{folder}/{name}");
            let asset = Asset {
                uri: self.uri(&key),
                key,
                bytes: meta.size,
                media_type: sniff(&head).to_owned(),
                sha256,
            };
            found.insert(n, asset);
        }
        Ok(found)
    }

    /// Returns the address of a key.
    #[must_use]
    pub fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.base.as_str().trim_end_matches('/'))
    }

    fn location(&self, key: &str) -> Result<ObjectPath, StorageError> {
        let whole = if self.prefix.is_root() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.prefix)
        };
        ObjectPath::parse(whole).map_err(|error| failed(key, error.into()))
    }

    async fn write(
        &self,
        key: &str,
        file: &Path,
        described: Described<'_>,
    ) -> Result<(), StorageError> {
        let location = self.location(key)?;
        let reader = File::open(file).await.map_err(|error| read(key, error))?;
        let mut reader = CheckedReader::new(key, reader, described);
        let mut attributes = Attributes::new();
        if self.keeps_media_type {
            let media_type = described.media_type.to_owned().into();
            attributes.insert(Attribute::ContentType, media_type);
        }
        if described.bytes <= PART_BYTES {
            let content = reader.part(PART_BYTES).await?;
            reader.check()?;
            let options = PutOptions::from(attributes);
            let put = self.store.put_opts(&location, content.into(), options);
            put.await.map_err(|error| failed(key, error))?;
            return Ok(());
        }
        let options = PutMultipartOptions::from(attributes);
        let upload = self.store.put_multipart_opts(&location, options).await;
        let mut upload = upload.map_err(|error| failed(key, error))?;
        let written = write_parts(key, &mut *upload, &mut reader).await;
        if written.is_err() {
            // Nobody sees unfinished parts, and providers can clear them away by a rule; the first
            // error is the one to report.
            let _ = upload.abort().await;
        }
        written
    }
}

/// Reads `<n>-<sha256>.<ext>`.
fn parse_name(name: &str) -> Option<(u32, String, String)> {
    let (n, rest) = name.split_once('-')?;
    let (sha256, _) = rest.split_once('.')?;
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then_some(())?;
    Some((n.parse().ok()?, sha256.to_owned(), name.to_owned()))
}

/// Writes one part after the other, and finishes only if the whole was what had been checked.
async fn write_parts(
    key: &str,
    upload: &mut dyn MultipartUpload,
    reader: &mut CheckedReader<'_>,
) -> Result<(), StorageError> {
    let part_bytes = PART_BYTES.max(reader.described.bytes.div_ceil(PARTS_MAX));
    loop {
        let part = reader.part(part_bytes).await?;
        if part.is_empty() {
            break;
        }
        let put = upload.put_part(PutPayload::from(part));
        put.await.map_err(|error| failed(key, error))?;
    }
    reader.check()?;
    let done = upload.complete().await;
    done.map(|_| ()).map_err(|error| failed(key, error))
}

/// Reads a file and tells at its end whether it was the one described.
struct CheckedReader<'a> {
    key: &'a str,
    file: File,
    described: Described<'a>,
    hash: Sha256,
    bytes: u64,
}

impl<'a> CheckedReader<'a> {
    fn new(key: &'a str, file: File, described: Described<'a>) -> Self {
        Self {
            key,
            file,
            described,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Reads up to that many bytes; nothing at the end.
    async fn part(&mut self, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let mut part = Vec::new();
        let mut limited = (&mut self.file).take(bytes_max);
        let got = limited.read_to_end(&mut part).await;
        self.bytes += got.map_err(|error| read(self.key, error))? as u64;
        self.hash.update(&part);
        Ok(part)
    }

    fn check(&mut self) -> Result<(), StorageError> {
        let sha256 = hex::encode(std::mem::take(&mut self.hash).finalize());
        if self.bytes == self.described.bytes && sha256 == self.described.sha256 {
            Ok(())
        } else {
            Err(mismatch(self.key))
        }
    }
}

fn mismatch(key: &str) -> StorageError {
    StorageError::Mismatch {
        key: key.to_owned(),
    }
}

fn read(key: &str, source: io::Error) -> StorageError {
    StorageError::Read {
        key: key.to_owned(),
        source,
    }
}

fn failed(key: &str, source: object_store::Error) -> StorageError {
    use object_store::Error;
    let key = key.to_owned();
    match source {
        // Of a write: the bucket is not there.
        Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => StorageError::Refused { key, source },
        _ => StorageError::Unavailable { key, source },
    }
}
