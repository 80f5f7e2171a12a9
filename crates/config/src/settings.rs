//! The settings as the program sees them: one struct per section of
//! `default.toml`, which explains each key. Loaded, checked and completed once
//! by [`Settings::load`]; a value here is one that can be used as it stands.

use crate::secret::{Secret, redacted_url};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// All settings in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[data]`
    pub data: DataSettings,
    /// `[database]`
    pub database: DatabaseSettings,
    /// `[records]`
    pub records: RecordsSettings,
    /// `[s3]`
    pub s3: S3Settings,
    /// `[guard]`
    pub guard: GuardSettings,
    /// `[api]`
    pub api: ApiSettings,
    /// `[temporal]`
    pub temporal: TemporalSettings,
    /// `[worker]`
    pub worker: WorkerSettings,
    /// `[maintain]`
    pub maintain: MaintainSettings,
    /// `[secrets]`
    pub secrets: SecretsSettings,
    /// `[log]`
    pub log: LogSettings,
    /// Where each key that is not at its default was given.
    #[serde(skip)]
    pub(crate) origins: BTreeMap<String, String>,
}

/// `[data]`: what stays on this machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// The data folder, absolute once loaded. It may not exist yet.
    pub dir: PathBuf,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The database's URL, never empty once loaded.
    #[serde(serialize_with = "redacted_url")]
    pub url: Secret,
    /// Connections to PostgreSQL that one process holds at most.
    pub connections_max: u32,
}

impl DatabaseSettings {
    /// Whether the database is a server, which several hosts may share.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        !self.url.expose().starts_with("sqlite:")
    }
}

/// `[records]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsSettings {
    /// The record store's folder or place in S3, never empty once loaded.
    pub location: String,
}

/// `[s3]`: the key to the record store, where that is in S3.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// The key's id.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// Where the store answers, or empty: Amazon's own.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// Whether it may be asked without encryption.
    pub allow_http: bool,
}

/// `[guard]`: which addresses may be connected to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuardSettings {
    /// Addresses, networks and host names beside public addresses.
    #[serde(deserialize_with = "texts")]
    pub allow: Vec<String>,
}

/// A list of texts, or one text with commas, as variables and flags have it.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Given::deserialize(from)? {
        Given::List(texts) => texts,
        Given::Text(text) => {
            let parts = text.split(',').map(str::trim);
            parts
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        }
    })
}

/// `[api]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to try first.
    pub port: u16,
}

impl ApiSettings {
    /// Host and port together.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// `[temporal]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TemporalSettings {
    /// `host:port`, or empty: then a development server is to be started.
    pub address: String,
    /// The namespace of every workflow.
    pub namespace: String,
    /// Put before each task queue's name.
    pub task_queue_prefix: String,
    /// The development server's port to try first.
    pub grpc_port: u16,
    /// The port of the development server's UI to try first.
    pub ui_port: u16,
}

impl TemporalSettings {
    /// Whether no server is named, so that one is to be started as a child.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.address.is_empty()
    }
}

/// `[worker]`: slots, budgets and sizes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Pull steps at the same time.
    pub pull_slots: usize,
    /// Export steps at the same time.
    pub export_slots: usize,
    /// Groups of types one pull fetches side by side.
    pub streams_per_pull: usize,
    /// Resources asked for per page.
    pub page_count: u32,
    /// Milliseconds after which everything of a type is asked for again.
    pub full_pull_after_ms: u64,
    /// Milliseconds that a search for changes goes back.
    pub pull_overlap_ms: u64,
    /// Bytes of the largest attachment that is fetched.
    pub attachment_bytes_max: u64,
    /// The media types of attachments that are fetched.
    #[serde(deserialize_with = "texts")]
    pub attachment_types: Vec<String>,
    /// Pages after which a pull continues as new.
    pub pages_per_run: u32,
    /// Chunks after which an export continues as new.
    pub chunks_per_run: u32,
    /// Rows packed into one chunk.
    pub chunk_rows_target: u64,
    /// Bytes at which a part is closed.
    pub part_size_target_bytes: u64,
    /// Milliseconds between two saves of a chunk's position.
    pub chunk_save_ms: u64,
    /// Bytes at which a staging object is closed.
    pub staging_size_target_bytes: u64,
    /// Milliseconds a destination waits for further pulls.
    pub linger_ms: u64,
    /// Milliseconds between two looks at what is due.
    pub dispatch_interval_ms: u64,
    /// Milliseconds that are waited after a first failure.
    pub back_off_first_ms: u64,
    /// Milliseconds that are waited after many failures, and at most.
    pub back_off_max_ms: u64,
    /// Steps after which a worker drains and is replaced by a new one.
    pub recycle_after_steps: u64,
}

