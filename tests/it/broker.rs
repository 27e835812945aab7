//! A real nats-server per test, on free ports with its own store: one, or a cluster of three.
//!
//! The program is `NATS_SERVER`, or the first new enough one of `PATH` and `.local/bin` (which
//! `deploy/nats/install.sh` fills).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::{Broker, Credentials, Endpoint, topology, version_is_enough};
use kling_relay::edge::port::Port;
use serde_json::Value;

/// Waits until a condition holds; the only way in which a test waits.
///
/// # Panics
/// When it does not hold within the time.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, within: Duration, mut holds: F) {
    let deadline = Instant::now() + within;
    let clock = Clock::system();
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        clock.sleep(Duration::from_millis(10)).await;
    }
}

/// Shows how the log of a program ends, in a test that fails.
#[expect(
    clippy::print_stderr,
    reason = "what a program said explains a failure"
)]
pub(crate) fn last_words(log: &Path) {
    if std::thread::panicking() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(40).collect();
        eprintln!("--- {} ---", log.display());
        lines.iter().rev().for_each(|line| eprintln!("{line}"));
    }
}

/// Returns the nats-server program.
///
/// # Panics
/// When there is none that is new enough.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/bin/nats-server");
        named
            .into_iter()
            .chain(on_path)
            .chain([installed])
            .find(|candidate| is_enough(candidate))
            .expect("no nats-server 2.15 or newer: run deploy/nats/install.sh")
    })
}

fn is_enough(candidate: &Path) -> bool {
    let Ok(output) = Command::new(candidate).arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .last()
        .is_some_and(version_is_enough)
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(name: &str, pid: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Lets no file of a process grow beyond a few KiB, as a full disk does; or frees it again.
pub(crate) fn limit_files(pid: u32, limited: bool) {
    let soft = if limited { "16384" } else { "unlimited" };
    let limit = format!("--fsize={soft}:unlimited");
    let done = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status();
    assert!(done.expect("prlimit is part of util-linux").success());
}

/// Returns a port that is free and that nobody is given by chance: below the range from which the
/// system picks, each once.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs of the tests at once begin far from one another.
    let start = std::process::id().wrapping_mul(97) % 12_000;
    let start = u16::try_from(start).expect("a small number");
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        // Bound and not listening: a program that is started at this moment has our sockets open
        // until it runs, and a listening one would keep the port from its user.
        if Port::keep(([127, 0, 0, 1], port).into()).is_ok() {
            return port;
        }
    }
}

/// One server under test. Dropped, it is killed and its store removed.
pub(crate) struct Node {
    pub(crate) port: u16,
    name: String,
    sync: String,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Node {
    /// Starts a single server and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::single("always")
    }

    /// Starts one that waits for the disk so often: `always`, or a time.
    pub(crate) fn single(sync: &str) -> Self {
        let mut node = Self::prepare("single", free_port(), sync, "");
        node.restart();
        node.wait_ready();
        node
    }

    /// The same as by default with more in its configuration.
    pub(crate) fn start_with(extra: &str) -> Self {
        let mut node = Self::prepare("single", free_port(), "always", extra);
        node.restart();
        node.wait_ready();
        node
    }

    fn prepare(name: &str, port: u16, sync: &str, extra: &str) -> Self {
        let node = Self {
            port,
            name: name.to_owned(),
            sync: sync.to_owned(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            child: None,
        };
        node.configure(extra);
        node
    }

    /// Writes the configuration with this at its end.
    fn configure(&self, extra: &str) {
        let (name, port, store) = (&self.name, self.port, self.store());
        let sync = &self.sync;
        let text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nmax_payload: 1MB\n\
             jetstream {{ store_dir: \"{}\", sync_interval: \"{sync}\", max_file_store: 4GB, \
             limits {{ batch {{ max_inflight_per_stream: 50, timeout: \"5s\" }} }} }}\n{extra}\n",
            store.display()
        );
        std::fs::write(self.dir.path().join("server.conf"), text).expect("a writable directory");
    }

    /// Makes the running server read a configuration that ends differently.
    pub(crate) fn reload(&self, extra: &str) {
        self.configure(extra);
        signal("-HUP", self.pid());
    }

    /// Freezes the server: it keeps its connections and answers nobody.
    pub(crate) fn pause(&self) {
        signal("-STOP", self.pid());
    }

    pub(crate) fn resume(&self) {
        signal("-CONT", self.pid());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Lets no file of the server grow any more, as a full disk does; or frees it again.
    pub(crate) fn limit_files(&self, limited: bool) {
        limit_files(self.pid(), limited);
    }

    /// Starts the server on the store that it has.
    pub(crate) fn restart(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("server.log"))
            .expect("a writable directory");
        let child = Command::new(program())
            .arg("-c")
            .arg(self.dir.path().join("server.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
    }

    /// Waits until the server takes connections.
    pub(crate) fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server is not ready");
            std::thread::yield_now();
        }
    }

    /// Kills the server as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be awaited");
        }
    }

