//! `temporal.json`: what is known of a folder's last server.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::DevServerOptions;
use super::process::ProcessRef;

const FILE: &str = "temporal.json";

/// What `temporal.json` says about the last server of a folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(flatten)]
    pub(super) process: ProcessRef,
    pub(super) port: u16,
    pub(super) ui_port: u16,
    /// The preferred ports of that start: others, and a new choice is made.
    pub(super) asked: (u16, u16),
}

impl State {
    /// `None` too if a kill left half of it: the orphan is then found without it.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok()
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        std::fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("write {}", path.display()))
    }

    /// Whether that start wanted the same ports: then its choice is kept, so that
    /// bookmarks stay.
    pub(super) fn was_asked(&self, options: &DevServerOptions) -> bool {
        self.asked == (options.grpc_port, options.ui_port)
    }
}
