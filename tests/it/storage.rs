//! One conformance suite for every store: a local folder, and S3 where a stand-in can be had.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kling_relay::config::Storage as Config;
use kling_relay::edge::storage::{Described, Storage, StorageError, StorageSetupError};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{Attribute, ObjectStore, ObjectStoreExt};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use url::Url;

struct File {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

impl File {
    fn write(folder: &TempDir, name: &str, bytes: usize) -> Self {
        let content: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
        let path = folder.path().join(name);
        std::fs::write(&path, &content).unwrap();
        Self {
            path,
            bytes: bytes as u64,
            sha256: hex::encode(Sha256::digest(&content)),
        }
    }

    fn key(&self) -> String {
        format!("acme/acme_00000000000000000000000001/1-{}.mp4", self.sha256)
    }

    fn described(&self) -> Described<'_> {
        Described {
            bytes: self.bytes,
            sha256: &self.sha256,
            media_type: "video/mp4",
        }
    }
}

/// What every store must do.
async fn conforms(storage: &Storage) {
    let folder = tempfile::tempdir().unwrap();
    // One put, exactly one part's worth, several parts with a last one that is short.
    for (name, bytes) in [("small", 1), ("edge", 8 << 20), ("large", (17 << 20) + 5)] {
        let file = File::write(&folder, name, bytes);
        let key = file.key();
        assert_eq!(storage.size(&key).await.unwrap(), None, "{name}");
        let asset = storage
            .put_file(&key, &file.path, file.described())
            .await
            .unwrap();
        assert_eq!(asset.key, key);
        assert_eq!(asset.uri, storage.uri(&key));
        assert!(asset.uri.ends_with(&format!("/{key}")), "{}", asset.uri);
        assert_eq!(
            (asset.bytes, asset.sha256.as_str()),
            (file.bytes, file.sha256.as_str())
        );
        assert_eq!(asset.media_type, "video/mp4");
        assert_eq!(
            storage.size(&key).await.unwrap(),
            Some(file.bytes),
            "{name}"
        );
        let again = storage
            .put_file(&key, &file.path, file.described())
            .await
            .unwrap();
        assert_eq!(again, asset, "writing twice changes nothing");
    }
    // A file that is not what was checked is not stored, in one piece or in parts.
    for (name, bytes) in [("small-wrong", 100), ("large-wrong", 9 << 20)] {
        let file = File::write(&folder, name, bytes);
        let other = File::write(&folder, "other", bytes + 1);
        let key = file.key();
        let wrong_digest = Described {
            sha256: &other.sha256,
            ..file.described()
        };
        let error = storage
            .put_file(&key, &file.path, wrong_digest)
            .await
            .unwrap_err();
        assert!(matches!(error, StorageError::Mismatch { .. }), "{error:?}");
        let wrong_size = Described {
            bytes: file.bytes + 1,
            ..file.described()
        };
        let error = storage
            .put_file(&key, &file.path, wrong_size)
            .await
            .unwrap_err();
        assert!(matches!(error, StorageError::Mismatch { .. }), "{error:?}");
        assert_eq!(storage.size(&key).await.unwrap(), None, "{name}");
    }
    let file = File::write(&folder, "gone", 10);
    std::fs::remove_file(&file.path).unwrap();
    let error = storage
        .put_file(&file.key(), &file.path, file.described())
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::Read { .. }), "{error:?}");
}

fn config(url: Option<&str>, options: &[(&str, &str)]) -> Config {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Config {
        url: url.map(|url| Url::parse(url).unwrap()),
        options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretString::from(*value)))
            .collect(),
        attempts_max: 1,
        total_timeout: Duration::from_secs(10),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(&config(None, &[]), folder.path()).unwrap();
    conforms(&storage).await;
    let assets = folder.path().canonicalize().unwrap().join("assets");
    let uri = Url::parse(&storage.uri("a/b/1-c.mp4")).unwrap();
    assert_eq!(uri.to_file_path().unwrap(), assets.join("a/b/1-c.mp4"));
    assert_no_leftovers(&assets);
}

/// Refused uploads leave no unfinished files behind.
fn assert_no_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_leftovers(&path);
        } else {
            assert_eq!(
                path.extension().and_then(|e| e.to_str()),
                Some("mp4"),
                "{path:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_folder_by_url_may_have_blanks() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("with blank");
    let url = Url::from_directory_path(&place).unwrap();
    let storage = Storage::open(&config(Some(url.as_str()), &[]), folder.path()).unwrap();
    let file = File::write(&folder, "x", 10);
    let asset = storage
        .put_file(&file.key(), &file.path, file.described())
        .await
        .unwrap();
    let stored = Url::parse(&asset.uri).unwrap().to_file_path().unwrap();
    assert_eq!(std::fs::read(stored).unwrap().len(), 10);
}

#[track_caller]
fn opens(url: &str, options: &[(&str, &str)]) -> Storage {
    Storage::open(&config(Some(url), options), Path::new("unused")).unwrap()
}

#[track_caller]
fn refused(url: &str, options: &[(&str, &str)]) -> StorageSetupError {
    Storage::open(&config(Some(url), options), Path::new("unused")).unwrap_err()
}

#[test]
fn every_provider_opens_by_url_and_options() {
    let s3 = opens(
        "s3://bucket/some/prefix",
        &[
            ("region", "r"),
            ("access_key_id", "SECRET"),
            ("secret_access_key", "SECRET"),
        ],
    );
    assert_eq!(s3.uri("k"), "s3://bucket/some/prefix/k");
    assert!(!format!("{s3:?}").contains("SECRET"));
    let azure = opens(
        "az://container/p/",
        &[("account_name", "a"), ("account_key", "c2VjcmV0")],
    );
    assert_eq!(azure.uri("k"), "az://container/p/k");
    let key = r#"{"type":"service_account","gcs_base_url":"https://localhost","disable_oauth":true,
        "client_email":"a@b","private_key":"","private_key_id":""}"#;
    let gcs = opens("gs://bucket", &[("service_account_key", key)]);
    assert_eq!(gcs.uri("k"), "gs://bucket/k");
}

