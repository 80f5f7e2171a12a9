//! What a stack that was killed left running: found by a list of process ids, and
//! ended, since two servers on one folder would spoil it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long one may drain.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// Keeps the ids of what runs now.
pub(crate) fn keep(dir: &Path, pids: impl Iterator<Item = u32>) -> Result<()> {
    let lines: String = pids.map(|pid| format!("{pid}\n")).collect();
    std::fs::write(list(dir), lines).context("write the list of processes")
}

/// Ends what is still there, if it works on this folder.
pub(crate) fn end(dir: &Path) -> Result<()> {
    let text = std::fs::read_to_string(list(dir)).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse::<u32>().ok());
    let orphans: Vec<u32> = pids.filter(|pid| is_of(*pid, dir)).collect();
    for pid in &orphans {
        println!("ending process {pid}, left by a stack that was killed");
        signal(*pid, "-TERM")?;
    }
    for (told, limit) in [("-TERM", DRAIN_MAX), ("-KILL", Duration::from_secs(5))] {
        let until = Instant::now() + limit;
        while orphans.iter().any(|pid| is_of(*pid, dir)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        for pid in orphans.iter().filter(|pid| is_of(**pid, dir)) {
            if told == "-KILL" {
                bail!("process {pid} does not end");
            }
            signal(*pid, "-KILL")?;
        }
    }
    Ok(())
}

fn list(dir: &Path) -> PathBuf {
    dir.join("stack.pids")
}

/// Whether a process runs and names the folder: ids are used again.
fn is_of(pid: u32, dir: &Path) -> bool {
    let line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line,
        Err(_) if Path::new("/proc/self/stat").exists() => return false,
        Err(_) => {
            let mut ask = Command::new("ps");
            ask.args(["-o", "command=", "-p", &pid.to_string()]);
            ask.output().map_or_else(|_| Vec::new(), |done| done.stdout)
        }
    };
    String::from_utf8_lossy(&line).contains(&dir.display().to_string())
}

fn signal(pid: u32, signal: &str) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.args([signal, &pid.to_string()]).status()?;
    Ok(())
}
