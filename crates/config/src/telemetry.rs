//! How events are printed: to standard error, filtered by `log.level`.
//!
//! Invariant: whatever the level says, other people's crates print nothing finer
//! than `info`, since a request line there would hold health data; and the
//! warnings of the Temporal SDK always show, since a failed task has no other
//! sign. What the SDK itself sees is our ids, counts and codes.

use crate::{LogFormat, LogSettings};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
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
    let gate = Gate(EnvFilter::builder().parse(&settings.level)?);
    let format = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn Layer<Layered<Gate, Registry>> + Send + Sync> = match settings.format {
        LogFormat::Text => format.with_ansi(false).boxed(),
        LogFormat::Json => format.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(gate).with(layer))
}

/// What is printed, decided for the whole subscriber. A filter of the printing layer
/// alone would keep what it last answered until the next event, and drop that one:
/// `sqlx` asks, through the crate `log`, whether a query is to be logged, and then
/// logs nothing.
struct Gate(EnvFilter);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Gate {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_sdk_warning(metadata) {
            Interest::always()
        } else if is_printable(metadata) {
            Layer::<S>::register_callsite(&self.0, metadata)
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_sdk_warning(metadata)
            || (is_printable(metadata) && Layer::<S>::enabled(&self.0, metadata, context))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let hint = Layer::<S>::max_level_hint(&self.0)?;
        Some(hint.max(LevelFilter::WARN))
    }

    // A directive may name a span and a field of it.
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_new_span(&self.0, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Layer::<S>::on_record(&self.0, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_enter(&self.0, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_exit(&self.0, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Layer::<S>::on_close(&self.0, id, context);
    }
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
