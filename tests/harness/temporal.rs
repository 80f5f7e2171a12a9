//! A Temporal dev server as a process of its own, which nobody restarts but the
//! test: it can be killed, kept down for a while, and started again on the same
//! file and ports, or without its file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use url::Url;
use worker::embedded::{free_port, temporal_cli};

use crate::process;

const CALL_MAX: Duration = Duration::from_secs(2);
/// Starts until a port stays free long enough.
const STARTS_MAX: u32 = 5;
const READY_MAX: Duration = Duration::from_secs(60);

/// The server; killed when dropped.
#[derive(Debug)]
pub struct TemporalProcess {
    cli: PathBuf,
    dir: PathBuf,
    port: u16,
    ui_port: u16,
    apart: bool,
    child: Option<Child>,
}

impl TemporalProcess {
    /// Starts a server in a folder of its own and waits until it answers.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::begin(dir, (0, 0), false).await
    }

    /// The same near these ports, of the server and of its UI. The terminal's Ctrl-C
    /// does not reach it.
    pub async fn start_apart(dir: &Path, ports: (u16, u16)) -> Result<Self> {
        Self::begin(dir, ports, true).await
    }

    async fn begin(dir: &Path, ports: (u16, u16), apart: bool) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut server = Self {
            cli: temporal_cli().await?,
            dir: dir.to_owned(),
            port: free_port(ports.0)?,
            ui_port: free_port(ports.1)?,
            apart,
            child: None,
        };
        for _ in 1..STARTS_MAX {
            if server.restart().await.is_ok() {
                return Ok(server);
            }
            // Somebody else was quicker to take a port.
            (server.port, server.ui_port) = (free_port(0)?, free_port(0)?);
        }
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect; the same after each restart.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its UI is.
    #[must_use]
    pub fn ui_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ui_port)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        process::has_ended(&mut self.child)
    }

    /// A client of it.
    pub async fn client(&self) -> Result<temporalio_client::Client> {
        worker::connect(&self.address(), "default").await
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        process::kill(&mut self.child)
    }

    /// Ends it, as it is asked to in earnest.
    pub fn stop(&mut self) -> Result<()> {
        process::stop(&mut self.child)
    }

    /// Removes all that a killed server has kept.
    pub fn forget(&self) -> Result<()> {
        for name in ["temporal.db", "temporal.db-wal", "temporal.db-shm"] {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {name}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts it on the same file and ports and waits until it answers.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let mut child = self.spawn()?;
        let until = Instant::now() + READY_MAX;
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            if let Some(status) = child.try_wait()? {
                bail!("Temporal ended at its start: {status}\n{}", self.log());
            }
            if self.answers().await {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                bail!("Temporal does not answer\n{}", self.log());
            }
        }
    }

    async fn answers(&self) -> bool {
        let Ok(url) = Url::parse(&self.address()) else {
            return false;
        };
        let options = ConnectionOptions::new(url)
            .connect_timeout(CALL_MAX)
            .retry_options(RetryOptions::no_retries())
            .build();
        let request = DescribeNamespaceRequest {
            namespace: "default".to_owned(),
            ..Default::default()
        };
        let call = async {
            let mut connection = Connection::connect(options).await.ok()?;
            connection
                .describe_namespace(request.into_request())
                .await
                .ok()
        };
        matches!(tokio::time::timeout(CALL_MAX, call).await, Ok(Some(_)))
    }

    fn spawn(&self) -> Result<Child> {
        let log = process::log(&self.log_file())?;
        let mut command = Command::new(&self.cli);
        command
            .args(["server", "start-dev", "--ip", "127.0.0.1"])
            .args(["--ui-ip", "127.0.0.1", "--namespace", "default"])
            .args(["--port", &self.port.to_string()])
            .args(["--ui-port", &self.ui_port.to_string()])
            .args(["--log-level", "warn", "--log-format", "json"])
            .args(["--sqlite-pragma", "journal_mode=WAL"])
            .args(["--sqlite-pragma", "synchronous=NORMAL"])
            .arg("--db-filename")
            .arg(self.dir.join("temporal.db"));
        for name in steps::SEARCH_ATTRIBUTES {
            command.args(["--search-attribute", &format!("{name}=Keyword")]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        process::spawn(&mut command, self.apart).context("start Temporal")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("temporal.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for TemporalProcess {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.kill();
    }
}
