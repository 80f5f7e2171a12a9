//! The append-only record of what the portal served: the truth that tests
//! hold a pull against. It holds ids and hashes, never bodies.

use crate::bundle::compact;
use crate::knobs::Knobs;
use crate::row::Row;
use anyhow::Context;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One answered request, the sandbox's own doors apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// When the answer was ready, in microseconds since 1970.
    pub at_us: i64,
    /// The HTTP method.
    pub method: String,
    /// Path and query as they came in. The data is synthetic, so they may stand here.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The resources in the answer's body, in order; OperationOutcomes are not listed.
    pub resources: Vec<Served>,
    /// The document that was given, as its bytes or as a Binary resource with these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ServedBytes>,
}

/// The bytes of a served document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedBytes {
    /// The Binary's `id`.
    pub id: String,
    /// How many there are.
    pub size_bytes: u64,
    /// Their SHA-256, in hex.
    pub sha256: String,
    /// Whether all of them were sent.
    pub is_whole: bool,
}

impl ServedBytes {
    pub(crate) fn of(id: &str, bytes: &[u8], is_whole: bool) -> Self {
        Self {
            id: id.to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: HEXLOWER.encode(&Sha256::digest(bytes)),
            is_whole,
        }
    }
}

/// One served resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Its `resourceType`; empty where it has no usable type and id.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its `id`; empty where it has no usable type and id.
    pub id: String,
    /// SHA-256 of its compact text, in hex.
    pub sha256: String,
}

impl Served {
    /// What of a row leaves: a broken one has no usable type and id.
    pub(crate) fn under(knobs: &Knobs, row: &Row) -> Self {
        let served = Self::of(row);
        match knobs.broken(row) {
            Some(_) => Self {
                ty: String::new(),
                id: String::new(),
                ..served
            },
            None => served,
        }
    }

    fn of(row: &Row) -> Self {
        let (ty, id) = row.key.clone().unwrap_or_default();
        Self {
            ty,
            id,
            sha256: HEXLOWER.encode(&Sha256::digest(compact(&row.raw))),
        }
    }
}

/// The log in memory, and its copy on disk as NDJSON.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<LogEntry>,
    file: Option<File>,
}

impl Log {
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("open the log file {}", path.display()))
        };
        Ok(Self {
            entries: Vec::new(),
            file: path.map(open).transpose()?,
        })
    }

    pub(crate) fn append(
        &mut self,
        method: String,
        path: String,
        status: u16,
        resources: Vec<Served>,
        bytes: Option<ServedBytes>,
    ) {
        let at_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_micros() as i64);
        let seq = self.entries.len() as u64 + 1;
        let entry = LogEntry {
            seq,
            at_us,
            method,
            path,
            status,
            resources,
            bytes,
        };
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&entry).expect("a log entry is plain data");
            line.push(b'\n');
            if let Err(error) = file.write_all(&line) {
                tracing::error!(%error, "the sandbox's log file could not be written");
            }
        }
        self.entries.push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        self.entries.clone()
    }
}
