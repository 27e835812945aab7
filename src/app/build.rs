//! Each stage from the configuration and the edges.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::screening::screening;
use crate::config::{self, Config, LimitSetting, Role, Thresholds};
use crate::decide::again::RetryPolicy;
use crate::decide::budget::{parse_day_starts, resolve};
use crate::decide::ledger::Limits;
use crate::decide::off_peak::OffPeak;
use crate::decide::pricing::{Generations, PriceBook};
use crate::decide::retry::{Backoff, after_read};
use crate::decide::reuse::Rules as ReuseRules;
use crate::decide::trust::UnsignedPolicy;
use crate::edge::alert_hook::AlertHook;
use crate::edge::clock::Clock;
use crate::edge::fetch::{Fetcher, Spool};
use crate::edge::kling::callback_url::CapabilityKeys;
use crate::edge::kling::client::Client;
use crate::edge::kling::signature::WebhookSecrets;
use crate::edge::nats::log::Log;
use crate::edge::nats::money::{Money, MoneyRules, THRESHOLDS_MAX};
use crate::edge::nats::server::{PrivateServer, ServerError, enter};
use crate::edge::nats::{Broker, Endpoint, topology};
use crate::edge::storage::Storage;
use crate::http::health::Readiness;
use crate::model::ids::Tenant;
use crate::model::ledger::LedgerOwner;
use crate::ops::usage::Reports;
use crate::stage::alerter::Alerter;
use crate::stage::completer::Completer;
use crate::stage::digest::Digest;
use crate::stage::dispatcher::{DispatchRules, Dispatcher, SlotRules};
use crate::stage::downloader::Downloader;
use crate::stage::intake::{Intake, IntakeRules, Retrier};
use crate::stage::ledger_audit::AuditRules;
use crate::stage::receiver::Receiver;
use crate::stage::views::Views;
use crate::telemetry;

/// The neighbours of this process.
pub(super) struct Edges {
    pub(super) broker: Broker,
    pub(super) log: Log,
    pub(super) clock: Clock,
    /// Where a role moves money.
    pub(super) money: Option<Money>,
    kling: Option<Arc<Client>>,
}

impl Edges {
    pub(super) async fn connect(
        config: &Config,
        roles: &[Role],
        endpoint: &Endpoint,
        clock: Clock,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let broker = Broker::connect(&config.nats, endpoint).await?;
        topology::ensure(&broker, &config.nats, &config.runner).await?;
        let log = Log::new(
            &broker,
            clock.clone(),
            &config.environment,
            &config.nats,
            &config.retention,
        );
        let moves_money = roles.contains(&Role::Intake) || roles.contains(&Role::Accountant);
        let money = if moves_money {
            Some(Money::start(log.clone(), money_rules(config)?, stop.clone()).await?)
        } else {
            None
        };
        let calls = roles
            .iter()
            .any(|role| role.calls_kling() || *role == Role::Downloader);
        let kling = if calls {
            Some(Arc::new(kling(config, &clock)?))
        } else {
            None
        };
        Ok(Self {
            broker,
            log,
            clock,
            money,
            kling,
        })
    }

    pub(super) fn kling(&self) -> anyhow::Result<Arc<Client>> {
        self.kling
            .clone()
            .context("this role needs Kling's credentials: set kling.api_key")
    }
}

/// Makes what `/readyz` answers from: the roles report, the neighbours are asked.
pub(super) fn readiness(edges: &Edges, roles: &[Role]) -> Readiness {
    let (broker, log) = (edges.broker.clone(), edges.log.clone());
    let told = |holds: bool, problem: &str| holds.then_some(()).ok_or_else(|| problem.to_owned());
    let builder = Readiness::builder()
        .probe("broker", move || {
            let connected = told(broker.is_connected(), "not connected");
            async move { connected }
        })
        .probe("streams", move || {
            let log = log.clone();
            async move {
                let stored = log.probe().await;
                stored.map_err(|error| telemetry::chain(&error).to_string())
            }
        });
    let builder = match edges.money.clone() {
        None => builder,
        Some(money) => builder.probe("money", move || {
            let running = told(money.is_running(), "the money writer died; it starts again");
            async move { running }
        }),
    };
    builder.build(roles)
}

/// Makes a client of Kling's API as it is configured.
///
/// # Errors
/// What is missing or cannot be used.
pub fn kling(config: &Config, clock: &Clock) -> anyhow::Result<Client> {
    let backoff = Backoff {
        base: config.kling.read_backoff_base,
        cap: config.kling.read_backoff_cap,
        attempts_max: config.kling.read_attempts_max,
    };
    let retry = move |failure: &_, attempt| after_read(failure, attempt, backoff, rand::random());
    Ok(Client::new(&config.kling, Box::new(retry), clock.clone())?)
}

