//! What one key or several together may be, checked once at load, so that the
//! rest of the program need not. Each refusal names the key, where it was given
//! and what would do.

use crate::{Error, Secret, Settings};
use config_rs::Config;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use tracing_subscriber::EnvFilter;

/// Refuses values that are text but must be one of a few words, before they
/// are given to fields that would refuse them in less helpful words.
pub(crate) fn words(merged: &Config, origins: &BTreeMap<String, String>) -> Result<(), Error> {
    let refuse = |key: &str, reason: String| {
        let origin = origins.get(key).map_or("the default", String::as_str);
        Err(Error::Refused {
            key: key.into(),
            origin: origin.into(),
            reason,
        })
    };
    let format = merged.get_string("log.format")?;
    if !["text", "json"].contains(&format.as_str()) {
        return refuse(
            "log.format",
            format!("`{format}` is not a format; use text or json"),
        );
    }
    let host = merged.get_string("api.host")?;
    if host.parse::<IpAddr>().is_err() {
        return refuse(
            "api.host",
            format!("`{host}` is not an IP address; use 127.0.0.1 or ::1"),
        );
    }
    for key in ["api.port", "temporal.grpc_port", "temporal.ui_port"] {
        let port = merged.get_int(key)?;
        if !(1..=65_535).contains(&port) {
            return refuse(key, format!("{port} is not a port; use 1 to 65535"));
        }
    }
    for (key, range) in RANGES {
        let value = merged.get_int(key)?;
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            return refuse(
                key,
                format!("{value} is out of bounds; use {low} to {high}"),
            );
        }
    }
    Ok(())
}

/// The bounds of numbers. Low ends are what tests use to force many small
/// steps; high ends keep a mistyped number from taking all memory.
const RANGES: [(&str, RangeInclusive<i64>); 25] = [
    ("database.connections_max", 2..=1_000),
    ("worker.pull_slots", 1..=1_000),
    ("worker.export_slots", 1..=1_000),
    ("worker.streams_per_pull", 1..=64),
    ("worker.page_count", 1..=10_000),
    ("worker.full_pull_after_ms", 0..=31_536_000_000),
    ("worker.pull_overlap_ms", 0..=86_400_000),
    ("worker.attachment_bytes_max", 1..=1 << 32),
    // A page is at least one history event or part of one: Temporal ends a
    // workflow at 50,000 events.
    ("worker.pages_per_run", 1..=10_000),
    ("worker.chunks_per_run", 1..=1_000),
    ("worker.chunk_rows_target", 1..=10_000_000),
    ("worker.part_size_target_bytes", 1..=1 << 30),
    ("worker.staging_size_target_bytes", 1..=1 << 26),
    ("worker.chunk_save_ms", 0..=600_000),
    ("worker.linger_ms", 0..=3_600_000),
    ("worker.dispatch_interval_ms", 10..=60_000),
    ("worker.back_off_first_ms", 1..=86_400_000),
    ("worker.back_off_max_ms", 1..=604_800_000),
    ("worker.recycle_after_steps", 1..=1_000_000_000),
    ("maintain.interval_ms", 10..=86_400_000),
    ("maintain.merge_batches", 2..=10_000),
    ("maintain.merge_log_percent", 101..=10_000),
    ("maintain.superseded_age_ms", 0..=31_536_000_000),
    ("maintain.orphan_age_ms", 0..=31_536_000_000),
    ("maintain.retention_days", 1..=36_500),
];

/// Fills in what follows from other keys.
pub(crate) fn complete(
    settings: &mut Settings,
    temporal_address: Option<&str>,
) -> Result<(), Error> {
    if settings.data.dir.as_os_str().is_empty() {
        return Err(refused(settings, "data.dir", "is empty; name a folder"));
    }
    settings.data.dir = std::path::absolute(&settings.data.dir).map_err(Error::Folder)?;
    if settings.database.url.is_empty() {
        settings.database.url = Secret::new(sqlite_url(&settings.data.dir.join("chartlift.db")));
    }
    if settings.records.location.is_empty() {
        settings.records.location = settings.data.dir.join("records").display().to_string();
    }
    if let (true, Some(address)) = (settings.temporal.is_embedded(), temporal_address) {
        settings.temporal.address = address.to_owned();
        let origin = "the variable TEMPORAL_ADDRESS".to_owned();
        settings.origins.insert("temporal.address".into(), origin);
    }
    Ok(())
}

/// A path as a URL; what would end or change the path is escaped.
fn sqlite_url(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    format!("sqlite://{path}")
}

