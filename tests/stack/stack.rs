//! The processes: started, looked after, drained.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chartlift_tests::{Node, PostgresServer, S3Server, TemporalProcess};
use config::{LoadOptions, Settings};
use db::NewApiKey;
use model::Scope;
use sandbox::{Sandbox, SandboxOptions};
use seal::KeyRing;
use worker::embedded::free_port;
use worker::{Core, OpenMode};

use crate::{orphans, settings};

/// Where Temporal and its UI, and the portal, are looked for first.
const TEMPORAL_PORTS: (u16, u16) = (7233, 8233);
const PORTAL_PORT: u16 = 8090;
const BUCKETS: &[&str] = &["records", "lake"];
/// How long the API may take to listen, and all to drain.
const API_MAX: Duration = Duration::from_secs(60);
const DRAIN_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// Everything that runs.
pub(crate) struct Stack {
    dir: PathBuf,
    // The processes of Chartlift come first, so that they are dropped first.
    api: Node,
    workers: Vec<Node>,
    temporal: TemporalProcess,
    s3: S3Server,
    postgres: PostgresServer,
    portal: Sandbox,
    first_key: Option<String>,
}

impl Stack {
    /// Starts all of it on what is in the folder.
    pub(crate) async fn start(dir: &Path, workers: usize) -> Result<Self> {
        println!("starting in {}", dir.display());
        let postgres = PostgresServer::start_in(&dir.join("postgres")).await?;
        let s3 = start_s3(&dir.join("s3")).await?;
        let temporal = TemporalProcess::start_apart(&dir.join("temporal"), TEMPORAL_PORTS).await?;
        let data = dir.join("data");
        settings::write(&data, &postgres, &s3, &temporal)?;
        let first_key = set_up(&data).await?;
        let portal = Sandbox::start(SandboxOptions {
            listen: ([127, 0, 0, 1], free_port(PORTAL_PORT)?).into(),
            ..SandboxOptions::default()
        })
        .await?;
        let logs = dir.join("logs");
        if logs.exists() {
            std::fs::remove_dir_all(&logs).context("remove the logs of the last time")?;
        }
        std::fs::create_dir_all(&logs)?;
        let mut stack = Self {
            api: start_api(dir)?,
            workers: (0..workers)
                .map(|number| start_worker(dir, number))
                .collect::<Result<_>>()?,
            dir: dir.to_owned(),
            temporal,
            s3,
            postgres,
            portal,
            first_key,
        };
        stack.keep_pids()?;
        stack.until_api_listens().await?;
        Ok(stack)
    }

    /// Says what there is, and where.
    pub(crate) fn introduce(&self) {
        let line = |name: &str, what: &str| println!("{name:<13}{what}");
        println!();
        line("API", &self.api_url().unwrap_or_default());
        if let Some(key) = &self.first_key {
            line("API key", &format!("{key}   (shown this once)"));
        }
        line("workers", &self.workers.len().to_string());
        line("Temporal UI", &self.temporal.ui_url());
        line("portal", self.portal.base_url().as_str());
        line(
            "S3",
            &format!("{} (buckets: {})", self.s3.endpoint(), BUCKETS.join(", ")),
        );
        line("logs", &self.dir.join("logs").display().to_string());
        let data = self.dir.join("data");
        line(
            "commands",
            &format!("chartlift --data-dir {} doctor", data.display()),
        );
        println!(
            "\nThe database is PostgreSQL's and all objects lie in S3, as in production; Temporal is\n\
             the dev server, on SQLite. Whatever ends is started again. Ctrl-C drains and ends all."
        );
    }

