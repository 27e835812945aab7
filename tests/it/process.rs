//! The real program as a process: started, killed, asked to stop; and a client that wants each
//! request once.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kling_relay::config::Config;
use kling_relay::edge::clock::Clock;
use kling_relay::model::ids::TaskId;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::broker::{last_words, signal, until};
use crate::world::{self, TENANTS};

/// Longest wait for anything that processes do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// One `serve`, running or not. Dropped, it is killed.
pub(crate) struct Program {
    pub(crate) config: Config,
    pub(crate) file: PathBuf,
    roles: Option<&'static str>,
    log: PathBuf,
    /// What its log had before its last start.
    earlier_bytes: usize,
    child: Option<Child>,
}

impl Program {
    /// Writes its configuration into its data directory.
    pub(crate) fn prepare(config: Config) -> Self {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir).expect("a writable directory");
        let (file, log) = (dir.join("kling-relay.toml"), dir.join("program.log"));
        let program = Self {
            config,
            file,
            roles: None,
            log,
            earlier_bytes: 0,
            child: None,
        };
        program.configure();
        program
    }

    /// The same with some roles only.
    pub(crate) fn with_roles(config: Config, roles: &'static str) -> Self {
        let mut program = Self::prepare(config);
        program.roles = Some(roles);
        program
    }

    /// Writes the configuration, for the next start.
    pub(crate) fn configure(&self) {
        std::fs::write(&self.file, settings(&self.config)).expect("a writable directory");
    }

    pub(crate) fn start(&mut self) {
        self.earlier_bytes = self.said().len();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a writable directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kling-relay"));
        command.arg("serve").arg("--config").arg(&self.file);
        if let Some(roles) = self.roles {
            command.args(["--role", roles]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the program starts"));
    }

    /// Waits until a listener takes connections.
    pub(crate) async fn serves(&self, address: SocketAddr) {
        until("it listens", DEADLINE, async || {
            TcpStream::connect(address).is_ok()
        })
        .await;
    }

    /// Sums up a counter of its metrics, whatever its labels.
    pub(crate) async fn counted(&self, counter: &str) -> f64 {
        counted(self.config.admin.listen, counter).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Tells whether it was started and has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        self.child.as_mut().is_some_and(ended)
    }

    /// Tells whether it has come so far since its last start that nothing may end it any more.
    pub(crate) fn has_listened(&self) -> bool {
        self.said()[self.earlier_bytes..].contains("\"listening\"")
    }

    /// Everything that its log says.
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lines of its log that may never be there: of deaths, and with secrets or prompts.
    pub(crate) fn shameful_lines(&self) -> Vec<String> {
        let words = never_said(&self.config);
        let said = self.said();
        let shameful = said.lines().filter_map(|line| {
            let word = words.iter().find(|word| line.contains(*word))?;
            Some(format!("the log says {word}: {line}"))
        });
        shameful.collect()
    }

    /// Kills it; `meanwhile` happens before it is reaped. It may not have died before by itself,
    /// unless what it needs to start was away.
    pub(crate) fn kill(&mut self, meanwhile: impl FnOnce()) {
        let died = self.has_ended() && self.has_listened();
        assert!(std::thread::panicking() || !died, "it ended by itself");
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our own child can be killed");
        meanwhile();
        child.wait().expect("our own child can be awaited");
    }

    /// Asks it to stop; returns its exit code and how long it took.
    pub(crate) async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let mut child = self.child.take().expect("it runs");
        let started = Instant::now();
        signal("-TERM", child.id());
        let mut status = None;
        until("the program ends", DEADLINE, async || {
            status = child.try_wait().expect("our own child can be awaited");
            status.is_some()
        })
        .await;
        (status.and_then(|status| status.code()), started.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        last_words(&self.log);
        if self.is_running() {
            self.kill(|| {});
        }
    }
}

/// Sums up a counter of the metrics that are shown there, whatever its labels.
pub(crate) async fn counted(admin: SocketAddr, counter: &str) -> f64 {
    let url = format!("http://{admin}/metrics");
    let answer = world::client().get(url).send().await;
    let text = answer.expect("it shows metrics").text().await;
    let text = text.expect("they are text");
    let of_counter = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let name = name.split('{').next()?;
        (name == counter).then(|| value.parse::<f64>().expect("a figure"))
    });
    of_counter.sum()
}

pub(crate) fn kill(pid: u32) {
    signal("-KILL", pid);
}

