//! The private server's configuration file.
//!
//! Source: broker reference 12.

use std::path::Path;

use super::ServerFile;
use crate::edge::nats::INBOX_PREFIX;
use crate::edge::nats::topology::{self, Consumer};

/// Returns the configuration as text.
pub(super) fn config(file: &ServerFile, store: &Path, log: &Path, store_max_bytes: u64) -> String {
    let (ip, port) = (file.listen.ip(), file.listen.port());
    let consumer = consumer_permissions();
    format!(
        r#"# Written by kling-relay at each start; changes are lost. Holds passwords.
server_name: {name}
listen: "{ip}:{port}"
max_payload: 2MB
log_file: {log}
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_file_store: {store_max_bytes}
  max_memory_store: 64MB
  limits {{ batch {{ max_inflight_per_stream: 50, timeout: "5s" }} }}
}}
authorization {{
  users: [
    {{ user: {user}, password: {password} }}
    {{ user: {consumer_user}, password: {consumer_password}, permissions: {consumer} }}
  ]
}}
"#,
        name = quoted(&file.server_name),
        log = quoted(&log.to_string_lossy()),
        store = quoted(&store.to_string_lossy()),
        user = quoted(&file.user),
        password = quoted(&file.password),
        consumer_user = quoted(&file.consumer_user),
        consumer_password = quoted(&file.consumer_password),
    )
}

/// Consumers read events through consumers of their own and submit. They cannot touch the
/// stages' consumers, nor answer submissions, nor read the relay's replies.
fn consumer_permissions() -> String {
    let log = topology::LOG;
    let allowed = [
        topology::SUBMISSIONS.to_owned(),
        "$SRV.>".to_owned(),
        "$JS.API.INFO".to_owned(),
        "$JS.API.STREAM.NAMES".to_owned(),
        format!("$JS.API.STREAM.INFO.{log}"),
        format!("$JS.API.STREAM.MSG.GET.{log}"),
        format!("$JS.API.DIRECT.GET.{log}"),
        format!("$JS.API.DIRECT.GET.{log}.>"),
        format!("$JS.API.CONSUMER.NAMES.{log}"),
        format!("$JS.API.CONSUMER.LIST.{log}"),
        format!("$JS.API.CONSUMER.INFO.{log}.*"),
        format!("$JS.API.CONSUMER.CREATE.{log}"),
        format!("$JS.API.CONSUMER.CREATE.{log}.>"),
        format!("$JS.API.CONSUMER.DURABLE.CREATE.{log}.*"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{log}.*"),
        format!("$JS.ACK.{log}.>"),
        format!("$JS.FC.{log}.>"),
    ];
    let of_stage = |consumer: &Consumer| {
        let name = consumer.name();
        [
            format!("$JS.API.CONSUMER.CREATE.{log}.{name}"),
            format!("$JS.API.CONSUMER.CREATE.{log}.{name}.>"),
            format!("$JS.API.CONSUMER.DURABLE.CREATE.{log}.{name}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{log}.{name}"),
            format!("$JS.ACK.{log}.{name}.>"),
        ]
    };
    let unseen = [
        topology::SUBMISSIONS.to_owned(),
        topology::ESTIMATES.to_owned(),
        topology::CANCELLATIONS.to_owned(),
        topology::LISTINGS.to_owned(),
        format!("{INBOX_PREFIX}.>"),
    ];
    let denied: Vec<String> = Consumer::ALL.iter().flat_map(of_stage).collect();
    format!(
        "{{\n      publish: {{ allow: [{}], deny: [{}] }}\n      \
         subscribe: {{ allow: [{}, \"_INBOX.>\"], deny: [{}] }}\n    }}",
        list(&allowed),
        list(&denied),
        quoted(topology::PUBLIC),
        list(&unseen),
    )
}

fn list(subjects: &[String]) -> String {
    let quoted: Vec<String> = subjects.iter().map(|subject| quoted(subject)).collect();
    quoted.join(", ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
