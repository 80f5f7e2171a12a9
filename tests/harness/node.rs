//! A `chartlift` process: `up`, or a worker alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{StepLog, process};

/// How long one may drain.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(30);

/// A running `chartlift` process; killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts `chartlift ARGUMENTS`, its output going to `log`.
    pub fn spawn(arguments: &[&str], environment: &[(String, String)], log: &Path) -> Result<Self> {
        Self::begin(arguments, environment, log, false)
    }

    /// The same without an environment of its own. The terminal's Ctrl-C does not
    /// reach it.
    pub fn spawn_apart(arguments: &[&str], log: &Path) -> Result<Self> {
        Self::begin(arguments, &[], log, true)
    }

    fn begin(
        arguments: &[&str],
        environment: &[(String, String)],
        log: &Path,
        apart: bool,
    ) -> Result<Self> {
        let file = process::log(log)?;
        let mut command = Command::new(crate::binary());
        command
            .args(arguments)
            .env_remove("TEMPORAL_ADDRESS")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(Self {
            child: process::spawn(&mut command, apart).context("start chartlift")?,
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

    /// Stops it in its tracks, as SIGSTOP does.
    pub fn pause(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets a stopped process go on.
    pub fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // "pid (name) state …", and a name may hold anything.
        Ok(stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T')))
    }

    /// Its memory now and at its highest (`VmRSS`, `VmHWM`), in bytes.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .with_context(|| format!("the process has no {name}"))?;
            let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
            Ok(kib.parse::<u64>()? * 1024)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }

    /// Where it logs to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log)
    }

    /// Whether it has opened what it works on, as it says then.
    pub fn works(&self) -> Result<bool> {
        Ok(std::fs::read_to_string(&self.log)?.contains("worker on Temporal at"))
    }

    /// What it has logged of its steps.
    #[must_use]
    pub fn step_log(&self) -> StepLog {
        StepLog::new(&self.log)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([signal, &self.id().to_string()])
            .status()
            .context("send a signal")?;
        ensure!(status.success(), "{signal} did not reach the process");
        Ok(())
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal("-TERM")
    }

    /// Asks it to end and waits until it has drained.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.ask_to_stop()?;
        self.wait(STOP_MAX)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