    /// Starts again what has ended by itself.
    pub(crate) async fn tend(&mut self) -> Result<()> {
        let mut again = Vec::new();
        if self.postgres.has_ended()? {
            again.push("PostgreSQL".to_owned());
            self.postgres.restart()?;
        }
        if self.s3.has_ended()? {
            again.push("S3".to_owned());
            self.s3.restart().await?;
        }
        if self.temporal.has_ended()? {
            again.push("Temporal".to_owned());
            self.temporal.restart().await?;
        }
        if self.api.ended()?.is_some() {
            again.push("the API".to_owned());
            self.api = start_api(&self.dir)?;
        }
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if worker.ended()?.is_some() {
                again.push(format!("worker {}", number + 1));
                *worker = start_worker(&self.dir, number)?;
            }
        }
        if !again.is_empty() {
            println!("ended, and started again: {}", again.join(", "));
            self.keep_pids()?;
        }
        Ok(())
    }

    /// Ends Chartlift's processes once their steps have saved, then the servers.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        for node in self.workers.iter().chain([&self.api]) {
            node.ask_to_stop()?;
        }
        let until = Instant::now() + DRAIN_MAX;
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let mut are_done = self.api.ended()?.is_some();
            for worker in &mut self.workers {
                are_done &= worker.ended()?.is_some();
            }
            if are_done {
                break;
            }
            ensure!(
                Instant::now() < until,
                "not all have drained in {DRAIN_MAX:?}"
            );
        }
        self.temporal.stop()?;
        self.s3.stop()?;
        self.postgres.stop();
        orphans::keep(&self.dir, std::iter::empty())?;
        println!(
            "all have ended; the next `up` goes on with {}",
            self.dir.display()
        );
        Ok(())
    }

    fn keep_pids(&self) -> Result<()> {
        let nodes = self.workers.iter().chain([&self.api]).map(Node::id);
        let servers = [self.postgres.id(), self.s3.id(), self.temporal.id()];
        orphans::keep(&self.dir, nodes.chain(servers.into_iter().flatten()))
    }

    /// Where the API listens, as it has said last.
    fn api_url(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.api.log()).ok()?;
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("API "))?;
        line.split_whitespace().next().map(str::to_owned)
    }

    async fn until_api_listens(&mut self) -> Result<()> {
        let until = Instant::now() + API_MAX;
        let mut tick = tokio::time::interval(LOOK);
        while self.api_url().is_none() {
            tick.tick().await;
            let log = self.api.log().display().to_string();
            ensure!(self.api.ended()?.is_none(), "the API has ended; see {log}");
            ensure!(Instant::now() < until, "the API does not listen; see {log}");
        }
        Ok(())
    }
}

/// The store, with a key made when it is first started.
async fn start_s3(dir: &Path) -> Result<S3Server> {
    let program = std::env::var_os("CHARTLIFT_VERSITYGW");
    let program = PathBuf::from(program.context("CHARTLIFT_VERSITYGW names no VersityGW")?);
    std::fs::create_dir_all(dir)?;
    let path = dir.join("key");
    if !path.exists() {
        settings::write_privately(&path, &KeyRing::generate())?;
    }
    let key = std::fs::read_to_string(&path)?;
    S3Server::start_in(&program, dir, BUCKETS, key).await
}

/// Brings the database to this version; returns the first key, if there was none.
async fn set_up(data: &Path) -> Result<Option<String>> {
    let settings = Settings::load(LoadOptions {
        file: Some(data.join(settings::FILE)),
        overrides: vec![("data.dir".to_owned(), data.display().to_string())],
        env: Vec::new(),
    })?;
    let core = Core::open(settings, OpenMode::Migrate).await?;
    let mut first = None;
    if core.db.api_keys(None, 1).await?.is_empty() {
        let new = NewApiKey {
            name: "first".to_owned(),
            scopes: Scope::ALL.to_vec(),
            expires_at: None,
        };
        first = Some(core.db.add_api_key(&new).await?.1);
    }
    core.db.close().await;
    Ok(first)
}

fn start_api(dir: &Path) -> Result<Node> {
    start(dir, "api", "api")
}

fn start_worker(dir: &Path, number: usize) -> Result<Node> {
    start(dir, "worker", &format!("worker-{}", number + 1))
}

fn start(dir: &Path, command: &str, name: &str) -> Result<Node> {
    let data = dir.join("data");
    let file = data.join(settings::FILE).display().to_string();
    let log = dir.join("logs").join(format!("{name}.log"));
    let data = data.display().to_string();
    Node::spawn_apart(&[command, "--data-dir", &data, "--config", &file], &log)
}
