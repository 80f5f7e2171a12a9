//! A `chartlift up` process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running `chartlift` process; killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts `chartlift ARGUMENTS`, its output going to `log`.
    pub fn spawn(arguments: &[&str], environment: &[(String, String)], log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context("open the log")?;
        let child = Command::new(crate::binary())
            .args(arguments)
            .env_remove("TEMPORAL_ADDRESS")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("start chartlift")?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        bail!(
            "the process did not end within {limit:?}; its log is {}",
            self.log.display()
        )
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has drained.
    pub fn stop(mut self) -> Result<ExitStatus> {
        Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .context("send SIGTERM")?;
        self.wait(Duration::from_secs(30))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