/// What no log says: that something died, and what is nobody's business.
fn never_said(config: &Config) -> Vec<String> {
    let deaths = ["panic: ", "panicked", "a role died", "a listener died"];
    let addresses = ["Signature=", "Expires=", "x-kcdn-pid"];
    let prompts = ["A paper boat", "A folding chair"];
    let receiver = &config.receiver;
    let secrets = [
        &receiver.webhook_secrets,
        &receiver.capability_keys,
        &config.api.keys,
    ];
    let secrets = secrets.into_iter().flatten().chain(&config.kling.api_key);
    // Of an `id:secret` and a `whsec_secret` the second part is what matters.
    let secrets = secrets.map(|secret| {
        let secret = secret.expose_secret();
        let (_, secret) = secret.split_once(':').unwrap_or(("", secret));
        secret.strip_prefix("whsec_").unwrap_or(secret).to_owned()
    });
    let paths = TENANTS.map(|tenant| format!("/callbacks/{tenant}"));
    let words = deaths.into_iter().chain(addresses).chain(prompts);
    words
        .map(str::to_owned)
        .chain(secrets)
        .chain(paths)
        .collect()
}

/// The configuration as a file, with the secrets that its own writer leaves out.
fn settings(config: &Config) -> String {
    let mut tree = toml::Table::try_from(config).unwrap();
    let expose = |secrets: &[SecretString]| {
        let texts = secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned().into());
        toml::Value::Array(texts.collect())
    };
    let mut set = |section: &str, key: &str, value: toml::Value| {
        let section = tree[section].as_table_mut().unwrap();
        section.insert(key.to_owned(), value);
    };
    let api_key = config.kling.api_key.as_ref().unwrap();
    set("kling", "api_key", api_key.expose_secret().into());
    set(
        "receiver",
        "capability_keys",
        expose(&config.receiver.capability_keys),
    );
    set(
        "receiver",
        "webhook_secrets",
        expose(&config.receiver.webhook_secrets),
    );
    set("api", "keys", expose(&config.api.keys));
    if let Some(url) = &config.nats.url {
        set("nats", "url", url.clone().into());
    }
    toml::to_string(&tree).unwrap()
}

/// A client that wants each request once: the same key until there is an answer, wherever one is
/// given.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    addresses: Vec<SocketAddr>,
    refused: Arc<AtomicUsize>,
}

impl Caller {
    /// Of whoever listens at these addresses.
    pub(crate) fn of(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            http: world::client(),
            addresses: addresses.into_iter().collect(),
            refused: Arc::default(),
        }
    }

    /// How often it was told to come again.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Submits one request alone, or several as a batch, at the `first` address first.
    pub(crate) async fn submit(
        &self,
        tenant: &str,
        key: &str,
        requests: &[Value],
        first: usize,
    ) -> Vec<TaskId> {
        let (path, body, ids) = match requests {
            [one] => ("/v1/tasks", one.clone(), "/task_id"),
            several => ("/v1/batches", json!({ "tasks": several }), "/task_ids"),
        };
        let deadline = Instant::now() + DEADLINE;
        let mut addresses = self.addresses.iter().cycle().skip(first);
        while Instant::now() < deadline {
            let address = addresses.next().expect("somewhere to submit");
            let request = self
                .http
                .post(format!("http://{address}{path}"))
                .bearer_auth(world::secret_of(tenant))
                .header("idempotency-key", key)
                .timeout(Duration::from_secs(5))
                .json(&body);
            match answer(request).await {
                Some((202, body)) => return read_ids(body.pointer(ids).expect("ids")),
                Some((status, body)) => {
                    assert_eq!(status, 503, "{body}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                None => {}
            }
            Clock::system().sleep(Duration::from_millis(50)).await;
        }
        panic!("{key} was not accepted within {DEADLINE:?}");
    }
}

fn read_ids(ids: &Value) -> Vec<TaskId> {
    let ids = ids
        .as_array()
        .map_or(std::slice::from_ref(ids), Vec::as_slice);
    let read = |id: &Value| TaskId::parse(id.as_str().expect("an id")).expect("a task id");
    ids.iter().map(read).collect()
}

/// The answer, unless it is lost.
async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

#[test]
fn the_file_says_what_the_configuration_does() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_sim, mut config) = runtime.block_on(world::stage(data.path(), None));
    config.nats.url = Some("nats://relay:word@127.0.0.1:4222".to_owned());
    let program = Program::prepare(config);
    let read = Config::load(Some(Path::new(&program.file)), std::iter::empty()).unwrap();
    let text = |config: &Config| toml::to_string(config).unwrap();
    assert_eq!(text(&read), text(&program.config));
    assert_eq!(read.nats.url, program.config.nats.url);
}