/// Reads the configured price book: a name, or a file.
///
/// # Errors
/// That there is none of that name, or what is wrong with it.
pub fn book(pricing: &config::Pricing) -> anyhow::Result<PriceBook> {
    let name = &pricing.book;
    if let Ok(book) = PriceBook::named(name) {
        return Ok(book);
    }
    let text = std::fs::read_to_string(name).with_context(|| {
        format!("pricing.book {name:?} is neither a price book of ours nor a file")
    })?;
    PriceBook::parse(&text).with_context(|| format!("the price book {name:?}"))
}

/// Checks what only other files can tell: that the price book is there and the budget fits it, and
/// that the prompt policy can be read.
///
/// # Errors
/// The key, and what is wrong with it.
pub fn check(config: &Config) -> anyhow::Result<()> {
    money_rules(config)?;
    screening(&config.prompt).map(|_| ())
}

/// Returns the limits with which an owner's day opens.
///
/// # Errors
/// As [`check`].
pub fn day_limits(config: &Config, owner: &LedgerOwner) -> anyhow::Result<Limits> {
    Ok(money_rules(config)?.limits_of(owner))
}

fn money_rules(config: &Config) -> anyhow::Result<MoneyRules> {
    let book = book(&config.pricing)?;
    let budget = &config.budget;
    let over = |key: &str, setting: Option<&LimitSetting>, without: &Limits| {
        resolve(setting, without, book.main_unit()).with_context(|| key.to_owned())
    };
    let daily = over(
        "budget.daily_limit",
        budget.daily_limit.as_ref(),
        book.daily_limits(),
    )?;
    let mut rules = MoneyRules::new(daily.clone());
    for (tenant, setting) in &budget.tenants {
        let own = over(&format!("budget.tenants.{tenant}"), Some(setting), &daily)?;
        rules.tenants.insert(tenant.clone(), own);
    }
    if let Some(setting) = &budget.account_daily_limit {
        let limits = over(
            "budget.account_daily_limit",
            Some(setting),
            book.daily_limits(),
        )?;
        rules.account_limits = Some(limits);
    }
    rules.bounds = budget.writer.clone();
    rules.thresholds = match &budget.alert_threshold {
        Thresholds::One(one) => vec![*one],
        Thresholds::Several(several) => several.clone(),
    };
    let thresholds = rules.thresholds.len();
    if thresholds > THRESHOLDS_MAX {
        bail!("budget.alert_threshold: {thresholds} are too many, at most {THRESHOLDS_MAX}");
    }
    Ok(rules)
}

fn time_zone(config: &Config) -> anyhow::Result<jiff::tz::TimeZone> {
    jiff::tz::TimeZone::get(&config.budget.time_zone)
        .with_context(|| format!("budget.time_zone {:?}", config.budget.time_zone))
}

fn off_peak(config: &Config) -> anyhow::Result<Option<OffPeak>> {
    let zone = time_zone(config)?;
    let window = config.dispatcher.off_peak;
    Ok(window.map(|window| OffPeak::new(window, zone)))
}

fn reuse_rules(config: &Config) -> ReuseRules {
    ReuseRules::new(config.reuse.max_age, config.reuse.wait_max)
}

/// Makes the stage that posts alerts; without an address it only takes note of them.
pub(super) fn alerter(config: &Config, clock: &Clock) -> anyhow::Result<Alerter> {
    let (budget, environment) = (&config.budget, &config.environment);
    let hook = budget.alert_hook.as_ref();
    let hook = hook.map(|url| AlertHook::new(url, budget.alert_hook_timeout));
    Ok(Alerter::new(hook.transpose()?, clock.clone(), environment))
}

pub(super) fn intake(config: &Config, edges: &Edges, views: &Views) -> anyhow::Result<Intake> {
    let money = edges.money.clone().context("intake has no money writer")?;
    let generations = match &config.kling.api_key {
        Some(_) => Generations::Both,
        None if config.kling.access_key.is_some() => Generations::LegacyOnly,
        None => Generations::Both,
    };
    let rules = IntakeRules {
        book: book(&config.pricing)?,
        screening: screening(&config.prompt)?,
        generations,
        default_purpose: config.intake.default_purpose,
        time_zone: time_zone(config)?,
        day_starts: parse_day_starts(&config.budget.day_starts)?,
        off_peak: off_peak(config)?,
        tenants: tenants(config),
        money: money_rules(config)?,
        reuse: reuse_rules(config),
        accept_timeout: config.api.accept_timeout,
        retention: config.retention.tasks,
    };
    Ok(Intake::new(
        edges.log.clone(),
        money,
        views.clone(),
        edges.clock.clone(),
        rules,
    ))
}

