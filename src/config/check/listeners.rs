//! Rules for what listens: addresses, TLS, bounds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Findings, has_no_credentials, is_bare, positive};
use crate::config::duration::text;
use crate::config::{Config, ListenerLimits, TlsFiles};

const MIB: usize = 1 << 20;
/// The HTTP library cannot work with less, bytes.
const HEADERS_MIN_BYTES: usize = 8 << 10;
/// No connection and no wait of a listener is older; much more and a deadline is no time any more.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn listeners(config: &Config, found: &mut Findings) {
    let (receiver, api, admin) = (&config.receiver, &config.api, &config.admin);
    for (section, tls, limits) in [
        ("receiver", &receiver.tls, &receiver.limits),
        ("api", &api.tls, &api.limits),
        ("admin", &admin.tls, &admin.limits),
    ] {
        tls_pair(section, tls, found);
        listener_limits(section, limits, found);
    }
    let addresses = [
        ("receiver.listen", receiver.listen),
        ("api.listen", api.listen),
        ("admin.listen", admin.listen),
    ];
    for (n, (key, address)) in addresses.iter().enumerate() {
        let taken = addresses[..n]
            .iter()
            .any(|(_, other)| same_socket(*other, *address));
        found.require(
            !taken,
            key,
            address,
            "another listener has this address: choose a free port",
        );
    }
    bodies(config, found);
    callers(config, found);
}

fn bodies(config: &Config, found: &mut Findings) {
    let (receiver, api) = (&config.receiver, &config.api);
    let fix = "expected 1024 to 1048576 bytes: the broker takes 1 MiB a message";
    let fits = |bytes: usize| (1 << 10..=MIB).contains(&bytes);
    let bytes = receiver.body_max_bytes;
    found.require(fits(bytes), "receiver.body_max_bytes", bytes, fix);
    let bytes = receiver.unsigned_body_max_bytes;
    found.require(fits(bytes), "receiver.unsigned_body_max_bytes", bytes, fix);
    found.require(
        fits(api.body_max_bytes),
        "api.body_max_bytes",
        api.body_max_bytes,
        fix,
    );
    let bytes = receiver.bodies_max_bytes;
    let fits = (receiver.body_max_bytes..=16 << 30).contains(&bytes);
    let fix = "expected receiver.body_max_bytes to 17179869184 bytes";
    found.require(fits, "receiver.bodies_max_bytes", bytes, fix);
    let bytes = api.batch_body_max_bytes;
    let fits = (api.body_max_bytes..=64 * MIB).contains(&bytes);
    let fix = "expected api.body_max_bytes to 67108864 bytes";
    found.require(fits, "api.batch_body_max_bytes", bytes, fix);
    let bytes = api.bodies_max_bytes;
    let least = api.batch_body_max_bytes.saturating_mul(16);
    let fits = (least..=16 << 30).contains(&bytes);
    let fix = "expected 16 times api.batch_body_max_bytes to 17179869184 bytes: a tenant has a \
               quarter of it, and a body takes more once it is parsed";
    found.require(fits, "api.bodies_max_bytes", bytes, fix);
}

fn callers(config: &Config, found: &mut Findings) {
    let (receiver, api) = (&config.receiver, &config.api);
    if let Some(url) = &receiver.public_url {
        let fits = url.scheme() == "https" && has_no_credentials(url) && is_bare(url);
        let fix = "expected https://host[:port][/path]; Kling signs callbacks to https only";
        found.require_hidden(fits, "receiver.public_url", fix);
    }
    let private = api.listen.ip().is_loopback() || api.tls.cert_file.is_some();
    let fix = "keys and prompts would cross the network in the clear: set api.tls.cert_file and \
               api.tls.key_file, or listen on 127.0.0.1";
    found.require(private, "api.listen", api.listen, fix);
    found.require(
        api.rate_limit >= 1,
        "api.rate_limit",
        api.rate_limit,
        "expected at least 1",
    );
    found.require(
        api.rate_burst >= 1,
        "api.rate_burst",
        api.rate_burst,
        "expected at least 1",
    );
    found.require(
        api.streams_max >= 1,
        "api.streams_max",
        api.streams_max,
        "expected at least 1",
    );
    positive(found, "api.accept_timeout", api.accept_timeout);
    positive(found, "receiver.store_timeout", receiver.store_timeout);
    for (key, wait, limit) in [
        (
            "receiver.store_timeout",
            receiver.store_timeout,
            receiver.limits.request_timeout,
        ),
        (
            "api.accept_timeout",
            api.accept_timeout,
            api.limits.request_timeout,
        ),
    ] {
        let fix = "must be below this listener's limits.request_timeout, which would cut it off";
        found.require(wait < limit, key, text(wait), fix);
    }
}

fn tls_pair(section: &str, tls: &TlsFiles, found: &mut Findings) {
    let (key, other) = match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => ("key_file", "cert_file"),
        (None, Some(_)) => ("cert_file", "key_file"),
        (Some(_), Some(_)) | (None, None) => return,
    };
    let fix = format!("{section}.tls.{other} is set: set both or none");
    found.require_hidden(false, &format!("{section}.tls.{key}"), fix);
}

fn listener_limits(section: &str, limits: &ListenerLimits, found: &mut Findings) {
    let key = |name: &str| format!("{section}.limits.{name}");
    let most = limits.connections_max;
    let fits = (1..=1_000_000).contains(&most);
    found.require(fits, &key("connections_max"), most, "expected 1 to 1000000");
    let backlog = limits.backlog;
    let fits = (1..=65_535).contains(&backlog);
    found.require(fits, &key("backlog"), backlog, "expected 1 to 65535");
    let bytes = limits.headers_max_bytes;
    let fits = (HEADERS_MIN_BYTES..=MIB).contains(&bytes);
    found.require(
        fits,
        &key("headers_max_bytes"),
        bytes,
        "expected 8192 to 1048576 bytes",
    );
    let streams = limits.http2_streams_max;
    let fits = (1..=10_000).contains(&streams);
    found.require(
        fits,
        &key("http2_streams_max"),
        streams,
        "expected 1 to 10000",
    );
    let resets = limits.http2_resets_max;
    let fits = (1..=10_000).contains(&resets);
    found.require(
        fits,
        &key("http2_resets_max"),
        resets,
        "expected 1 to 10000",
    );
    for (name, duration) in [
        ("handshake_timeout", limits.handshake_timeout),
        ("header_timeout", limits.header_timeout),
        ("request_timeout", limits.request_timeout),
        ("connection_age_max", limits.connection_age_max),
        ("certificate_check_every", limits.certificate_check_every),
    ] {
        positive(found, &key(name), duration);
        let fits = duration <= LONGEST;
        found.require(fits, &key(name), text(duration), "expected at most 30d");
    }
}

/// Tells whether two listeners would want the same port of the same address; port 0 is any.
fn same_socket(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = |ip: IpAddr| ip.is_unspecified();
    let overlap = a.ip() == b.ip() || everywhere(a.ip()) || everywhere(b.ip());
    a.port() != 0 && a.port() == b.port() && overlap
}
