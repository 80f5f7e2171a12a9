//! A store that speaks S3, as a process of its own: VersityGW over a folder, where
//! an object is a file of its name.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use objects::Access;
use tempfile::TempDir;
use tokio::net::TcpStream;
use worker::embedded::free_port;

const KEY_ID: &str = "chartlift-test";
const KEY: &str = "hush-not-to-be-shown";
const READY_MAX: Duration = Duration::from_secs(30);
/// Starts until a port stays free long enough.
const STARTS_MAX: u32 = 5;

/// The store; killed when dropped.
#[derive(Debug)]
pub struct S3Server {
    dir: TempDir,
    port: u16,
    child: Child,
}

impl S3Server {
    /// Starts a store with these buckets; none where `cargo xtask test` did not
    /// provide one.
    pub async fn start(buckets: &[&str]) -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("CHARTLIFT_VERSITYGW") else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        for folder in ["buckets", "meta"] {
            std::fs::create_dir_all(dir.path().join(folder))?;
        }
        for bucket in buckets {
            std::fs::create_dir(dir.path().join("buckets").join(bucket))?;
        }
        let program = PathBuf::from(program);
        for _ in 1..STARTS_MAX {
            let port = free_port(0)?;
            let mut child = spawn(&program, dir.path(), port)?;
            if is_ready(&mut child, port).await? {
                return Ok(Some(Self { dir, port, child }));
            }
            // Somebody else was quicker to take the port.
            child.kill()?;
            child.wait()?;
        }
        bail!("{} does not start", program.display())
    }

    /// Where it answers.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A key that it accepts.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: KEY.to_owned(),
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
            ("s3.secret_access_key", KEY),
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
        Some(self.dir.path().join("buckets").join(rest))
    }

    /// Whether a text holds a part of the key.
    #[must_use]
    pub fn is_shown_in(text: &str) -> bool {
        text.contains(KEY) || text.contains(KEY_ID)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, dir: &Path, port: u16) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("store.log"))?;
    // Beside the objects instead of in their attributes, which not every file
    // system has.
    Command::new(program)
        .args(["--access", KEY_ID, "--secret", KEY, "--quiet"])
        .args(["--port", &format!("127.0.0.1:{port}")])
        .args(["posix", "--sidecar"])
        .args([dir.join("meta"), dir.join("buckets")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start VersityGW")
}

/// Whether it listens; not if it ends before.
async fn is_ready(child: &mut Child, port: u16) -> Result<bool> {
    let until = Instant::now() + READY_MAX;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        if child.try_wait()?.is_some() || Instant::now() > until {
            return Ok(false);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpStream::connect(address).await.is_ok() {
            // It may be another's, who took the port: ours has ended then.
            return Ok(child.try_wait()?.is_none());
        }
    }
}
