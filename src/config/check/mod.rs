//! Rules across keys: what must hold together before anything starts. Each rule names the key, its
//! value unless that is a secret, and the fix; all are checked, so one run shows everything.

mod rules;
mod usage;
mod budget;
mod listeners;
mod prompt;
mod secrets;

use std::time::Duration;

use url::{Host, Url};

use super::duration::text;
use super::load::{ConfigError, Problem};
use super::{Config, Role};

/// Collects what is wrong.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    /// Records a problem and shows the value unless the rule holds.
    fn require(&mut self, holds: bool, key: &str, value: impl std::fmt::Display, fix: &str) {
        if !holds {
            self.problems.push(Problem {
                key: key.to_owned(),
                value: Some(value.to_string()),
                fix: fix.to_owned(),
            });
        }
    }

    /// The same without the value: it is a secret, or there is none.
    fn require_hidden(&mut self, holds: bool, key: &str, fix: impl Into<String>) {
        if !holds {
            self.problems.push(Problem::new(key, fix));
        }
    }
}

impl Config {
    /// Checks the rules that hold for every command.
    ///
    /// # Errors
    /// [`ConfigError`] with every rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems(self.findings().problems)
    }

    /// Checks the rules that hold for every command, and that what these roles need is there.
    ///
    /// # Errors
    /// [`ConfigError`] with every rule that is broken and every key that is missing.
    pub fn check_serve(&self, roles: &[Role]) -> Result<(), ConfigError> {
        let mut found = self.findings();
        let has = |role: Role| roles.contains(&role);
        let mints = has(Role::Receiver) || has(Role::Dispatcher);
        let (receiver, tls) = (&self.receiver, &self.receiver.tls);
        let missing = "is required in `serve`: ";

        found.require_hidden(
            !mints || receiver.public_url.is_some(),
            "receiver.public_url",
            format!("{missing}set https://… as Kling sees this receiver"),
        );
        found.require_hidden(
            !mints || !receiver.capability_keys.is_empty(),
            "receiver.capability_keys",
            format!("{missing}set a list of id:secret with secrets of at least 32 bytes"),
        );
        for (key, file) in [
            ("receiver.tls.cert_file", &tls.cert_file),
            ("receiver.tls.key_file", &tls.key_file),
        ] {
            found.require_hidden(
                !has(Role::Receiver) || file.is_some(),
                key,
                format!("{missing}set the path of a PEM file; plain HTTP is not served"),
            );
        }
        found.require_hidden(
            !has(Role::Intake) || !self.api.keys.is_empty(),
            "api.keys",
            format!("{missing}set a list of tenant:key"),
        );
        let credential = self.kling.api_key.is_some() || self.kling.access_key.is_some();
        found.require_hidden(
            credential || !roles.iter().any(|role| role.calls_kling()),
            "kling.api_key",
            format!("{missing}set it, or kling.access_key and kling.secret_key"),
        );
        ConfigError::from_problems(found.problems)
    }

    fn findings(&self) -> Findings {
        let mut found = Findings::default();
        rules::top(self, &mut found);
        rules::nats(&self.nats, &mut found);
        rules::kling(self, &mut found);
        listeners::listeners(self, &mut found);
        rules::storage(&self.storage, &mut found);
        usage::usage(self, &mut found);
        budget::budget(self, &mut found);
        prompt::prompt(self, &mut found);
        rules::stages(self, &mut found);
        rules::reuse(self, &mut found);
        secrets::credentials(&self.kling, &mut found);
        secrets::capability_keys(&self.receiver, &mut found);
        secrets::webhook_secrets(&self.receiver, &mut found);
        secrets::api_keys(&self.api, &mut found);
        found
    }
}

fn positive(found: &mut Findings, key: &str, duration: Duration) {
    let fix = "expected more than nothing, for example \"1s\"";
    found.require(!duration.is_zero(), key, text(duration), fix);
}

fn positive_from(found: &mut Findings, key: &str, value: Duration, least: Duration, fix: &str) {
    positive(found, key, value);
    found.require(value >= least || value.is_zero(), key, text(value), fix);
}

fn has_no_credentials(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn is_bare(url: &Url) -> bool {
    url.query().is_none() && url.fragment().is_none() && url.has_host()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
