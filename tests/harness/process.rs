//! What the servers here have in common as processes.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a server may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Starts a process; one that is `apart` is not reached by the terminal's Ctrl-C.
pub(crate) fn spawn(command: &mut Command, apart: bool) -> Result<Child> {
    #[cfg(unix)]
    if apart {
        std::os::unix::process::CommandExt::process_group(command, 0);
    }
    Ok(command.spawn()?)
}

/// Kills a process, as `kill -9` does, and waits until it is gone.
pub(crate) fn kill(child: &mut Option<Child>) -> Result<()> {
    if let Some(mut child) = child.take() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Asks a process to end, and kills it if it does not.
pub(crate) fn stop(child: &mut Option<Child>) -> Result<()> {
    if let Some(running) = child {
        let pid = running.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let until = Instant::now() + STOP_MAX;
        while running.try_wait()?.is_none() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    kill(child)
}

/// Whether it has ended by itself, or was never started.
pub(crate) fn has_ended(child: &mut Option<Child>) -> Result<bool> {
    Ok(match child {
        Some(child) => child.try_wait()?.is_some(),
        None => true,
    })
}

/// A file to log to, behind what is in it.
pub(crate) fn log(path: &Path) -> Result<File> {
    let log = File::options().create(true).append(true).open(path);
    log.with_context(|| format!("open {}", path.display()))
}
