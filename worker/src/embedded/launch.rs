//! How the server is started, known again, and found to be ready.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::DevServerOptions;
use super::cli::last_lines;
use super::process::{self, ProcessRef};
use super::state::State;

/// A cold start on a large file on a slow disk.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(100);
/// An orphan that is well answers at once.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);
/// One look at a server, connect and call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may answer without having told its log so.
const SILENT_PATIENCE: Duration = Duration::from_secs(3);

/// Everything that a server is started with, the same at each restart.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    cli: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) port: u16,
    pub(super) ui_port: u16,
    asked: (u16, u16),
    namespace: String,
    search_attributes: &'static [&'static str],
}

impl Launch {
    /// With no ports yet.
    pub(super) fn new(options: &DevServerOptions, cli: PathBuf) -> Result<Self> {
        let dir = std::path::absolute(&options.dir)?;
        if dir.to_str().is_none() {
            bail!("the data folder's path must be UTF-8: {}", dir.display());
        }
        Ok(Self {
            cli,
            dir,
            port: 0,
            ui_port: 0,
            asked: (options.grpc_port, options.ui_port),
            namespace: options.namespace.clone(),
            search_attributes: options.search_attributes,
        })
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "server",
            "start-dev",
            "--ip",
            "127.0.0.1",
            "--ui-ip",
            "127.0.0.1",
        ]
        .map(str::to_owned)
        .into();
        // Without WAL one outside reader of the file jams the server for good.
        for (name, value) in [
            (
                "--db-filename",
                self.dir.join("temporal.db").display().to_string(),
            ),
            ("--port", self.port.to_string()),
            ("--ui-port", self.ui_port.to_string()),
            ("--namespace", self.namespace.clone()),
            ("--sqlite-pragma", "journal_mode=WAL".to_owned()),
            ("--sqlite-pragma", "synchronous=NORMAL".to_owned()),
            ("--log-level", "warn".to_owned()),
            ("--log-format", "json".to_owned()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        for name in self.search_attributes {
            arguments.extend(["--search-attribute".to_owned(), format!("{name}=Keyword")]);
        }
        arguments
    }

    /// What the command line of each server of this folder has in it, and of no
    /// other process.
    pub(super) fn mark(&self) -> String {
        format!(
            " start-dev --ip 127.0.0.1 --ui-ip 127.0.0.1 --db-filename {} ",
            self.dir.join("temporal.db").display()
        )
    }

    /// Starts a child and writes `temporal.json`. A `fresh` one empties the log;
    /// a restart keeps what its forerunner said last.
    pub(super) fn spawn(&self, fresh: bool) -> Result<Child> {
        let path = self.log_file();
        let log = OpenOptions::new().append(true).create(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        if fresh {
            log.set_len(0)
                .with_context(|| format!("empty {}", path.display()))?;
        }
        let child = self.command(log)?.spawn();
        let child = child.with_context(|| format!("start {}", self.cli.display()))?;
        if let Some(pid) = child.id() {
            self.write_state(ProcessRef::of(pid))?;
        }
        Ok(child)
    }

    fn command(&self, log: File) -> Result<Command> {
        let mut command = Command::new(&self.cli);
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the server's log")?)
            .stderr(log)
            .kill_on_drop(true);
        // Ctrl-C in the terminal must not end it before the worker has drained.
        #[cfg(unix)]
        command.process_group(0);
        Ok(command)
    }

    fn write_state(&self, process: ProcessRef) -> Result<()> {
        let Self {
            port,
            ui_port,
            asked,
            ..
        } = *self;
        State {
            process,
            port,
            ui_port,
            asked,
        }
        .write(&self.dir)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("temporal.log")
    }

    fn log(&self) -> String {
        std::fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last five lines of the server's log.
    pub(super) fn log_tail(&self) -> String {
        last_lines(&self.log())
    }

    /// The server that a killed run left on this folder, if it has our arguments
    /// and answers; if not, it is ended.
    pub(super) async fn adopt(&self) -> Result<Option<(Self, ProcessRef)>> {
        let Some((orphan, line)) = self.find_orphan() else {
            return Ok(None);
        };
        let mut launch = self.clone();
        launch.port = number_after(&line, "--port").unwrap_or(0);
        launch.ui_port = number_after(&line, "--ui-port").unwrap_or(0);
        if line.ends_with(&launch.arguments().join(" "))
            && launch.answers_within(ORPHAN_PATIENCE).await
        {
            tracing::info!(
                pid = orphan.pid,
                "going on with the Temporal dev server of an earlier run"
            );
            launch.write_state(orphan.clone())?;
            return Ok(Some((launch, orphan)));
        }
        tracing::warn!(
            pid = orphan.pid,
            "ending the Temporal dev server of an earlier run"
        );
        orphan.end(&self.mark()).await;
        if orphan.command_line().is_some() {
            bail!(
                "process {} works on {} and cannot be ended: end it",
                orphan.pid,
                self.dir.display()
            );
        }
        Ok(None)
    }

    /// By `temporal.json`; if a kill came before it was written, by a look at all
    /// processes.
    fn find_orphan(&self) -> Option<(ProcessRef, String)> {
        let mark = self.mark();
        let noted = State::read(&self.dir).map(|state| state.process);
        [noted, process::find(&mark)]
            .into_iter()
            .flatten()
            .find_map(|process| {
                let line = process.command_line().filter(|line| line.contains(&mark))?;
                Some((process, line))
            })
    }

    /// Waits until the child answers; an error says why it does not.
    pub(super) async fn wait_ready(&self, child: &mut Child) -> Result<()> {
        let deadline = Instant::now() + READY_PATIENCE;
        let mut first_answer = None;
        loop {
            if let Some(status) = child.try_wait().context("watch the Temporal dev server")? {
                bail!(
                    "the Temporal dev server ended at its start ({status}):\n{}",
                    self.log_tail()
                );
            }
            if self.answers().await {
                // If another server was quicker to take the port, it is that one
                // which answers, and ours is about to end: believe its own log.
                let since = *first_answer.get_or_insert_with(Instant::now);
                let announced = self.log().contains(&format!("localhost:{}", self.port));
                if announced || since.elapsed() > SILENT_PATIENCE {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "the Temporal dev server does not answer after {} s:\n{}",
                    READY_PATIENCE.as_secs(),
                    self.log_tail()
                );
            }
            sleep(READY_POLL).await;
        }
    }

    async fn answers_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.answers().await {
            if Instant::now() > deadline {
                return false;
            }
            sleep(READY_POLL).await;
        }
        true
    }

    /// Whether a server listens here that knows our namespace.
    pub(super) async fn answers(&self) -> bool {
        let Ok(url) = Url::parse(&format!("http://127.0.0.1:{}", self.port)) else {
            return false;
        };
        let options = ConnectionOptions::new(url)
            .connect_timeout(CALL_TIMEOUT)
            .retry_options(RetryOptions::no_retries())
            .build();
        let request = DescribeNamespaceRequest {
            namespace: self.namespace.clone(),
            ..Default::default()
        };
        let call = async {
            let mut connection = Connection::connect(options).await.ok()?;
            connection
                .describe_namespace(request.into_request())
                .await
                .ok()
        };
        matches!(timeout(CALL_TIMEOUT, call).await, Ok(Some(_)))
    }
}

fn number_after(line: &str, flag: &str) -> Option<u16> {
    line.split_whitespace()
        .skip_while(|word| *word != flag)
        .nth(1)?
        .parse()
        .ok()
}
