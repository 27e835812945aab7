//! Rules for what the relay does: broker, platform, storage, stages.

use std::time::Duration;

use url::{Host, Url};

use super::{Findings, has_no_credentials, is_bare, is_loopback, positive, positive_from};
use crate::config::duration::text;
use crate::config::{Config, Nats, Reconciler, Retry, Storage};

const DAY: Duration = Duration::from_secs(86_400);
const MIB: usize = 1 << 20;

pub(super) fn top(config: &Config, found: &mut Findings) {
    let name = &config.environment;
    let fits = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let fix = "expected 1 to 40 letters, digits, '-', '_' or '.'";
    found.require(fits, "environment", format!("{name:?}"), fix);
    let some = !config.data_dir.as_os_str().is_empty();
    found.require_hidden(some, "data_dir", "expected the path of a folder");

    let retention = &config.retention;
    let fix = "Kling keeps results for 30 days: at least 31d, or late news finds no task";
    positive_from(found, "retention.tasks", retention.tasks, 31 * DAY, fix);
    let fix = "at least retention.tasks, or a task outlives its money";
    positive_from(
        found,
        "retention.ledger",
        retention.ledger,
        retention.tasks,
        fix,
    );
}

pub(super) fn nats(nats: &Nats, found: &mut Findings) {
    let fits = matches!(nats.replicas, 1 | 3 | 5);
    found.require(fits, "nats.replicas", nats.replicas, "expected 1, 3 or 5");
    let fix = "the private server is one node: set nats.url to a cluster, or 1";
    found.require(
        nats.url.is_some() || nats.replicas <= 1,
        "nats.replicas",
        nats.replicas,
        fix,
    );
    for (key, bytes) in [
        ("nats.log_max_bytes", nats.log_max_bytes),
        ("nats.callbacks_max_bytes", nats.callbacks_max_bytes),
        ("nats.dead_max_bytes", nats.dead_max_bytes),
        ("nats.replay_max_bytes", nats.replay_max_bytes),
    ] {
        let fix = "at least 16777216 bytes (16 MiB): a stream holds messages of up to 1 MiB";
        found.require(bytes >= 16 << 20, key, bytes, fix);
    }
    positive(found, "nats.commit_timeout", nats.commit_timeout);
    positive(found, "nats.read_timeout", nats.read_timeout);
    let with_url = nats.url.is_some() || nats.credentials_file.is_none();
    let fix = "only used with nats.url: the private server has credentials of its own";
    found.require_hidden(with_url, "nats.credentials_file", fix);
    for url in nats.url.iter().flat_map(|urls| urls.split(',')) {
        let fits = Url::parse(url.trim())
            .is_ok_and(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host());
        // Not shown: credentials may stand in it.
        let fix = "expected nats://host:port or tls://host:port, several with commas";
        found.require_hidden(fits, "nats.url", fix);
    }
}

pub(super) fn kling(config: &Config, found: &mut Findings) {
    let (kling, key) = (&config.kling, "kling.base_url");
    let url = &kling.base_url;
    let plain = url.scheme() == "http" && is_loopback(url) && config.storage.allow_private;
    let fix = "expected https://…; http is for loopback hosts with storage.allow_private = true";
    found.require_hidden(url.scheme() == "https" || plain, key, fix);
    let bare = has_no_credentials(url) && url.path() == "/" && is_bare(url);
    let fix = "expected scheme and host only: no user, path, query or fragment";
    found.require_hidden(bare, key, fix);

    let slots = kling.max_concurrent;
    found.require(
        slots >= 1,
        "kling.max_concurrent",
        slots,
        "expected at least 1",
    );
    for (model, slots) in &kling.concurrency {
        let key = format!("kling.concurrency.{model}");
        found.require(*slots >= 1, &key, slots, "expected at least 1");
    }
    positive(found, "kling.connect_timeout", kling.connect_timeout);
    let fix = "at least kling.connect_timeout";
    positive_from(
        found,
        "kling.request_timeout",
        kling.request_timeout,
        kling.connect_timeout,
        fix,
    );
    let tries = kling.read_attempts_max;
    found.require(
        tries >= 1,
        "kling.read_attempts_max",
        tries,
        "expected at least 1",
    );
    let (base, cap) = (kling.read_backoff_base, kling.read_backoff_cap);
    positive(found, "kling.read_backoff_base", base);
    positive_from(
        found,
        "kling.read_backoff_cap",
        cap,
        base,
        "at least kling.read_backoff_base",
    );
    let bytes = kling.response_max_bytes;
    let fix = "expected 65536 to 67108864 bytes";
    found.require(
        (64 << 10..=64 * MIB).contains(&bytes),
        "kling.response_max_bytes",
        bytes,
        fix,
    );
}

