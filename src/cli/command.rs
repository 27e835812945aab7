//! From parsed arguments to one call, and from its result to the exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use super::{BatchArgs, BudgetCommand, Cli, Command, EstimateArgs, SimulatorArgs, SubmitArgs};
use crate::app::{self, App};
use crate::config::{Config, ConfigError, Role, log_directives, no_colour, process_environment};
use crate::decide::budget::{day_of, parse_day_starts};
use crate::demo;
use crate::edge::clock::Clock;
use crate::edge::kling::client::QueryReason;
use crate::edge::kling::lists::{Lists, limiter};
use crate::model::ids::{Day, TaskId, Tenant};
use crate::ops::connect::{Connected, Need, connect};
use crate::ops::output::Output;
use crate::ops::recover::Recovery;
use crate::ops::{
    Usage, batch, budget, dead, estimate, events, recover, replay, requests, schemas, submit,
    tasks, usage,
};
use crate::sim::{SimConfig, Simulator};
use crate::telemetry::{self, LogForm, LogSettings};

/// Done.
const DONE: u8 = 0;
/// Failed.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// Runs a command; the code is 0 when done, 1 when it failed, 2 for wrong usage or configuration.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let output = Output::new(cli.json, cli.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("no runtime: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let code = match runtime.block_on(dispatch(&cli, output)) {
        Ok(true) => DONE,
        Ok(false) => FAILED,
        Err(error) => {
            output.error(&format!("{error:#}"));
            if error.is::<ConfigError>() || error.is::<Usage>() {
                USAGE
            } else {
                FAILED
            }
        }
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ExitCode::from(code)
}

/// Ends when somebody asks the program to stop, by Ctrl-C or SIGTERM.
///
/// From the call on, before the first poll, neither ends the program by itself: call it before
/// anything begins that must not be left half done, and before anybody is told that it has.
///
/// # Panics
/// Outside of the runtime.
pub fn interruption() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let wish = |kind| {
        let signals = signal(kind);
        async move {
            match signals {
                Ok(mut signals) => _ = signals.recv().await,
                // It ends the program by itself, as if nobody had asked for it.
                Err(_) => std::future::pending().await,
            }
        }
    };
    let (interrupt, terminate) = (wish(SignalKind::interrupt()), wish(SignalKind::terminate()));
    async move {
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
        }
    }
}

async fn dispatch(cli: &Cli, output: Output) -> anyhow::Result<bool> {
    if let Some(later) = later(&cli.command) {
        output.error(&format!(
            "not-implemented: `{later}` is documented and not there yet"
        ));
        // Asking for what is not there is a matter of usage.
        std::process::exit(i32::from(USAGE));
    }
    let config = Config::load(cli.config.as_deref(), process_environment())?;
    start_logs(cli, &config)?;
    match &cli.command {
        Command::Config => {
            config.check()?;
            app::check(&config).map_err(Usage::of)?;
            let text = config.effective_redacted();
            let document: serde_json::Value = toml::from_str(&text)?;
            output.result(&document, text.trim_end());
            return Ok(true);
        }
        Command::Schemas(args) => return schemas::write(&args.directory, output),
        Command::Simulator(args) => return simulator(args, output).await,
        Command::Demo(args) => {
            let recorder = telemetry::recorder(&config.environment);
            return Box::pin(demo::demo(config, args, recorder, output)).await;
        }
        Command::Dev(args) => {
            let recorder = telemetry::recorder(&config.environment);
            return Box::pin(demo::dev(config, args.seed, recorder, output)).await;
        }
        Command::Serve(args) => {
            let all = Role::ALL.to_vec();
            let roles = if args.role.is_empty() {
                all
            } else {
                args.role.clone()
            };
            config.check_serve(&roles)?;
            app::check(&config).map_err(Usage::of)?;
            let recorder = telemetry::recorder(&config.environment);
            let mut stop = std::pin::pin!(interruption());
            // What has not started has nothing to drain.
            let app = tokio::select! {
                app = App::start(&config, &roles, Clock::system(), recorder) => app?,
                () = &mut stop => return Ok(true),
            };
            stop.await;
            app.stop().await;
            return Ok(true);
        }
        _ => {}
    }
    config.check()?;
    check_arguments(&cli.command).map_err(Usage::of)?;
    if let Command::Reconcile(args) = &cli.command {
        args.check(&config).map_err(Usage::of)?;
    }
    let clock = Clock::system();
    let link = connect(&config, &clock, need(&cli.command)).await?;
    let done = linked(cli, &config, &clock, &link, output).await;
    link.close().await;
    done
}