impl WorkerSettings {
    /// `linger_ms` as a duration.
    #[must_use]
    pub fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    /// Pull steps that talk to one source at the same time: a quarter of all.
    #[must_use]
    pub fn source_slots(&self) -> u64 {
        (self.pull_slots as u64 / 4).max(1)
    }

    /// Pulls of one source that are at work at the same time: twice as many as its
    /// slots could serve with all their steps, since between their steps they hold
    /// none, and one that waits.
    #[must_use]
    pub fn pulls_per_source(&self) -> u64 {
        let lanes = (self.streams_per_pull as u64).max(1);
        2 * self.source_slots().div_ceil(lanes) + 1
    }

    /// `dispatch_interval_ms` as a duration.
    #[must_use]
    pub fn dispatch_interval(&self) -> Duration {
        Duration::from_millis(self.dispatch_interval_ms)
    }
}

/// `[maintain]`: upkeep of record store, destinations and database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MaintainSettings {
    /// Milliseconds between two passes.
    pub interval_ms: u64,
    /// Batches at which a log is merged.
    pub merge_batches: u64,
    /// Percentage of its live bytes at which a log is merged.
    pub merge_log_percent: u64,
    /// Milliseconds that superseded objects stay.
    pub superseded_age_ms: u64,
    /// Milliseconds that files stay that nothing names.
    pub orphan_age_ms: u64,
    /// Days that the details of ended runs stay.
    pub retention_days: u64,
}

impl MaintainSettings {
    /// `interval_ms` as a duration.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// `superseded_age_ms` as a duration.
    #[must_use]
    pub fn superseded_age(&self) -> Duration {
        Duration::from_millis(self.superseded_age_ms)
    }

    /// `orphan_age_ms` as a duration.
    #[must_use]
    pub fn orphan_age(&self) -> Duration {
        Duration::from_millis(self.orphan_age_ms)
    }

    /// `retention_days` as a duration.
    #[must_use]
    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_days * 24 * 60 * 60)
    }
}

/// `[secrets]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsSettings {
    /// 32 bytes in base64, or empty: then the key of the data folder.
    pub encryption_key: Secret,
    /// 32 bytes in base64 of a key that opens and does not seal, or empty.
    pub other_encryption_key: Secret,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A filter directive.
    pub level: String,
    /// How an event is written.
    pub format: LogFormat,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Where the value of `section.key` was given.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.origins.get(key).map_or("the default", String::as_str)
    }

    /// The settings in force as TOML, each changed key with a comment on where
    /// it was given, without secrets.
    #[must_use]
    pub fn print_redacted(&self) -> String {
        let table = toml::Table::try_from(self).expect("settings are tables of plain values");
        let mut out = String::new();
        for (section, keys) in &table {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("[{section}]\n"));
            for (key, value) in keys.as_table().into_iter().flatten() {
                out.push_str(&format!("{key} = {value}"));
                if let Some(origin) = self.origins.get(&format!("{section}.{key}")) {
                    out.push_str(&format!("  # {origin}"));
                }
                out.push('\n');
            }
        }
        out
    }
}