pub(super) fn storage(storage: &Storage, found: &mut Findings) {
    if let Some(url) = &storage.url {
        let fits = matches!(url.scheme(), "file" | "s3" | "gs" | "az") && has_no_credentials(url);
        let fix = "expected file://, s3://, gs:// or az:// without credentials: those go into \
                   storage.options";
        found.require_hidden(fits, "storage.url", fix);
    }
    let plain = |host: &str| host.strip_prefix('.').unwrap_or(host).to_owned();
    for host in &storage.allowed_hosts {
        let fits = Host::parse(&plain(host)).is_ok() && !host.contains('/');
        let fix = "expected host names, or suffixes that begin with a dot";
        found.require(fits, "storage.allowed_hosts", format!("{host:?}"), fix);
    }
    let (output, spool) = (storage.max_bytes, storage.spool_max_bytes);
    found.require(
        output >= 1,
        "storage.max_bytes",
        output,
        "expected at least 1 byte",
    );
    let fix = "must hold at least one output of storage.max_bytes";
    found.require(spool >= output, "storage.spool_max_bytes", spool, fix);
    let downloads = storage.concurrency;
    let fits = (1..=1_000).contains(&downloads);
    found.require(fits, "storage.concurrency", downloads, "expected 1 to 1000");
    let attempts = storage.attempts_max;
    found.require(
        attempts >= 1,
        "storage.attempts_max",
        attempts,
        "expected at least 1",
    );
    let hops = storage.redirects_max;
    found.require(
        hops <= 20,
        "storage.redirects_max",
        hops,
        "expected at most 20",
    );
    positive(found, "storage.connect_timeout", storage.connect_timeout);
    positive(found, "storage.idle_timeout", storage.idle_timeout);
    let fix = "at least storage.idle_timeout";
    positive_from(
        found,
        "storage.total_timeout",
        storage.total_timeout,
        storage.idle_timeout,
        fix,
    );
}

pub(super) fn stages(config: &Config, found: &mut Findings) {
    let (runner, dispatcher) = (&config.runner, &config.dispatcher);
    let nats = &config.nats;
    let needed = config.kling.request_timeout + 2 * nats.commit_timeout;
    let fix = format!(
        "at least kling.request_timeout and twice nats.commit_timeout ({}), or a second \
         dispatcher takes over while the first still calls",
        text(needed)
    );
    positive_from(
        found,
        "dispatcher.claim_lease",
        dispatcher.claim_lease,
        needed,
        &fix,
    );
    let fix = "at least nats.read_timeout and twice nats.commit_timeout: a handler loads and \
               commits between two signs of life";
    let needed = nats.read_timeout + 2 * nats.commit_timeout;
    positive_from(found, "runner.ack_wait", runner.ack_wait, needed, fix);
    counts_and_waits(config, found);
    retry(&config.retry, found);
    reconciler(&config.reconciler, found);
}

