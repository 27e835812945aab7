//! Logs on stderr: one JSON object a line, or text for a person at a terminal.

use std::error::Error;
use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// For machines.
    Json,
    /// For a person; with colours or without.
    Text {
        /// Whether to colour.
        colour: bool,
    },
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings<'a> {
    /// Stands in every line.
    pub environment: &'a str,
    /// Directives as in `RUST_LOG`; else `info`, or `warn` when quiet, and less of HTTP/2.
    pub filter: Option<&'a str>,
    /// Whether to say less.
    pub quiet: bool,
    /// How lines look.
    pub form: LogForm,
}

/// Directives that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG cannot be read: expected something like \"info,kling_relay=debug\"")]
pub struct InvalidFilter {
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging to stderr for the whole process. A second call changes nothing.
///
/// # Errors
/// [`InvalidFilter`] when the directives cannot be read.
pub fn init_logs(settings: &LogSettings<'_>) -> Result<(), InvalidFilter> {
    let subscriber = subscriber(settings, std::io::stderr)?;
    // A test binary may have a subscriber already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Makes the subscriber that [`init_logs`] installs.
///
/// # Errors
/// [`InvalidFilter`] when the directives cannot be read.
pub fn subscriber<W>(
    settings: &LogSettings<'_>,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, InvalidFilter>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Of HTTP/2 strangers can make it warn as often as they like.
    let default = if settings.quiet {
        "warn,h2=error"
    } else {
        "info,h2=error"
    };
    let wanted = EnvFilter::try_new(settings.filter.unwrap_or(default))
        .map_err(|source| InvalidFilter { source })?;
    // In their details HTTP and broker libraries show paths, headers and bodies, which hold
    // capabilities, credentials and prompts: nobody gets those, whatever is asked for.
    let discreet = filter_fn(|line| {
        *line.level() <= Level::INFO || line.target().starts_with(env!("CARGO_CRATE_NAME"))
    });
    let filter = wanted.and(discreet);
    let layer = match settings.form {
        LogForm::Json => tracing_subscriber::fmt::layer()
            .event_format(Lines::new(settings.environment))
            .fmt_fields(JsonFields::new())
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
        LogForm::Text { colour } => tracing_subscriber::fmt::layer()
            .with_ansi(colour)
            .with_target(false)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer))
}

/// Logs panics like everything else, instead of as text between the lines.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panic: {message}");
    }));
}

/// Shows an error with everything that led to it, once, where it is handled.
#[must_use]
pub fn chain(error: &dyn Error) -> impl fmt::Display {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// JSON lines that begin with the service and its environment.
struct Lines {
    json: Format<Json>,
    /// The constant fields, with their commas.
    constant: String,
}

impl Lines {
    fn new(environment: &str) -> Self {
        let environment = serde_json::Value::from(environment);
        Self {
            json: Format::default().json().flatten_event(true),
            constant: format!(r#""service":"kling-relay","environment":{environment},"#),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.json
            .format_event(context, Writer::new(&mut line), event)?;
        let fields = line.strip_prefix('{').unwrap_or(&line);
        write!(writer, "{{{}{fields}", self.constant)
    }
}