/// The commands that speak to the broker.
async fn linked(
    cli: &Cli,
    config: &Config,
    clock: &Clock,
    link: &Connected,
    output: Output,
) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Submit(args) => submit::run(link, args, output).await,
        Command::Batch(args) => batch::run(link, args, output).await,
        Command::Estimate(args) => estimate::run(link, args, output).await,
        Command::Tasks(command) => tasks::run(link, command, output).await,
        Command::Events(command) => events::run(link, command, clock, output).await,
        Command::Replay(args) => replay::run(link, args, &limiter(args.rate), clock, output).await,
        Command::Dead(command) => dead::run(link, command, clock, output).await,
        Command::Recover(args) => {
            let kling = Arc::new(app::kling(config, clock)?);
            let limiter = limiter(config.reconciler.queries_per_second);
            let recovery = Recovery {
                link,
                lists: Lists::new(kling, limiter, QueryReason::Recover),
                clock,
                args,
            };
            Box::pin(recovery.run(output)).await
        }
        Command::Reconcile(args) => Box::pin(args.run(config, clock, link, output)).await,
        Command::Budget(BudgetCommand::Show {
            tenant,
            day,
            history,
        }) => {
            let time_zone = jiff::tz::TimeZone::get(&config.budget.time_zone)?;
            let day_starts = parse_day_starts(&config.budget.day_starts)?;
            let today = day_of(clock.now(), &time_zone, day_starts);
            let key = budget::key(tenant, day.as_deref(), today)?;
            let limits = app::day_limits(config, &key.owner)?;
            budget::show(link, &key, &limits, *history, output).await
        }
        Command::Budget(BudgetCommand::Set(args)) => {
            budget::set(link, budget::wish(args)?, output).await
        }
        Command::Usage(command) => {
            let calendar = usage::Calendar::new(&config.budget)?;
            let settings = usage::Settings {
                today: calendar.day(clock.now()),
                calendar,
                rates: usage::rates(&config.pricing.cost),
                book: app::book(&config.pricing)?,
                environment: &config.environment,
            };
            usage::run(link, command, &settings, output).await
        }
        _ => Ok(false),
    }
}

/// Reads what can be read before anybody is asked: a slip is told at once, service or not.
fn check_arguments(command: &Command) -> anyhow::Result<()> {
    use super::TasksCommand::{Cancel, List, Show, Watch};
    match command {
        Command::Submit(SubmitArgs {
            request, tenant, ..
        }) => {
            Tenant::parse(&tenant.tenant)?;
            requests::from_args(request)?;
        }
        Command::Estimate(EstimateArgs {
            file: None,
            request,
            tenant,
            ..
        }) => {
            Tenant::parse(&tenant.tenant)?;
            requests::from_args(request)?;
        }
        Command::Estimate(EstimateArgs {
            file: Some(file),
            tenant,
            ..
        })
        | Command::Batch(BatchArgs { file, tenant, .. }) => {
            Tenant::parse(&tenant.tenant)?;
            requests::from_file(file)?;
        }
        Command::Tasks(List {
            tenant,
            status,
            label,
            ..
        }) => {
            Tenant::parse(&tenant.tenant)?;
            tasks::check(status.as_deref(), label.as_deref())?;
        }
        Command::Tasks(Show { task } | Watch { task } | Cancel { task }) => {
            TaskId::parse(task)?;
        }
        Command::Events(command) => events::check(command)?,
        Command::Replay(args) => replay::check(args)?,
        Command::Dead(command) => dead::check(command)?,
        Command::Recover(args) => recover::check(args, Clock::system().now())?,
        Command::Usage(command) => usage::check(command)?,
        Command::Budget(BudgetCommand::Set(args)) => {
            budget::wish(args)?;
        }
        Command::Budget(BudgetCommand::Show { tenant, day, .. }) => {
            // Any day will do for today: only the flags are looked at.
            budget::key(tenant, day.as_deref(), Day(jiff::civil::Date::ZERO))?;
        }
        _ => {}
    }
    Ok(())
}

/// Commands that submit, cancel, correct or change limits go through the service, which alone moves
/// money;
/// the others read.
fn need(command: &Command) -> Need {
    use super::TasksCommand::{Cancel, List};
    match command {
        Command::Submit(_)
        | Command::Batch(_)
        | Command::Estimate(_)
        | Command::Tasks(List { .. } | Cancel { .. })
        | Command::Budget(BudgetCommand::Set(_)) => Need::Service,
        Command::Reconcile(args) if args.post => Need::Service,
        Command::Recover(args) if args.rebuild => Need::Service,
        _ => Need::Log,
    }
}

/// Names the commands that belong to a later version.
fn later(command: &Command) -> Option<&'static str> {
    match command {
        Command::Doctor(_) => Some("doctor"),
        Command::Smoke(_) => Some("smoke"),
        _ => None,
    }
}

async fn simulator(args: &SimulatorArgs, output: Output) -> anyhow::Result<bool> {
    let mut config: SimConfig = match &args.settings {
        Some(path) => std::fs::read_to_string(path)
            .map_err(anyhow::Error::new)
            .and_then(|text| Ok(toml::from_str(&text)?))
            .map_err(|error| Usage::of(error.context(format!("cannot use {}", path.display()))))?,
        None => SimConfig::default(),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    config.plain_http_listen = args.plain_listen.or(config.plain_http_listen);
    let stop = interruption();
    let sim = Simulator::start(config).await?;
    output.say(&format!("platform    {}", sim.base_url()));
    if let Some(plain) = sim.plain_url() {
        output.say(&format!("plain HTTP  {plain}"));
    }
    stop.await;
    output.result(&sim.stats(), "stopped");
    sim.stop().await;
    Ok(true)
}

fn start_logs(cli: &Cli, config: &Config) -> anyhow::Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && !no_colour();
    let service = matches!(cli.command, Command::Serve(_) | Command::Simulator(_));
    // The demo provokes every warning there is; its summary says what they came to.
    let demo = matches!(cli.command, Command::Demo(_)).then(|| "off".to_owned());
    let filter = log_directives().or(demo);
    let form = match terminal {
        true => LogForm::Text { colour },
        false => LogForm::Json,
    };
    let settings = LogSettings {
        environment: &config.environment,
        filter: filter.as_deref(),
        // Who runs a command wants its result; who runs a service wants its log.
        quiet: cli.quiet || !service,
        form,
    };
    telemetry::init_logs(&settings).map_err(|error| Usage::of(anyhow::Error::new(error)))?;
    telemetry::log_panics();
    Ok(())
}