pub(super) fn reuse(config: &Config, found: &mut Findings) {
    let (reuse, tasks) = (&config.reuse, config.retention.tasks);
    positive(found, "reuse.max_age", reuse.max_age);
    positive(found, "reuse.wait_max", reuse.wait_max);
    let fix = "at least a day shorter than retention.tasks: a result that answers must still stand \
               in the log when it does";
    // A retention that is too short itself is told by its own rule.
    let lasts = reuse.max_age.saturating_add(DAY) <= tasks || tasks < 31 * DAY;
    found.require(lasts, "reuse.max_age", text(reuse.max_age), fix);
}

fn counts_and_waits(config: &Config, found: &mut Findings) {
    let (runner, dispatcher) = (&config.runner, &config.dispatcher);
    let storage = &config.storage;
    for (key, count) in [
        ("dispatcher.concurrency", dispatcher.concurrency),
        ("runner.in_flight_max", runner.in_flight_max),
        ("reconciler.concurrency", config.reconciler.concurrency),
    ] {
        found.require(
            (1..=10_000).contains(&count),
            key,
            count,
            "expected 1 to 10000",
        );
    }
    let tries = runner.attempts_max;
    found.require(
        tries >= 1,
        "runner.attempts_max",
        tries,
        "expected at least 1",
    );
    for (section, base, cap) in [
        (
            "dispatcher",
            dispatcher.backoff_base,
            dispatcher.backoff_cap,
        ),
        ("runner", runner.backoff_base, runner.backoff_cap),
        ("storage", storage.backoff_base, storage.backoff_cap),
    ] {
        positive(found, &format!("{section}.backoff_base"), base);
        let fix = format!("at least {section}.backoff_base");
        positive_from(found, &format!("{section}.backoff_cap"), cap, base, &fix);
    }
    for (key, duration) in [
        ("dispatcher.lookup_delay", dispatcher.lookup_delay),
        ("dispatcher.circuit_open", dispatcher.circuit_open),
        ("runner.drain_timeout", runner.drain_timeout),
    ] {
        positive(found, key, duration);
    }
}

fn retry(retry: &Retry, found: &mut Findings) {
    for (key, retries) in [
        ("retry.generation_max", retry.generation_max),
        ("retry.unknown_max", retry.unknown_max),
    ] {
        found.require(retries <= 5, key, retries, "at most 5: each spends again");
    }
    let (base, cap) = (retry.backoff_base, retry.backoff_cap);
    positive(found, "retry.backoff_base", base);
    let fix = "at least retry.backoff_base";
    positive_from(found, "retry.backoff_cap", cap, base, fix);
}

fn reconciler(reconciler: &Reconciler, found: &mut Findings) {
    for (key, duration) in [
        ("reconciler.sweep_every", reconciler.sweep_every),
        ("reconciler.quiet_after", reconciler.quiet_after),
        (
            "reconciler.quiet_after_avatar",
            reconciler.quiet_after_avatar,
        ),
        ("reconciler.stalled_after", reconciler.stalled_after),
    ] {
        positive(found, key, duration);
    }
    let fix = "at most 7d: an open task must be renewed before it expires";
    let stalled = reconciler.stalled_after;
    found.require(
        stalled <= 7 * DAY,
        "reconciler.stalled_after",
        text(stalled),
        fix,
    );
    let (every, lag) = (reconciler.audit_every, reconciler.audit_lag);
    let whole = every.as_secs() % DAY.as_secs() == 0 && every <= 30 * DAY;
    let fix = "expected whole days, at most 30d: Kling lists no older task; \"0s\" is off";
    found.require(whole, "reconciler.audit_every", text(every), fix);
    let fix = "at most 7d: Kling's statistics stay behind by 12h at most";
    found.require(lag <= 7 * DAY, "reconciler.audit_lag", text(lag), fix);
    let queries = reconciler.queries_per_second;
    let fits = (1..=100).contains(&queries);
    found.require(
        fits,
        "reconciler.queries_per_second",
        queries,
        "expected 1 to 100",
    );
}