    /// Returns where JetStream keeps its files.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Returns where to connect.
    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(&format!("nats://127.0.0.1:{}", self.port))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        last_words(&self.dir.path().join("server.log"));
        self.kill();
    }
}

/// A cluster of three.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    /// Starts three servers that know one another.
    pub(crate) fn start() -> Self {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        Self::start_over(&routes, |_, to| routes[to])
    }

    /// Starts three servers that listen for one another on these ports, and are reached from one
    /// another by what `way` says: from whom, to whom.
    pub(crate) fn start_over(listen: &[u16], way: impl Fn(usize, usize) -> u16) -> Self {
        let nodes = listen.iter().enumerate().map(|(from, route)| {
            let others = (0..listen.len()).filter(|to| *to != from);
            let routes: Vec<String> = others
                .map(|to| format!("\"nats://127.0.0.1:{}\"", way(from, to)))
                .collect();
            // What they tell one another leads nowhere: only the ways that we gave are used.
            let extra = format!(
                "cluster {{ name: under-test, listen: \"127.0.0.1:{route}\", \
                 advertise: \"127.0.0.1:1\", no_advertise: true, routes: [{}] }}",
                routes.join(", ")
            );
            let mut node = Node::prepare(&format!("node-{from}"), free_port(), "always", &extra);
            node.restart();
            node
        });
        let nodes: Vec<Node> = nodes.collect();
        nodes.iter().for_each(Node::wait_ready);
        Self { nodes }
    }

    /// Returns where to connect, whoever lives.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let urls = self
            .nodes
            .iter()
            .map(|node| format!("nats://127.0.0.1:{}", node.port));
        endpoint(&urls.collect::<Vec<_>>().join(","))
    }

    /// Returns the place of the node that leads a stream.
    pub(crate) async fn leader(&self, broker: &Broker, stream: &str) -> Option<usize> {
        let info = api(broker, &format!("STREAM.INFO.{stream}")).await?;
        let leader = info["cluster"]["leader"].as_str()?;
        self.nodes.iter().position(|node| node.name == leader)
    }
}

/// Asks a stream's leader to hand over.
pub(crate) async fn step_down(broker: &Broker, stream: &str) {
    api(broker, &format!("STREAM.LEADER.STEPDOWN.{stream}")).await;
}

/// Calls the broker's management interface.
pub(crate) async fn api(broker: &Broker, call: &str) -> Option<Value> {
    api_within(broker, call, Duration::from_secs(2)).await
}

async fn api_within(broker: &Broker, call: &str, within: Duration) -> Option<Value> {
    let asked = broker
        .client()
        .request(format!("$JS.API.{call}"), "".into());
    let answer = tokio::time::timeout(within, asked).await;
    let answer: Value = serde_json::from_slice(&answer.ok()?.ok()?.payload).ok()?;
    answer.get("error").is_none().then_some(answer)
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.to_owned(),
        credentials: Credentials::None,
    }
}

/// Returns a configuration with small streams.
pub(crate) fn config(replicas: usize) -> config::Nats {
    config::Nats {
        replicas,
        log_max_bytes: 512 << 20,
        callbacks_max_bytes: 64 << 20,
        dead_max_bytes: 64 << 20,
        replay_max_bytes: 64 << 20,
        ..config::Nats::default()
    }
}

/// Connects as a process of its own would, and opens the log on an ensured topology.
pub(crate) async fn open(endpoint: &Endpoint, nats: &config::Nats) -> (Broker, Log) {
    open_with(endpoint, nats, Clock::system()).await
}

/// The same with a clock that the test sets.
pub(crate) async fn open_with(
    endpoint: &Endpoint,
    nats: &config::Nats,
    clock: Clock,
) -> (Broker, Log) {
    let broker = connect(endpoint, nats).await;
    let runner = config::Runner::default();
    // A new cluster has no leader for a moment, and does not answer then.
    until(
        "the broker manages streams",
        Duration::from_secs(60),
        async || {
            api_within(&broker, "STREAM.NAMES", Duration::from_millis(300))
                .await
                .is_some()
        },
    )
    .await;
    until(
        "the streams are there",
        Duration::from_secs(60),
        async || match topology::ensure(&broker, nats, &runner).await {
            Ok(()) => true,
            Err(topology::TopologyError::Differs { .. }) => panic!("another topology"),
            Err(_) => false,
        },
    )
    .await;
    let retention = config::Retention::default();
    let log = Log::new(&broker, clock, "test", nats, &retention);
    (broker, log)
}

/// Connects, once something answers.
pub(crate) async fn connect(endpoint: &Endpoint, nats: &config::Nats) -> Broker {
    let mut connected = None;
    until("the broker answers", Duration::from_secs(30), async || {
        connected = Broker::connect(nats, endpoint).await.ok();
        connected.is_some()
    })
    .await;
    connected.expect("the wait has ended")
}
