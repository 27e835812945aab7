//! The downloader's edge against a hostile server: nothing but what was asked for gets through.

pub(crate) mod hostile;
mod addresses;
mod content;
mod resume;
mod spool;

use std::error::Error;
use std::time::Duration;

use kling_relay::config::Storage as Config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::fetch::{
    BadContent, FetchError, Fetched, Fetcher, Interruption, Refusal, Spool,
};
use kling_relay::model::observation::SignedUrl;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::hostile::{Hostile, Reply};

const VIDEO: &[&str] = &["video/mp4"];
const PATH: &str = "/SECRET-PATH/v.mp4?Expires=1&Signature=SECRET-QUERY";

/// A file that begins like an MP4.
fn mp4(bytes: usize) -> Vec<u8> {
    let mut content = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41".to_vec();
    content.extend((content.len()..bytes).map(|i| (i * 31 % 251) as u8));
    content
}

struct World {
    folder: TempDir,
    server: Hostile,
    config: Config,
    spool: Spool,
}

impl World {
    async fn new(replies: Vec<Reply>) -> Self {
        // Another test of the same process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let server = Hostile::start(folder.path(), replies).await;
        let config = Config {
            ca_file: Some(server.ca_file.clone()),
            allowed_hosts: vec!["localhost".to_owned()],
            allow_private: true,
            max_bytes: 1 << 20,
            spool_max_bytes: 2 << 20,
            idle_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(20),
            backoff_base: Duration::from_millis(1),
            backoff_cap: Duration::from_millis(2),
            ..Config::default()
        };
        let spool = Spool::open(&folder.path().join("spool"), config.spool_max_bytes).unwrap();
        Self {
            folder,
            server,
            config,
            spool,
        }
    }

    async fn fetch_url(&self, url: &str) -> Result<Fetched, FetchError> {
        let fetcher = Fetcher::new(&self.config, self.spool.clone(), Clock::system()).unwrap();
        let result = fetcher.fetch(&SignedUrl(url.to_owned()), VIDEO).await;
        if let Err(error) = &result {
            self.check_failure(error);
        }
        result
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.fetch_url(&self.server.url(PATH)).await
    }

    /// A failure leaves no file and no room taken, and tells no secret.
    fn check_failure(&self, error: &FetchError) {
        assert_eq!(self.spool.free_bytes(), self.config.spool_max_bytes);
        let left = std::fs::read_dir(self.spool.folder()).unwrap().count();
        assert_eq!(left, 1, "only the lock may be left");
        let mut shown = format!("{error:?}");
        let mut next: Option<&dyn Error> = Some(error);
        while let Some(error) = next {
            shown.push_str(&error.to_string());
            next = error.source();
        }
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[track_caller]
    fn check_file(&self, fetched: &Fetched, content: &[u8]) {
        assert_eq!(fetched.bytes, content.len() as u64);
        assert_eq!(fetched.sha256, hex::encode(Sha256::digest(content)));
        assert_eq!(fetched.media_type, "video/mp4");
        assert_eq!(std::fs::read(fetched.file.path()).unwrap(), content);
    }
}

#[track_caller]
fn check_refused(result: Result<Fetched, FetchError>, expected: Refusal) {
    match result {
        Err(FetchError::Refused { why, .. }) => assert_eq!(why, expected),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

#[track_caller]
fn check_bad(result: Result<Fetched, FetchError>, expected: BadContent) {
    match result {
        Err(FetchError::BadContent { why, .. }) => assert_eq!(why, expected),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

#[track_caller]
fn interruption(result: Result<Fetched, FetchError>) -> (Option<Duration>, Interruption) {
    match result {
        Err(FetchError::Retry { after, why, .. }) => (after, why),
        other => panic!("expected an interruption, got {other:?}"),
    }
}
