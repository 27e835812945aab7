//! The real program with every role, on a data directory of its own: what it answers to good
//! callbacks, and how much memory it has.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kling_relay::config::Config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::CapabilityKeys;
use kling_relay::model::ids::{TaskId, Tenant};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use standardwebhooks::Webhook;
use url::Url;

use crate::broker::{free_port, program, until};
use crate::process::Program;
use crate::world::{self, SECRET, TENANTS};

const DEADLINE: Duration = Duration::from_secs(60);

/// A running program; it is stopped with the value.
pub(crate) struct Victim {
    program: Program,
    ca: PathBuf,
    _data: tempfile::TempDir,
}

/// How long good callbacks took, sorted.
pub(crate) struct Waits(Vec<Duration>);

impl Waits {
    /// The wait that so many of a hundred do not exceed.
    pub(crate) fn percentile(&self, of_hundred: usize) -> Duration {
        self.0[(self.0.len() - 1) * of_hundred / 100]
    }
}

impl Victim {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        // In memory where there is such a place: the broker's disk is not what is measured.
        let memory = Path::new("/dev/shm");
        let data = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let data = data.expect("a temporary directory");
        let (sim, mut config) = world::stage(data.path(), None).await;
        // No task is ever created, so nobody misses the platform.
        sim.stop().await;
        config.nats.server_binary = Some(program().to_owned());
        config.nats.listen = ([127, 0, 0, 1], free_port()).into();
        config.api.listen = ([127, 0, 0, 1], free_port()).into();
        config.admin.listen = ([127, 0, 0, 1], free_port()).into();
        change(&mut config);
        let ca = config.kling.ca_file.clone().expect("it is set");
        let mut program = Program::prepare(config);
        program.start();
        let started = Self {
            program,
            ca,
            _data: data,
        };
        until("the program is ready", DEADLINE, async || {
            started.is_ready().await
        })
        .await;
        started
    }

    pub(crate) fn config(&self) -> &Config {
        &self.program.config
    }

    async fn is_ready(&self) -> bool {
        let url = format!("http://{}/readyz", self.config().admin.listen);
        let answer = world::client().get(url).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// What the program has in memory, bytes, as the system counts it: now, and at its most.
    pub(crate) fn resident_bytes(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.program.pid());
        let status = std::fs::read_to_string(path).expect("the program runs");
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.expect("the system counts it") * 1_024
        };
        (figure("VmRSS:"), figure("VmHWM:"))
    }

    /// How a stranger's client is set up: it trusts the program's authority, and speaks this.
    pub(crate) fn tls(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&self.ca).expect("it is PEM");
        roots.add(ca).expect("it is an authority");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    /// The path of a callback of a task that nobody knows.
    pub(crate) fn path(&self, cause: &str) -> String {
        let minted = self.mint(cause);
        minted.replace(self.public_url().as_str().trim_end_matches('/'), "")
    }

    fn public_url(&self) -> &Url {
        let url = &self.config().receiver.public_url;
        url.as_ref().expect("it is set")
    }

    fn mint(&self, cause: &str) -> String {
        let keys = CapabilityKeys::parse(&self.config().receiver.capability_keys);
        let tenant = Tenant::parse(TENANTS[0]).expect("a tenant's name");
        let task = TaskId::derived(&tenant, "hostile", cause);
        keys.expect("good keys")
            .mint(self.public_url(), &task)
            .expose()
            .to_owned()
    }

    /// Posts so many good callbacks, each on a connection of its own and so many a second, and
    /// measures from the first byte of the connection to the last of the answer.
    pub(crate) async fn good_callbacks(&self, round: &str, count: u32, a_second: u32) -> Waits {
        let pem = std::fs::read(&self.ca).expect("the authority's certificate is there");
        let ca = reqwest::Certificate::from_pem(&pem).expect("it is PEM");
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(DEADLINE);
        let client = client.build().expect("a client can be built");
        let (clock, started) = (Clock::system(), Instant::now());
        let posts = (0..count).map(|n| {
            let (clock, client, cause) = (&clock, &client, format!("{round}-{n}"));
            async move {
                let due = Duration::from_secs(1) * n / a_second;
                clock.sleep(due.saturating_sub(started.elapsed())).await;
                let sent = Instant::now();
                let answer = self.good_callback(client, &cause).await;
                assert_eq!(answer, Ok(200), "{cause}");
                sent.elapsed()
            }
        });
        let posts = futures::stream::iter(posts).buffer_unordered(64);
        let mut waits: Vec<Duration> = posts.collect().await;
        waits.sort();
        Waits(waits)
    }

    async fn good_callback(&self, client: &reqwest::Client, cause: &str) -> Result<u16, String> {
        let now = Clock::system().now().as_second();
        let body = json!({ "id": cause, "status": "processing", "message": "x".repeat(1_000) });
        let body = body.to_string();
        let hook = Webhook::new(SECRET).expect("a good secret");
        let signature = hook.sign(cause, now, body.as_bytes()).expect("text");
        let request = client
            .post(self.mint(cause))
            .header("webhook-id", cause)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body);
        // A connection that lost its place to others is made again, as Kling's client does.
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        answer.bytes().await.map_err(|error| error.to_string())?;
        Ok(status)
    }
}