#[test]
fn what_cannot_be_meant_is_refused_at_start() {
    let unknown = refused("s3://bucket", &[("regoin", "x")]);
    assert!(
        unknown.to_string().contains("storage.options.regoin"),
        "{unknown}"
    );
    assert!(matches!(
        refused("ftp://host/x", &[]),
        StorageSetupError::Scheme(_)
    ));
    assert!(matches!(
        refused("https://host/x", &[]),
        StorageSetupError::Scheme(_)
    ));
    assert!(matches!(
        refused("s3://key:secret@bucket/x", &[]),
        StorageSetupError::NotPlain
    ));
    assert!(matches!(
        refused("az://container/x?sig=s", &[]),
        StorageSetupError::NotPlain
    ));
    assert!(matches!(
        refused("file://host/x", &[]),
        StorageSetupError::NotAPath
    ));
    let unknown = refused("file:///tmp", &[("region", "x")]);
    assert!(matches!(unknown, StorageSetupError::UnknownOption(..)));
}

#[tokio::test]
async fn a_store_out_of_reach_is_unavailable_and_tells_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::write(&folder, "x", 10);
    // Bound and never listening: connections are refused.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let storage = s3_at(address, "bucket");
    let error = storage
        .put_file(&file.key(), &file.path, file.described())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::Unavailable { .. }),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
}

fn s3_at(address: SocketAddr, bucket: &str) -> Storage {
    let endpoint = format!("http://{address}");
    let options = [
        ("endpoint", endpoint.as_str()),
        ("allow_http", "true"),
        ("region", "us-east-1"),
        ("access_key_id", "SECRET"),
        ("secret_access_key", "SECRET"),
    ];
    opens(&format!("s3://{bucket}/pre/fix"), &options)
}

#[tokio::test]
async fn s3_conforms() {
    let Some(server) = S3Server::start().await else {
        eprintln!("skipped: no local S3 server (python3 with venv and pip brings one)");
        return;
    };
    conforms(&s3_at(server.address, "bucket")).await;
    let folder = tempfile::tempdir().unwrap();
    for bytes in [10, 9 << 20] {
        let file = File::write(&folder, "x", bytes);
        let storage = s3_at(server.address, "bucket");
        storage
            .put_file(&file.key(), &file.path, file.described())
            .await
            .unwrap();
        let location = ObjectPath::from(format!("pre/fix/{}", file.key()));
        let got = server.reader().get(&location).await.unwrap();
        let media_type = got.attributes.get(&Attribute::ContentType).unwrap();
        assert_eq!(media_type.as_ref(), "video/mp4");
        let stored = got.bytes().await.unwrap();
        assert_eq!(hex::encode(Sha256::digest(&stored)), file.sha256);
        let missing = s3_at(server.address, "no-such-bucket");
        let key = file.key();
        let put = missing.put_file(&key, &file.path, file.described());
        let error = put.await.unwrap_err();
        assert!(matches!(error, StorageError::Refused { .. }), "{error:?}");
    }
}

/// A stand-in for S3: `moto`, in a virtual environment under `.local/` that is made on first use.
struct S3Server {
    address: SocketAddr,
    _child: Child,
}

impl S3Server {
    /// A client that is not the code under test.
    fn reader(&self) -> impl ObjectStore {
        AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", self.address))
            .with_allow_http(true)
            .with_bucket_name("bucket")
            .with_access_key_id("x")
            .with_secret_access_key("x")
            .build()
            .unwrap()
    }

    async fn start() -> Option<Self> {
        let program = moto().await?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let address = free.local_addr().ok()?;
        drop(free);
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let server = Self {
            address,
            _child: child,
        };
        let client = reqwest::Client::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let bucket = format!("http://{address}/bucket");
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !matches!(client.put(&bucket).send().await, Ok(made) if made.status().is_success()) {
            assert!(Instant::now() < deadline, "the S3 server did not come up");
            tick.tick().await;
        }
        Some(server)
    }
}

async fn moto() -> Option<PathBuf> {
    const PACKAGES: [&str; 3] = ["moto[s3]==5.2.5", "flask", "flask-cors"];
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/moto");
    let program = venv.join("bin/moto_server");
    let ready = venv.join("ready");
    if !ready.exists() {
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).await
            && run(Command::new(venv.join("bin/pip"))
                .args(["install", "-q"])
                .args(PACKAGES))
            .await;
        if !made {
            return None;
        }
        std::fs::write(&ready, b"").ok()?;
    }
    Some(program)
}

async fn run(command: &mut Command) -> bool {
    let command = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let done = tokio::time::timeout(Duration::from_secs(180), command.status()).await;
    matches!(done, Ok(Ok(status)) if status.success())
}
