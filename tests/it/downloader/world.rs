//! A task that has succeeded, on a real broker, with hostile servers for the CDN and for Kling.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::fetch::{Fetcher, Spool};
use kling_relay::edge::kling::client::Client;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::storage::Storage;
use kling_relay::model::event::{EventKind, NewEvent, TaskEvent};
use kling_relay::model::ids::{KlingTaskId, TaskId};
use kling_relay::model::observation::{Output, SignedUrl};
use kling_relay::model::task::{Status, Task};
use kling_relay::stage::downloader::Downloader;
use kling_relay::stage::runner::{Handler, Message, Outcome};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Node};
use crate::download::hostile::{Hostile, Reply};
use crate::kit;

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const KLING_ID: &str = "893605946402811985";

pub(crate) struct World {
    pub(crate) cdn: Hostile,
    pub(crate) kling: Hostile,
    pub(crate) downloader: Downloader,
    pub(crate) log: Log,
    pub(crate) task_id: TaskId,
    pub(crate) folder: TempDir,
    _node: Node,
    money: CancellationToken,
}

/// Makes an output as Kling names it.
pub(crate) fn output(kind: &str, url: &str) -> Output {
    Output {
        kind: kind.to_owned(),
        id: None,
        url: SignedUrl(url.to_owned()),
        duration: None,
    }
}

impl World {
    /// Starts everything; a task has succeeded whose outputs are made from the CDN's base address.
    pub(crate) async fn new(outputs: impl FnOnce(&str) -> Vec<Output>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let cdn = Hostile::start(folder.path(), Vec::new()).await;
        let kling = Hostile::start_plain(folder.path(), Vec::new()).await;
        let node = Node::start();
        let nats = broker::config(1);
        let (_, log) = broker::open(&node.endpoint(), &nats).await;
        let money = CancellationToken::new();
        let rules = MoneyRules::new(kit::limits(100));
        let writer = Money::start(log.clone(), rules, money.clone())
            .await
            .unwrap();
        let task_id = kit::fresh_task_id();
        let task = kit::new_task(&task_id, kit::video(1));
        writer
            .accept(vec![task], Duration::from_secs(10))
            .await
            .unwrap();
        let outputs = outputs(&cdn.url(""));
        let downloader = downloader(&log, &cdn, &kling, folder.path());
        let world = Self {
            cdn,
            kling,
            downloader,
            log,
            task_id,
            folder,
            _node: node,
            money,
        };
        world
            .commit(EventKind::Submitted, Status::Submitted, Vec::new())
            .await;
        world
            .commit(EventKind::Succeeded, Status::Succeeded, outputs)
            .await;
        world
    }

    async fn commit(&self, kind: EventKind, status: Status, outputs: Vec<Output>) {
        let on = self.log.load(&self.task_id).await.unwrap().unwrap();
        let mut task = on.task.clone();
        task.status = status;
        task.kling_task_id = Some(KlingTaskId::parse(KLING_ID).unwrap());
        task.relay.outputs = u32::try_from(outputs.len()).unwrap();
        let body = TaskEvent {
            task,
            call: None,
            outputs,
        };
        self.log
            .commit(&on, NewEvent { kind, n: 1, body })
            .await
            .unwrap();
    }

    /// Delivers `succeeded`, as this try.
    pub(crate) async fn handle(&self, attempt: u64) -> Outcome {
        let recorded = self.last(EventKind::Succeeded).await.unwrap();
        self.downloader
            .handle(&Message {
                recorded,
                delivered: attempt,
                attempt,
            })
            .await
    }

    pub(crate) async fn last(&self, kind: EventKind) -> Option<Recorded> {
        self.log.last(&self.task_id, kind).await.unwrap()
    }

    pub(crate) async fn task(&self) -> Task {
        self.log.load(&self.task_id).await.unwrap().unwrap().task
    }

    /// Has Kling answer its next query with these addresses of images.
    pub(crate) fn kling_says(&self, urls: &[String]) {
        let outputs: Vec<_> = urls
            .iter()
            .map(|url| json!({ "type": "image", "url": url }))
            .collect();
        let task = json!({
            "id": KLING_ID, "status": "succeeded", "message": "", "outputs": outputs,
            "create_time": 1_781_080_778_802_u64, "update_time": 1_781_080_794_151_u64,
            "external_id": self.task_id.as_str(),
        });
        let body = json!({ "code": 0, "message": "SUCCEED", "request_id": "r", "data": [task] });
        let body = body.to_string();
        self.kling.push(Reply::ok(
            &["Content-Type: application/json"],
            body.as_bytes(),
        ));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.money.cancel();
    }
}

fn downloader(log: &Log, cdn: &Hostile, kling: &Hostile, folder: &Path) -> Downloader {
    let storage = config::Storage {
        ca_file: Some(cdn.ca_file.clone()),
        allowed_hosts: vec!["localhost".to_owned()],
        allow_private: true,
        attempts_max: 1,
        ..config::Storage::default()
    };
    let url = format!("http://{}", kling.address);
    let kling = config::Kling {
        base_url: url.parse().unwrap(),
        api_key: Some(SecretString::from("key")),
        ..config::Kling::default()
    };
    let clock = Clock::system();
    let spool = Spool::open(&folder.join("spool"), storage.spool_max_bytes).unwrap();
    Downloader::new(
        log.clone(),
        Arc::new(Client::new(&kling, Box::new(|_, _| None), clock.clone()).unwrap()),
        Fetcher::new(&storage, spool, clock.clone()).unwrap(),
        Storage::open(&storage, folder).unwrap(),
        clock,
        storage.concurrency,
    )
}
