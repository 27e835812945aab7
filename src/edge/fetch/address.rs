//! Which addresses may be called: scheme, host and port of a URL, and the networks behind its name.
//!
//! A name is vetted where it is resolved, so what was vetted is what gets connected; between a
//! check and a second look-up a name could change its mind. Literals never reach the resolver and
//! are vetted before each hop.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Where the platform's files may be fetched from.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    allowed_hosts: Vec<String>,
    allow_private: bool,
}

/// Why an address is never called. Names no path and no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read as a URL with a host.
    #[error("it is not a URL with a host")]
    NotAUrl,
    /// Neither https nor, in development, http to a loopback host.
    #[error("its scheme is not https")]
    Scheme,
    /// It carries a user name or password.
    #[error("it carries a user name or password")]
    UserInfo,
    /// Not in `storage.allowed_hosts`.
    #[error("its host is not in storage.allowed_hosts")]
    Host,
    /// Not 443.
    #[error("its port is not 443")]
    Port,
    /// A private, local or otherwise special network.
    #[error("it leads to a private or special-purpose network ({0})")]
    Network(IpAddr),
    /// More redirects than `storage.redirects_max`.
    #[error("it redirects more often than storage.redirects_max")]
    Redirects,
}

impl AddressPolicy {
    /// Makes a policy from hosts (exact, or suffixes that begin with a dot) and the development
    /// switch that opens private networks, other ports and plain http to loopback hosts.
    #[must_use]
    pub fn new(allowed_hosts: &[String], allow_private: bool) -> Self {
        Self {
            allowed_hosts: allowed_hosts
                .iter()
                .map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase())
                .collect(),
            allow_private,
        }
    }

    /// Checks one hop: everything but what a name resolves to.
    ///
    /// # Errors
    /// [`Refusal`], the first of the checks that failed.
    pub fn vet(&self, url: &Url) -> Result<(), Refusal> {
        let host = url.host().ok_or(Refusal::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private && is_loopback(&host) => {}
            _ => return Err(Refusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if !self.allows_host(&host) {
            return Err(Refusal::Host);
        }
        if !self.allow_private && url.port_or_known_default() != Some(443) {
            return Err(Refusal::Port);
        }
        match host {
            Host::Ipv4(ip) => self.vet_ip(ip.into()),
            Host::Ipv6(ip) => self.vet_ip(ip.into()),
            Host::Domain(_) => Ok(()),
        }
    }

    fn allows_host(&self, host: &Host<&str>) -> bool {
        let host = match host {
            Host::Domain(name) => name.to_ascii_lowercase(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        self.allowed_hosts.iter().any(|allowed| {
            if allowed.starts_with('.') {
                // The dot is part of the suffix, so the match ends on a label boundary.
                host.len() > allowed.len() && host.ends_with(allowed.as_str())
            } else {
                host == *allowed
            }
        })
    }

    /// Checks one network address.
    ///
    /// # Errors
    /// [`Refusal::Network`] unless it is an ordinary public address or the policy is for
    /// development.
    pub fn vet_ip(&self, ip: IpAddr) -> Result<(), Refusal> {
        if self.allow_private || is_public(ip) {
            Ok(())
        } else {
            Err(Refusal::Network(ip))
        }
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// Tells whether an address is an ordinary public one.
///
/// Source: the IANA special-purpose address registries for IPv4 and IPv6.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // "This network", private, shared (carrier-grade NAT), loopback, link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] => true,
        [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, documentation, the 6to4 relay, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        // Public by its number, but it is the host of an Azure machine as seen from inside.
        [168, 63, 129, 16] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // IPv4-mapped and NAT64: the connection goes to the IPv4 address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo, benchmarks and ORCHID; documentation; 6to4.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0x0fff, ..] => false,
        // Global unicast. All else is unspecified, loopback, IPv4-compatible, unique local,
        // link-local, site-local, multicast or not assigned to anybody.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// A resolver that gives out a name's addresses only if the policy accepts every one of them.
#[derive(Clone, Debug)]
pub(super) struct VettingResolver {
    pub(super) policy: AddressPolicy,
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            // A name that mixes public and private addresses is an attack or a broken zone.
            for address in &found {
                policy.vet_ip(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Finds a refusal of the resolver in the chain of a request's error.
pub(super) fn refusal_in(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(*refusal);
        }
        next = error.source();
    }
    None
}
