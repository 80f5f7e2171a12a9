//! A store that speaks S3, as a process of its own: VersityGW over a folder, where
//! an object is a file of its name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use objects::Access;
use tempfile::TempDir;
use tokio::net::TcpStream;
use worker::embedded::free_port;

use crate::process;

const KEY_ID: &str = "chartlift-test";
const KEY: &str = "hush-not-to-be-shown";
const READY_MAX: Duration = Duration::from_secs(30);
/// Starts until a port stays free long enough.
const STARTS_MAX: u32 = 5;

/// The store; killed when dropped.
#[derive(Debug)]
pub struct S3Server {
    program: PathBuf,
    dir: PathBuf,
    key: String,
    port: u16,
    proxy_port: Option<u16>,
    apart: bool,
    child: Mutex<Option<Child>>,
    _kept: Option<TempDir>,
}

impl S3Server {
    /// Starts a store with these buckets; none where `cargo xtask test` did not
    /// provide one.
    pub async fn start(buckets: &[&str]) -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("CHARTLIFT_VERSITYGW") else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let store = Self {
            program: program.into(),
            dir: dir.path().to_owned(),
            key: KEY.to_owned(),
            port: 0,
            proxy_port: None,
            apart: false,
            child: Mutex::new(None),
            _kept: Some(dir),
        };
        store.begin(buckets).await.map(Some)
    }

    /// Starts a store on what is in a folder, which stays. The terminal's Ctrl-C does
    /// not reach it.
    pub async fn start_in(
        program: &Path,
        dir: &Path,
        buckets: &[&str],
        key: String,
    ) -> Result<Self> {
        let store = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            key,
            port: 0,
            proxy_port: None,
            apart: true,
            child: Mutex::new(None),
            _kept: None,
        };
        store.begin(buckets).await
    }

    async fn begin(mut self, buckets: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(self.dir.join("meta"))?;
        for bucket in buckets {
            std::fs::create_dir_all(self.dir.join("buckets").join(bucket))?;
        }
        for _ in 0..STARTS_MAX {
            // Somebody else may be quicker to take the port.
            self.port = free_port(0)?;
            if self.try_start().await? {
                return Ok(self);
            }
        }
        bail!("{} does not start", self.program.display())
    }

    /// Where it answers, or who passes on to it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let port = self.proxy_port.unwrap_or(self.port);
        format!("http://127.0.0.1:{port}")
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same, reached through who passes on to it.
    #[must_use]
    pub fn behind(mut self, proxy_port: u16) -> Self {
        self.proxy_port = Some(proxy_port);
        self
    }

    /// A key that it accepts.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: self.key.clone(),
            session_token: None,
            endpoint: Some(self.endpoint()),
            region: None,
            allow_http: true,
        }
    }

    /// The settings of a record store at `location`.
    #[must_use]
    pub fn settings(&self, location: &str) -> Vec<(String, String)> {
        let endpoint = self.endpoint();
        [
            ("records.location", location),
            ("s3.access_key_id", KEY_ID),
            ("s3.secret_access_key", &self.key),
            ("s3.endpoint", &endpoint),
            ("s3.allow_http", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The folder in which the objects of `s3://bucket/prefix` lie.
    #[must_use]
    pub fn folder_of(&self, location: &str) -> Option<PathBuf> {
        let rest = location.strip_prefix("s3://")?;
        Some(self.dir.join("buckets").join(rest))
    }

    /// Copies all objects under one location to under another, which is not there.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        let within = |location: &str| location.strip_prefix("s3://").map(PathBuf::from);
        let (from, to) = within(from).zip(within(to)).context("two locations")?;
        // What the store keeps of an object lies beside the buckets.
        for part in ["buckets", "meta"] {
            let (from, to) = (
                self.dir.join(part).join(&from),
                self.dir.join(part).join(&to),
            );
            if !from.exists() {
                // Nothing was written yet.
                continue;
            }
            let parent = to.parent().context("a location has a bucket")?;
            std::fs::create_dir_all(parent)?;
            let status = Command::new("cp").arg("-R").args([from, to]).status()?;
            ensure!(status.success(), "cp ended with {status}");
        }
        Ok(())
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&self) -> Result<()> {
        process::kill(&mut self.child())
    }

    /// Ends it, as it is asked to in earnest.
    pub fn stop(&self) -> Result<()> {
        process::stop(&mut self.child())
    }

    /// Starts it on the same folder and port, and waits until it answers.
    pub async fn restart(&self) -> Result<()> {
        self.kill()?;
        ensure!(self.try_start().await?, "the store does not start again");
        Ok(())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> Result<bool> {
        process::has_ended(&mut self.child())
    }

    /// Whether a text holds a part of the key.
    #[must_use]
    pub fn is_shown_in(text: &str) -> bool {
        text.contains(KEY) || text.contains(KEY_ID)
    }

    /// Whether it listens; not if it ends before.
    async fn try_start(&self) -> Result<bool> {
        *self.child() = Some(self.spawn()?);
        let until = Instant::now() + READY_MAX;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while Instant::now() < until {
            tick.tick().await;
            if self.has_ended()? {
                break;
            }
            let address = SocketAddr::from(([127, 0, 0, 1], self.port));
            if TcpStream::connect(address).await.is_ok() {
                // It may be another's, who took the port: ours has ended then.
                return Ok(!self.has_ended()?);
            }
        }
        self.kill()?;
        Ok(false)
    }

    fn spawn(&self) -> Result<Child> {
        let log = process::log(&self.dir.join("store.log"))?;
        // Beside the objects instead of in their attributes, which not every file
        // system has.
        let mut command = Command::new(&self.program);
        command
            .args(["--quiet", "--port", &format!("127.0.0.1:{}", self.port)])
            .env("ROOT_ACCESS_KEY_ID", KEY_ID)
            .env("ROOT_SECRET_ACCESS_KEY", &self.key)
            .args(["posix", "--sidecar"])
            .args([self.dir.join("meta"), self.dir.join("buckets")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        process::spawn(&mut command, self.apart).context("start VersityGW")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.kill();
    }
}
