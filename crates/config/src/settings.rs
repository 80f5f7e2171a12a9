//! The settings as the program sees them: one struct per section of
//! `default.toml`, which explains each key. Loaded, checked and completed once
//! by [`Settings::load`]; a value here is one that can be used as it stands.

mod print;
mod worker;

use crate::secret::{Secret, redacted_url};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use worker::{MaintainSettings, WorkerSettings};

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
}
