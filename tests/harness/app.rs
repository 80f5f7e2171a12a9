//! A deployment under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use activities::register::add_destination;
use anyhow::{Context, Result, bail};
use config::{LoadOptions, Settings};
use db::{SourceAuth, SourceLimits};
use model::{ConnectionId, DestinationId, FileFormat, PullId, Trigger};
use sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;
use worker::{Core, OpenMode};

use crate::node::{STOP_MAX, tail};
use crate::servers::{LAKE, Servers};
use crate::{Node, PostgresServer, S3Server, TemporalProcess};

/// How long `chartlift up` may take to open its database and listen.
const API_MAX: Duration = Duration::from_secs(60);
/// The log that [`crate::StepLog`] reads.
const JSON_LOG: (&str, &str) = ("CHARTLIFT_LOG__FORMAT", "json");

/// How a deployment under test differs from the default.
#[derive(Debug, Default)]
pub struct AppOptions {
    /// The portal.
    pub sandbox: SandboxOptions,
    /// Settings by `section.key`.
    pub settings: Vec<(String, String)>,
    /// Whether the portal is left to be added.
    pub no_source: bool,
    /// The store of what lies in S3.
    pub s3: Option<S3Server>,
    /// The server of the database, instead of SQLite.
    pub postgres: Option<PostgresServer>,
    /// Workers that [`App::work`] starts; 0 is one, too.
    pub workers: usize,
}

impl AppOptions {
    /// The default but for these settings.
    #[must_use]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter();
        Self {
            settings: settings
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}

/// A portal in this process, Temporal and `chartlift up` as processes, and the
/// same database and record store opened here.
#[derive(Debug)]
pub struct App {
    /// Everything it writes lies here.
    pub dir: TempDir,
    /// The portal, which twins share.
    pub sandbox: Arc<Sandbox>,
    /// Database and record store.
    pub core: Core,
    /// Temporal.
    pub temporal: TemporalProcess,
    pub(crate) servers: Servers,
    pub(crate) nodes: Vec<Node>,
    pub(crate) twins: u32,
    pub(crate) own_settings: Vec<(String, String)>,
    /// Destinations lie in S3 unless a test says where.
    pub(crate) lake: bool,
    workers: usize,
    log: PathBuf,
    generation: u32,
    settings: Vec<(String, String)>,
}

impl App {
    /// Starts portal and Temporal and opens a new deployment; no process of ours
    /// yet.
    pub async fn prepare(options: AppOptions) -> Result<Self> {
        let (options, lake) = options.placed().await?;
        let sandbox = Arc::new(Sandbox::start(options.sandbox).await?);
        let base_url = sandbox.base_url().clone();
        let servers = Servers::new(options.s3, options.postgres);
        let mut settings = options.settings;
        settings.extend(servers.settings(PostgresServer::DATABASE));
        let mut app = Self::open(tempfile::tempdir()?, sandbox, servers, settings).await?;
        (app.workers, app.lake) = (options.workers.max(1), lake);
        if !options.no_source {
            let (db, guard) = (&app.core.db, &app.core.guard);
            let (auth, limits) = (SourceAuth::None, SourceLimits::default());
            activities::register::add_source(db, guard, "sandbox", &base_url, auth, limits).await?;
        }
        Ok(app)
    }

    /// Starts Temporal and opens database and record store.
    pub(crate) async fn open(
        dir: TempDir,
        sandbox: Arc<Sandbox>,
        servers: Servers,
        own_settings: Vec<(String, String)>,
    ) -> Result<Self> {
        let temporal = TemporalProcess::start(&dir.path().join("temporal")).await?;
        let mut settings = vec![
            (
                "data.dir".to_owned(),
                dir.path().join("data").display().to_string(),
            ),
            ("temporal.address".to_owned(), temporal.address()),
            ("api.port".to_owned(), "18080".to_owned()),
            ("guard.allow".to_owned(), "127.0.0.1/32".to_owned()),
            ("worker.linger_ms".to_owned(), "300".to_owned()),
            ("worker.dispatch_interval_ms".to_owned(), "200".to_owned()),
            // What tests say of a pull holds of one that asks for everything.
            ("worker.full_pull_after_ms".to_owned(), "0".to_owned()),
        ];
        settings.extend(own_settings.clone());
        Ok(Self {
            core: open_core(&settings).await?,
            log: dir.path().join("node.log"),
            dir,
            sandbox,
            temporal,
            servers,
            nodes: Vec::new(),
            twins: 0,
            lake: false,
            workers: 1,
            generation: 0,
            settings,
            own_settings,
        })
    }

    /// Opens database and record store anew, after they were closed.
    pub(crate) async fn reopen(&mut self) -> Result<()> {
        self.core = open_core(&self.settings).await?;
        Ok(())
    }

    /// [`App::prepare`], and `chartlift up` beside it.
    pub async fn start(options: AppOptions) -> Result<Self> {
        let mut app = Self::prepare(options).await?;
        app.up(&[])?;
        Ok(app)
    }

    /// Starts `chartlift up`. With further variables it is alone, so that what they
    /// provoke is not done by another; else beside the other workers that the options
    /// ask for.
    pub fn up(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.log = self.dir.path().join("node.log");
        self.nodes = vec![self.spawn("up", &self.log, variables)?];
        let others = if variables.is_empty() {
            self.workers
        } else {
            1
        };
        for number in 1..others {
            let log = self.dir.path().join(format!("other-{number}.log"));
            self.nodes.push(self.spawn("worker", &log, &[])?);
        }
        Ok(())
    }

