//! A deployment under test: its database and record store, and waiting for what it does.

mod options;
mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use activities::register::{SourceToAdd, add_destination, add_source_without_login};
use anyhow::{Result, bail};
use config::{LoadOptions, Settings};
use db::SourceLimits;
use model::{ConnectionId, DestinationId, FileFormat, PullId, SourceId, Trigger};
use sandbox::Sandbox;
use tempfile::TempDir;
use url::Url;
use worker::{Core, OpenMode};

use crate::node::tail;
use crate::servers::{LAKE, Servers};
use crate::{Node, PostgresServer, TemporalProcess};

pub use options::AppOptions;

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
            app.add_source("sandbox", &base_url, SourceLimits::default())
                .await?;
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

    /// Adds a source that needs no login and is asked by searches.
    pub async fn add_source(
        &self,
        name: &str,
        base_url: &Url,
        limits: SourceLimits,
    ) -> Result<SourceId> {
        let new = SourceToAdd {
            limits,
            ..SourceToAdd::new(name, base_url)
        };
        Ok(add_source_without_login(&self.core.db, &self.core.guard, &new).await?)
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
