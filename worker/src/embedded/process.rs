//! Processes known by their number only: what they are, and how to end them.
//!
//! A number alone is never trusted: the system gives it to another process once
//! the first is gone. On Linux the start time tells them apart, elsewhere only
//! the command line.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How long a server may take to close its file after SIGTERM.
pub(super) const TERM_PATIENCE: Duration = Duration::from_secs(5);

/// A process, by number and start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRef {
    pub(super) pid: u32,
    /// Clock ticks since boot; `None` where there is no /proc.
    started: Option<u64>,
}

impl ProcessRef {
    /// The process that has this number now.
    pub(super) fn of(pid: u32) -> Self {
        Self {
            pid,
            started: start_time(pid),
        }
    }

    /// Its command line, joined by spaces; `None` once it has ended.
    pub(super) fn command_line(&self) -> Option<String> {
        if start_time(self.pid) != self.started {
            return None;
        }
        command_line(self.pid)
    }

    /// Ends it: SIGTERM, and SIGKILL if that does not help in time.
    ///
    /// `part` is in its command line for as long as it is the process meant.
    pub(super) async fn end(&self, part: &str) {
        let lives = || self.command_line().is_some_and(|line| line.contains(part));
        for kind in [SignalKind::Terminate, SignalKind::Kill] {
            if lives() {
                signal(self.pid, kind);
            }
            let deadline = Instant::now() + TERM_PATIENCE;
            while lives() && Instant::now() < deadline {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// The first process, apart from this one, with `part` in its command line.
/// Always `None` where there is no /proc.
pub(super) fn find(part: &str) -> Option<ProcessRef> {
    let pids = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .map(ProcessRef::of)
        .find(|process| {
            process
                .command_line()
                .is_some_and(|line| line.contains(part))
        })
}

/// What to ask of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalKind {
    /// End in good order.
    Terminate,
    /// End now.
    Kill,
}

/// Sends a signal; a process that is gone already is no error.
#[cfg(unix)]
pub(super) fn signal(pid: u32, kind: SignalKind) {
    use rustix::process::{Pid, Signal, kill_process};

    let signal = match kind {
        SignalKind::Terminate => Signal::TERM,
        SignalKind::Kill => Signal::KILL,
    };
    let result = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .map(|pid| kill_process(pid, signal));
    if let Some(Err(error)) = result
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(pid, %error, "cannot end the Temporal dev server");
    }
}

/// Without signals only our own children are ended, by their handle.
#[cfg(not(unix))]
pub(super) fn signal(_pid: u32, _kind: SignalKind) {}

#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the program's name in brackets and may hold anything; behind it
    // stands field 3, and the start time is field 22.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(not(target_os = "linux"))]
fn start_time(_pid: u32) -> Option<u64> {
    None
}

/// `None` also for a process that has ended and waits for its parent to notice:
/// its command line is empty.
#[cfg(target_os = "linux")]
fn command_line(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .replace('\0', " ");
    Some(line).filter(|line| !line.is_empty())
}

#[cfg(not(target_os = "linux"))]
fn command_line(pid: u32) -> Option<String> {
    let mut ps = std::process::Command::new("ps");
    let output = ps
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(line).filter(|line| !line.is_empty())
}
