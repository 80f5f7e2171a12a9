//! A deployment under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use activities::register::add_destination;
use anyhow::{Context, Result, bail, ensure};
use config::{LoadOptions, Settings};
use db::SourceAuth;
use model::{ConnectionId, DestinationId, FileFormat, PullId, Trigger};
use sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;
use worker::{Core, OpenMode};

use crate::{Node, S3Server, TemporalProcess};

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
    s3: Option<S3Server>,
    node: Option<Node>,
    log: PathBuf,
    generation: u32,
    settings: Vec<(String, String)>,
    own_settings: Vec<(String, String)>,
}

impl App {
    /// Starts portal and Temporal and opens a new deployment; no process of ours
    /// yet.
    pub async fn prepare(options: AppOptions) -> Result<Self> {
        let sandbox = Arc::new(Sandbox::start(options.sandbox).await?);
        let base_url = sandbox.base_url().clone();
        let mut app = Self::open(tempfile::tempdir()?, sandbox, options.settings).await?;
        app.s3 = options.s3;
        if !options.no_source {
            let (db, guard) = (&app.core.db, &app.core.guard);
            let auth = SourceAuth::None;
            activities::register::add_source(db, guard, "sandbox", &base_url, auth, None).await?;
        }
        Ok(app)
    }

    /// A second deployment, made of a copy of this one's data folder, beside the
    /// same portal. Nothing may be at work here.
    pub async fn twin(&self) -> Result<Self> {
        ensure!(
            self.node.is_none(),
            "end the process before its data is copied"
        );
        let dir = tempfile::tempdir()?;
        copy_folder(&self.dir.path().join("data"), &dir.path().join("data"))?;
        let sandbox = Arc::clone(&self.sandbox);
        let twin = Self::open(dir, sandbox, self.own_settings.clone()).await?;
        // Their folders are the first one's: two databases would publish into them.
        for destination in twin.core.db.destinations().await? {
            twin.core
                .db
                .set_destination_enabled(destination.id, false)
                .await?;
        }
        Ok(twin)
    }

    /// Starts Temporal and opens database and record store.
    async fn open(
        dir: TempDir,
        sandbox: Arc<Sandbox>,
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
        ];
        settings.extend(own_settings.clone());
        let loaded = Settings::load(LoadOptions {
            file: None,
            overrides: settings.clone(),
            env: Vec::new(),
        })?;
        let core = Core::open(loaded, OpenMode::Migrate).await?;
        Ok(Self {
            log: dir.path().join("node.log"),
            dir,
            sandbox,
            core,
            temporal,
            s3: None,
            node: None,
            generation: 0,
            settings,
            own_settings,
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
        self.log = self.dir.path().join("node.log");
        self.node = Some(self.spawn("up", &self.log, variables)?);
        Ok(())
    }

    /// Starts `chartlift worker` in the place of the process before it, with a log
    /// of its own.
    pub fn work(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.generation += 1;
        self.log = self
            .dir
            .path()
            .join(format!("worker-{}.log", self.generation));
        self.node = Some(self.spawn("worker", &self.log, &[&[JSON_LOG], variables].concat())?);
        Ok(())
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
        let settings = self.settings.iter().map(|(key, value)| {
            let name = format!("CHARTLIFT_{}", key.to_uppercase().replace('.', "__"));
            (name, value.clone())
        });
        let own = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment: Vec<(String, String)> = settings.chain(own).collect();
        Node::spawn(&[command], &environment, log)
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
            bail!("chartlift ended with {status}; log:\n{}", tail(&self.log()));
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

    /// The store of what lies in S3.
    ///
    /// # Panics
    /// If the options named none.
    #[must_use]
    pub fn s3(&self) -> &S3Server {
        self.s3.as_ref().expect("the options name a store")
    }

    /// The folder of a location, be it in S3.
    #[must_use]
    pub fn folder_of(&self, location: &str) -> PathBuf {
        let in_s3 = self.s3.as_ref().and_then(|s3| s3.folder_of(location));
        in_s3.unwrap_or_else(|| location.into())
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
                    "chartlift ended with {status} before {what}; log:\n{}",
                    tail(&self.log())
                );
            }
            if Instant::now() > until {
                bail!("not within {limit:?}: {what}; log:\n{}", tail(&self.log()));
            }
        }
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Copies a folder with all that lies in it. Another process does it: opening
/// and closing SQLite's files here would drop the locks that this one holds.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-R").args([from, to]).status()?;
    ensure!(status.success(), "cp ended with {status}");
    // The index of the log in shared memory is made anew.
    let shared = to.join("chartlift.db-shm");
    if shared.exists() {
        std::fs::remove_file(shared)?;
    }
    Ok(())
}
