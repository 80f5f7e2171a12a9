//! What is printed: no secret, and events as they were asked for.

use crate::{LogFormat, LogSettings};
use std::sync::{Arc, Mutex};

use super::{KEY, load};

#[test]
fn secrets_are_not_printed() {
    let flags = [("secrets.encryption_key", KEY), ("api.port", "9000")];
    let settings = load(None, &[], &flags).unwrap();
    let (printed, debugged) = (settings.print_redacted(), format!("{settings:?}"));
    assert!(!printed.contains(KEY) && !debugged.contains(KEY));
    assert!(
        printed.contains("encryption_key = \"[redacted]\""),
        "{printed}"
    );
    assert!(
        printed.contains("port = 9000  # the command line"),
        "{printed}"
    );
    assert!(printed.contains("sqlite://"), "{printed}");
    assert!(printed.parse::<toml::Table>().is_ok());
}

#[test]
fn the_password_of_the_database_is_not_printed() {
    for url in [
        "postgres://ann:hush@db.example/chartlift",
        "postgresql://db.example/chartlift?user=ann&password=hush",
    ] {
        let settings = load(None, &[], &[("database.url", url)]).unwrap();
        assert_eq!(settings.database.url.expose(), url);
        assert!(settings.database.is_postgres());
        let (printed, debugged) = (settings.print_redacted(), format!("{settings:?}"));
        assert!(printed.contains("db.example/chartlift"), "{printed}");
        assert!(!printed.contains("hush") && !debugged.contains("hush"));
    }
}

/// A writer a test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn printed_at(level: &str, format: LogFormat) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let settings = LogSettings {
        level: level.into(),
        format,
    };
    let subscriber = crate::telemetry::subscriber(&settings, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!(target: "chartlift_source::page", count = 3, "ours fine");
        tracing::info!(target: "chartlift", "ours coarse");
        tracing::trace!(target: "h2::codec", "theirs fine");
        tracing::info!(target: "h2", "theirs coarse");
        tracing::warn!(target: "temporalio_sdk_core::worker", "task failed");
        tracing::info!(target: "temporalio_client", "sdk info");
    });
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn at_trace_other_crates_stay_coarse() {
    let text = printed_at("trace", LogFormat::Text);
    for shown in [
        "ours fine",
        "ours coarse",
        "theirs coarse",
        "task failed",
        "sdk info",
    ] {
        assert!(text.contains(shown), "{shown} missing in {text}");
    }
    assert!(!text.contains("theirs fine"), "{text}");
}

#[test]
fn at_error_a_failed_task_still_shows() {
    let text = printed_at("error", LogFormat::Json);
    assert!(text.contains("task failed") && !text.contains("ours") && !text.contains("sdk info"));
    assert!(
        text.starts_with('{') && text.contains("\"message\":\"task failed\""),
        "{text}"
    );
}

#[test]
fn an_event_is_printed_though_somebody_asked_for_another() {
    use tracing::callsite::Callsite;

    let captured = Captured::default();
    let writer = captured.clone();
    let settings = LogSettings {
        level: "info".to_owned(),
        format: LogFormat::Text,
    };
    let subscriber = crate::telemetry::subscriber(&settings, move || writer.clone()).unwrap();
    let query = tracing::callsite! {
        name: "query",
        kind: tracing::metadata::Kind::EVENT,
        target: "sqlx::query",
        level: tracing::Level::DEBUG,
        fields: message
    };
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..2 {
            // As the crate `log` asks.
            tracing::dispatcher::get_default(|now| now.enabled(query.metadata()));
            tracing::warn!(target: "chartlift", number, "what counts");
        }
    });
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("what counts").count(), 2, "{text}");
}