/// Refuses a settings file that was found in the data folder and names another:
/// which of the two to look in next time could not be told.
pub(crate) fn stays_put(settings: &Settings, found_in: &Path) -> Result<(), Error> {
    if settings.data.dir == std::path::absolute(found_in).map_err(Error::Folder)? {
        return Ok(());
    }
    let reason = "a settings file in the data folder cannot name another data folder; \
                  move the file to the working folder";
    Err(refused(settings, "data.dir", reason))
}

/// Refuses what is well-formed but cannot be used.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let refuse = |key: &str, reason: &str| Err(refused(settings, key, reason));
    // The value is never repeated here: it may hold a password.
    if !is_database(settings.database.url.expose()) {
        return refuse(
            "database.url",
            "is no database that is known here; use sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        );
    }
    let location = &settings.records.location;
    let is_s3 = location.starts_with("s3://");
    if location.contains("://") && !is_s3 {
        return refuse(
            "records.location",
            "this version keeps records in a local folder or in S3; use a path or s3://bucket/prefix",
        );
    }
    for (key, secret) in [
        ("s3.access_key_id", &settings.s3.access_key_id),
        ("s3.secret_access_key", &settings.s3.secret_access_key),
    ] {
        if is_s3 && secret.is_empty() {
            return refuse(key, "is empty, and `records.location` is in S3");
        }
    }
    let temporal = &settings.temporal;
    let port = temporal
        .address
        .rsplit_once(':')
        .map(|(_, port)| port.trim_end_matches('/'));
    if !temporal.is_embedded() && port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return refuse(
            "temporal.address",
            "must be host:port, as in temporal.example.org:7233",
        );
    }
    if temporal.namespace.is_empty() {
        return refuse(
            "temporal.namespace",
            "is empty; Temporal's own default is `default`",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !temporal.task_queue_prefix.chars().all(plain) {
        return refuse(
            "temporal.task_queue_prefix",
            "may hold letters, digits, '-' and '_' only",
        );
    }
    if temporal.is_embedded() && temporal.grpc_port == temporal.ui_port {
        return refuse(
            "temporal.ui_port",
            "is also `temporal.grpc_port`; use another port",
        );
    }
    let own = [
        ("temporal.grpc_port", temporal.grpc_port),
        ("temporal.ui_port", temporal.ui_port),
    ];
    if let Some((key, _)) = own.iter().find(|(_, port)| *port == settings.api.port)
        && temporal.is_embedded()
    {
        return refuse(key, "is also `api.port`; use another port");
    }
    let types = &settings.worker.attachment_types;
    if let Some(wrong) = types.iter().find(|pattern| !is_media_types(pattern)) {
        let reason =
            format!("has `{wrong}`, which is no media type; use text/plain, text/* or */*");
        return refuse("worker.attachment_types", &reason);
    }
    let secrets = &settings.secrets;
    for (name, key) in [
        ("secrets.encryption_key", &secrets.encryption_key),
        (
            "secrets.other_encryption_key",
            &secrets.other_encryption_key,
        ),
    ] {
        if !key.is_empty() && !is_key(key.expose()) {
            return refuse(
                name,
                "is not 32 bytes in base64; make one with `openssl rand -base64 32`",
            );
        }
    }
    if let Err(error) = EnvFilter::builder().parse(&settings.log.level) {
        return refuse(
            "log.level",
            &format!("{error}; use error, warn, info, debug or trace"),
        );
    }
    Ok(())
}

/// Whether this is a media type, or the beginning of some before a `*`.
fn is_media_types(pattern: &str) -> bool {
    let is_plain = |word: &str| {
        word.bytes()
            .all(|b| b.is_ascii_graphic() && !b"*/;,".contains(&b))
    };
    match pattern.split_once('/') {
        Some(("*", rest)) => rest == "*",
        Some((kind, rest)) => {
            let beginning = rest.strip_suffix('*').unwrap_or(rest);
            !kind.is_empty() && !rest.is_empty() && is_plain(kind) && is_plain(beginning)
        }
        None => false,
    }
}

/// Whether this is a file of SQLite's, or a server of PostgreSQL's and a database.
fn is_database(url: &str) -> bool {
    if url.starts_with("sqlite:") {
        return true;
    }
    let Ok(parsed) = url::Url::parse(url) else {
        return false;
    };
    ["postgres", "postgresql"].contains(&parsed.scheme()) && parsed.path().len() > 1
}

/// Whether this has the shape of 32 bytes in padded base64.
fn is_key(text: &str) -> bool {
    let digit = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    text.len() == 44
        && text
            .strip_suffix('=')
            .is_some_and(|digits| digits.bytes().all(digit))
}

fn refused(settings: &Settings, key: &str, reason: impl Display) -> Error {
    let origin = settings.origin(key).to_owned();
    Error::Refused {
        key: key.into(),
        origin,
        reason: reason.to_string(),
    }
}