/// Returns the tenants that may submit over HTTP, and those with limits of their own.
fn tenants(config: &Config) -> BTreeSet<Tenant> {
    let keys = config.api.keys.iter();
    let of_keys = keys.filter_map(|key| Some(key.expose_secret().split_once(':')?.0));
    let of_budgets = config.budget.tenants.keys().map(String::as_str);
    let names = of_keys.chain(of_budgets);
    names.filter_map(|name| Tenant::parse(name).ok()).collect()
}

pub(super) fn retrier(config: &Config, intake: &Intake) -> Retrier {
    let retry = &config.retry;
    let policy = RetryPolicy {
        generation_max: retry.generation_max,
        unknown_max: retry.unknown_max,
        backoff_base: retry.backoff_base,
        backoff_cap: retry.backoff_cap,
    };
    Retrier::new(intake.clone(), policy)
}

pub(super) fn dispatcher(
    config: &Config,
    edges: &Edges,
    views: &Views,
) -> anyhow::Result<Dispatcher> {
    let rules = DispatchRules {
        rules: config.dispatcher.clone(),
        slots: SlotRules {
            default: config.kling.max_concurrent,
            by_version: config.kling.concurrency.clone().into_iter().collect(),
        },
        off_peak: off_peak(config)?,
        reuse: reuse_rules(config),
        request_timeout: config.kling.request_timeout,
        public_url: config
            .receiver
            .public_url
            .clone()
            .context("receiver.public_url is missing")?,
        keys: CapabilityKeys::parse(&config.receiver.capability_keys)?,
    };
    let (log, clock) = (edges.log.clone(), edges.clock.clone());
    Ok(Dispatcher::new(
        log,
        edges.kling()?,
        views.clone(),
        clock,
        rules,
    ))
}

/// Reads what audits of the ledger go by.
///
/// # Errors
/// The key that cannot be read.
pub fn audit_rules(config: &Config) -> anyhow::Result<AuditRules> {
    let budget = &config.budget;
    let time_zone = jiff::tz::TimeZone::get(&budget.time_zone)
        .with_context(|| format!("budget.time_zone {:?}", budget.time_zone))?;
    let day_starts = parse_day_starts(&budget.day_starts)?;
    let lag = config.reconciler.audit_lag;
    Ok(AuditRules::new(time_zone, day_starts, lag))
}

pub(super) fn receiver(config: &Config, edges: &Edges) -> anyhow::Result<Receiver> {
    Ok(Receiver::new(
        edges.log.clone(),
        edges.clock.clone(),
        CapabilityKeys::parse(&config.receiver.capability_keys)?,
        WebhookSecrets::parse(&config.receiver.webhook_secrets)?,
        &config.receiver,
    ))
}

pub(super) fn completer(config: &Config, edges: &Edges) -> anyhow::Result<Completer> {
    let unsigned = match config.receiver.unsigned {
        config::Unsigned::Confirm => UnsignedPolicy::Confirm,
        config::Unsigned::Accept => UnsignedPolicy::Accept,
        config::Unsigned::Reject => UnsignedPolicy::Reject,
    };
    Ok(Completer::new(
        edges.log.clone(),
        edges.kling()?,
        edges.clock.clone(),
        unsigned,
    ))
}

pub(super) fn downloader(config: &Config, edges: &Edges) -> anyhow::Result<Downloader> {
    let spool = Spool::open(
        &config.data_dir.join("spool"),
        config.storage.spool_max_bytes,
    )?;
    let fetcher = Fetcher::new(&config.storage, spool, edges.clock.clone())?;
    let storage = Storage::open(&config.storage, &config.data_dir)?;
    Ok(Downloader::new(
        edges.log.clone(),
        edges.kling()?,
        fetcher,
        storage,
        edges.clock.clone(),
        config.storage.concurrency,
    ))
}

pub(super) fn digest(config: &Config, edges: &Edges) -> Digest {
    let (log, clock) = (edges.log.clone(), edges.clock.clone());
    Digest::new(log, clock, config.usage.digest_every)
}

pub(super) fn reports(config: &Config, edges: &Edges) -> anyhow::Result<Reports> {
    let (log, clock) = (edges.log.clone(), edges.clock.clone());
    let cost = &config.pricing.cost;
    Reports::new(log, clock, &config.budget, cost, &config.usage)
}

/// Starts the private broker; another process of the same data directory may run it already.
pub(super) async fn private_server(
    config: &Config,
    clock: &Clock,
) -> Result<(Option<PrivateServer>, Endpoint), ServerError> {
    match PrivateServer::start(&config.data_dir, &config.nats, clock).await {
        Ok((server, endpoint)) => Ok((Some(server), endpoint)),
        Err(ServerError::InUse { .. }) => enter(&config.data_dir, &config.nats, clock).await,
        Err(error) => Err(error),
    }
}
