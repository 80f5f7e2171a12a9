//! How events are printed: to standard error, filtered by `log.level`.
//!
//! Invariant: whatever the level says, other people's crates print nothing finer
//! than `info`, since a request line there would hold health data; and the
//! warnings of the Temporal SDK always show, since a failed task has no other
//! sign. What the SDK itself sees is our ids, counts and codes.

use crate::{LogFormat, LogSettings};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Why events cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is no filter directive.
    #[error("`log.level` is no filter directive: {0}")]
    Filter(#[from] ParseError),
    /// This process already prints its events.
    #[error("start telemetry: {0}")]
    Twice(#[from] TryInitError),
}

/// Prints this process's events from now on. Called once, by `main`.
///
/// # Errors
/// When the level cannot be parsed or telemetry has been started before.
pub fn init(settings: &LogSettings) -> Result<(), Error> {
    subscriber(settings, std::io::stderr)?.try_init()?;
    Ok(())
}

/// What [`init`] installs, with another place to write to: tests read it.
///
/// # Errors
/// When the level cannot be parsed.
pub fn subscriber<W>(
    settings: &LogSettings,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static + use<W>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&settings.level)?
        .and(filter_fn(is_printable))
        .or(filter_fn(is_sdk_warning));
    let format = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        LogFormat::Text => format.with_ansi(false).boxed(),
        LogFormat::Json => format.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// Whether an event comes from code whose events hold no health data, or is too
/// coarse to hold any.
fn is_printable(event: &Metadata<'_>) -> bool {
    let target = event.target();
    target.starts_with("chartlift")
        || target.starts_with("temporalio")
        || *event.level() <= Level::INFO
}

/// Whether this is how the Temporal SDK tells of a failed task.
fn is_sdk_warning(event: &Metadata<'_>) -> bool {
    event.target().starts_with("temporalio") && *event.level() <= Level::WARN
}
