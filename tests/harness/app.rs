//! A deployment under test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use config::{LoadOptions, Settings};
use db::{Destination, SourceAuth};
use model::{ConnectionId, DestinationId, FileFormat, PullId, RunState, Trigger};
use sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;
use worker::embedded::{DevServer, DevServerOptions};
use worker::{Core, OpenMode};

use crate::{Delivered, Node};

/// How a deployment under test differs from the default.
#[derive(Debug, Default)]
pub struct AppOptions {
    /// The portal.
    pub sandbox: SandboxOptions,
    /// Settings by `section.key`.
    pub settings: Vec<(String, String)>,
}

/// A portal in this process, Temporal and `chartlift up` as processes, and the
/// same database and record store opened here.
#[derive(Debug)]
pub struct App {
    /// Everything it writes lies here.
    pub dir: TempDir,
    /// The portal.
    pub sandbox: Sandbox,
    /// Database and record store.
    pub core: Core,
    /// Temporal.
    pub temporal: DevServer,
    node: Option<Node>,
    settings: Vec<(String, String)>,
}

impl App {
    /// Starts portal and Temporal and opens a new deployment; no process of ours
    /// yet.
    pub async fn prepare(options: AppOptions) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let sandbox = Sandbox::start(options.sandbox).await?;
        let temporal = DevServer::start(DevServerOptions {
            dir: dir.path().join("temporal"),
            grpc_port: 0,
            ui_port: 0,
            namespace: "default".to_owned(),
            search_attributes: steps::SEARCH_ATTRIBUTES,
        })
        .await
        .context("start Temporal")?;
        let mut settings = vec![
            (
                "data.dir".to_owned(),
                dir.path().join("data").display().to_string(),
            ),
            ("temporal.address".to_owned(), temporal.address()),
            ("api.port".to_owned(), "18080".to_owned()),
            ("worker.linger_ms".to_owned(), "300".to_owned()),
            ("worker.dispatch_interval_ms".to_owned(), "200".to_owned()),
        ];
        settings.extend(options.settings);
        let loaded = Settings::load(LoadOptions {
            file: None,
            overrides: settings.clone(),
            env: Vec::new(),
        })?;
        let core = Core::open(loaded, OpenMode::Migrate).await?;
        let base_url = sandbox.base_url().clone();
        activities::register::add_source(&core.db, "sandbox", &base_url, SourceAuth::None).await?;
        Ok(Self {
            dir,
            sandbox,
            core,
            temporal,
            node: None,
            settings,
        })
    }

    /// [`App::prepare`], and `chartlift up` beside it.
    pub async fn start(options: AppOptions) -> Result<Self> {
        let mut app = Self::prepare(options).await?;
        app.up(&[])?;
        Ok(app)
    }

    /// Starts `chartlift up`, with further variables.
    pub fn up(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let mut environment: Vec<(String, String)> = self
            .settings
            .iter()
            .map(|(key, value)| {
                (
                    format!("CHARTLIFT_{}", key.to_uppercase().replace('.', "__")),
                    value.clone(),
                )
            })
            .collect();
        environment.extend(
            variables
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        self.node = Some(Node::spawn(&["up"], &environment, &self.log())?);
        Ok(())
    }

    /// Where the process logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("node.log")
    }

    /// The running process.
    pub fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("up() comes first")
    }

    /// Ends the process, drained.
    pub fn down(&mut self) -> Result<()> {
        let Some(node) = self.node.take() else {
            return Ok(());
        };
        let status = node.stop()?;
        if !status.success() {
            bail!(
                "chartlift up ended with {status}; log:\n{}",
                tail(&self.log())
            );
        }
        Ok(())
    }

    /// Connects patients of the portal.
    pub async fn connect(&self, patients: &[&str]) -> Result<Vec<ConnectionId>> {
        let mut connections = Vec::new();
        for (number, patient) in patients.iter().enumerate() {
            let external = format!("test-{number}");
            let id = activities::register::add_connection(
                &self.core.db,
                &external,
                "sandbox",
                (*patient).to_owned(),
                None,
            )
            .await?;
            connections.push(id);
        }
        Ok(connections)
    }

    /// Adds a destination in a folder of its own.
    pub async fn destination(&self, name: &str, format: FileFormat) -> Result<DestinationId> {
        let folder = self.dir.path().join("files").join(name);
        Ok(activities::register::add_destination(
            &self.core.db,
            name,
            &folder.display().to_string(),
            format,
        )
        .await?)
    }

    /// Asks for a pull of each connection.
    pub async fn pull(&self, connections: &[ConnectionId]) -> Result<Vec<PullId>> {
        let mut pulls = Vec::new();
        for connection in connections {
            pulls.push(
                self.core
                    .db
                    .request_pull(*connection, Trigger::Manual)
                    .await?,
            );
        }
        Ok(pulls)
    }

    /// Waits until nothing is queued, running or lacking at an enabled
    /// destination.
    pub async fn idle(&mut self, limit: Duration) -> Result<()> {
        self.until(limit, "all runs have ended", async |app: &mut Self| {
            app.is_idle().await
        })
        .await
    }

    async fn is_idle(&self) -> Result<bool> {
        let db = &self.core.db;
        // What is due is asked first: a run that is not open any more by the second
        // question has left its marks before.
        Ok(
            db.due_destinations(Duration::ZERO).await?.is_empty()
                && db.open_run_count().await? == 0,
        )
    }

    /// Looks every 50 ms whether `holds`, until the limit. A process that has
    /// ended fails the wait at once.
    pub async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl AsyncFnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if holds(self).await? {
                return Ok(());
            }
            if let Some(node) = &mut self.node
                && let Some(status) = node.ended()?
            {
                bail!(
                    "chartlift up ended with {status} before {what}; log:\n{}",
                    tail(&self.log())
                );
            }
            if Instant::now() > until {
                bail!("not within {limit:?}: {what}; log:\n{}", tail(&self.log()));
            }
        }
    }

    /// Fails if a pull or export ended otherwise than completed.
    pub async fn all_completed(&self) -> Result<()> {
        for pull in self.core.db.pulls(None, None, 1000).await? {
            if pull.state != RunState::Completed {
                bail!("{} is {} ({:?})", pull.id, pull.state, pull.error_code);
            }
        }
        for export in self.core.db.exports(None, None, 1000).await? {
            if export.state != RunState::Completed {
                bail!(
                    "{} is {} ({:?})",
                    export.id,
                    export.state,
                    export.error_code
                );
            }
        }
        Ok(())
    }

    /// Fails unless `verify` finds nothing.
    pub async fn verified(&self) -> Result<()> {
        let options = activities::verify::VerifyOptions { bodies: true };
        let report = activities::verify::verify(&self.core.db, &self.core.store, &options).await?;
        if !report.is_clean() {
            bail!("verify found: {:#?}", report.findings);
        }
        Ok(())
    }

    /// What a destination's publications hold.
    pub async fn delivered(&self, id: DestinationId) -> Result<Delivered> {
        let row: Destination = self.core.db.destination(&id.to_string()).await?;
        Delivered::read(&self.core.db, Path::new(&row.location), row.format).await
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
