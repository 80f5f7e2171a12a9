//! The sandbox in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use url::Url;

use crate::corpus::is_uuid;
use crate::process::this_program;
use crate::side::Side;

/// Entries a page: as large as real portals give.
pub(crate) const PAGE_SIZE: u32 = 500;

/// A running portal; it ends when this is dropped.
pub(crate) struct Portal {
    child: Child,
    pub(crate) base_url: Url,
    /// The synthetic patients.
    pub(crate) patients: Vec<String>,
}

impl Portal {
    /// Starts a portal and waits until it listens.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(this_program());
        command
            .args(Side::Portal.arguments()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("start the portal")?;
        let stdout = child.stdout.take().context("the portal has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("hear from the portal")?;
        let said: Value = serde_json::from_str(&line).context("the portal did not start")?;
        let base_url = serde_json::from_value(said["base_url"].clone())
            .context("read the portal's address")?;
        let patients = serde_json::from_value(said["patients"].clone())
            .context("read the portal's patients")?;
        Ok(Self {
            child,
            base_url,
            patients,
        })
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        // Its stdin ends with us too, so nothing is left behind either way.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Serves the sandbox until stdin ends.
pub(crate) async fn serve() -> Result<Value> {
    let sandbox = Sandbox::start(SandboxOptions {
        page_size: PAGE_SIZE as usize,
        ..SandboxOptions::default()
    })
    .await?;
    let patients: Vec<String> = sandbox
        .patients()
        .into_iter()
        .map(|patient| patient.id)
        .filter(|id| is_uuid(id.as_bytes()))
        .collect();
    println!(
        "{}",
        json!({ "base_url": sandbox.base_url(), "patients": patients })
    );
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await?
        .context("read stdin")?;
    Ok(json!({}))
}