    /// Starts `chartlift worker`, as often as the options say, in the place of the
    /// processes before, each with a log of its own.
    pub fn work(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.nodes.clear();
        for number in 0..self.workers {
            self.work_as(number, variables)?;
        }
        Ok(())
    }

    /// Starts `chartlift worker` in the place of one of the processes before.
    pub fn work_as(&mut self, number: usize, variables: &[(&str, &str)]) -> Result<()> {
        self.generation += 1;
        let log = format!("worker-{}.log", self.generation);
        let log = self.dir.path().join(log);
        let node = self.spawn("worker", &log, &[&[JSON_LOG], variables].concat())?;
        if number == 0 {
            self.log = log;
        }
        if number < self.nodes.len() {
            self.nodes[number] = node;
        } else {
            self.nodes.push(node);
        }
        Ok(())
    }

    /// The logs of all workers so far.
    #[must_use]
    pub fn worker_logs(&self) -> Vec<PathBuf> {
        let name = |number| self.dir.path().join(format!("worker-{number}.log"));
        (1..=self.generation).map(name).collect()
    }

    /// Starts a further worker, which is the caller's to end.
    pub fn further_worker(&self, name: &str, variables: &[(&str, &str)]) -> Result<Node> {
        let log = self.dir.path().join(format!("{name}.log"));
        self.spawn("worker", &log, &[&[JSON_LOG], variables].concat())
    }

    pub(crate) fn spawn(
        &self,
        command: &str,
        log: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Node> {
        let own = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut environment = self.environment(&[]);
        environment.extend(own);
        Node::spawn(&[command], &environment, log)
    }

    /// The settings of its processes as variables, but for these.
    #[must_use]
    pub fn environment(&self, but_for: &[(String, String)]) -> Vec<(String, String)> {
        let settings = self.settings.iter().chain(but_for);
        settings
            .map(|(key, value)| {
                let name = format!("CHARTLIFT_{}", key.to_uppercase().replace('.', "__"));
                (name, value.clone())
            })
            .collect()
    }

    /// Runs the command line on this deployment.
    pub fn chartlift(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(crate::binary())
            .args(arguments)
            .env_remove("TEMPORAL_ADDRESS")
            .envs(self.environment(&[]))
            .output()?)
    }

    /// The API of `chartlift up`, and its first key, as it prints them.
    pub async fn api(&mut self) -> Result<(String, String)> {
        let word = |text: &str, label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.and_then(|line| line.split_whitespace().next().map(str::to_owned))
        };
        let mut found = None;
        self.until(API_MAX, "the API listens", async |app: &mut Self| {
            let text = std::fs::read_to_string(app.log())?;
            found = word(&text, "API          ").zip(word(&text, "API key      "));
            Ok(found.is_some())
        })
        .await?;
        found.context("the API was there")
    }

    /// Where the process logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// All that the running processes have logged so far.
    pub fn logged(&self) -> Result<String> {
        let logs = self
            .nodes
            .iter()
            .map(|node| std::fs::read_to_string(node.log()));
        Ok(logs.collect::<std::io::Result<Vec<String>>>()?.concat())
    }

    /// The running process, or the first of them.
    pub fn node(&mut self) -> &mut Node {
        self.nodes.first_mut().expect("up() comes first")
    }

    /// All running processes.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Ends the processes, drained.
    pub fn down(&mut self) -> Result<()> {
        let mut nodes = std::mem::take(&mut self.nodes);
        for node in &nodes {
            node.ask_to_stop()?;
        }
        for node in &mut nodes {
            let status = node.wait(STOP_MAX)?;
            if !status.success() {
                bail!("chartlift ended with {status}; log:\n{}", node.tail());
            }
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

    /// Adds a destination at a place of its own.
    pub async fn destination(&self, name: &str, format: FileFormat) -> Result<DestinationId> {
        if self.lake {
            let location = format!("{LAKE}/{name}");
            return self.s3_destination(name, &location, format).await;
        }
        let folder = self.files(name);
        Ok(add_destination(
            &self.core.db,
            &self.core.guard,
            name,
            &folder.display().to_string(),
            format,
            None,
        )
        .await?)
    }

    /// Adds a destination at an `s3://` URL of the store.
    pub async fn s3_destination(
        &self,
        name: &str,
        location: &str,
        format: FileFormat,
    ) -> Result<DestinationId> {
        let access = self.s3().access();
        let (db, guard) = (&self.core.db, &self.core.guard);
        let added = add_destination(db, guard, name, location, format, Some(&access));
        Ok(added.await?)
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

    /// Whether nothing is queued, running or lacking at an enabled destination.
    pub async fn is_idle(&self) -> Result<bool> {
        Ok(self.core.db.is_idle().await?)
    }

    /// Looks every 50 ms whether `holds`, until the limit. A process that has
    /// ended fails the wait at once.
    pub async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl AsyncFnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        // Tests' limits are for one worker on files. On servers it is seven processes.
        let limit = if self.lake { 3 * limit } else { limit };
        let until = Instant::now() + limit;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if holds(self).await? {
                return Ok(());
            }
            for node in &mut self.nodes {
                if let Some(status) = node.ended()? {
                    bail!(
                        "chartlift ended with {status} before {what}; log:\n{}",
                        node.tail()
                    );
                }
            }
            if Instant::now() > until {
                bail!("not within {limit:?}: {what}; log:\n{}", tail(&self.log()));
            }
        }
    }
}

/// Opens database and record store.
async fn open_core(settings: &[(String, String)]) -> Result<Core> {
    let loaded = Settings::load(LoadOptions {
        file: None,
        overrides: settings.to_vec(),
        env: Vec::new(),
    })?;
    Core::open(loaded, OpenMode::Migrate).await
}
