//! Runs one child process: its output streams through and is read along the
//! way, it ends when its time is up, and with it all it has started.

use crate::outcome::Tally;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long output is waited for once the child itself has ended: what it left
/// running may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(5);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With code 0.
    Ok,
    /// With another code, or by a signal.
    Failed,
    /// Its time was up, and it was ended.
    TimedOut,
}

/// A child that has ended.
pub(crate) struct Report {
    pub(crate) ended: Ended,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn is_ok(&self) -> bool {
        self.ended == Ended::Ok
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
        })
    }
}

/// Runs `command`, printing what it prints, for at most `limit`.
pub(crate) fn run(command: Command, limit: Duration) -> Result<Report> {
    run_to(command, limit, &mut std::io::stdout())
}

/// The same with another place to print to: a test's own child must not be
/// counted by the run that the test is part of.
fn run_to(mut command: Command, limit: Duration, out: &mut impl Write) -> Result<Report> {
    let started = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let pipe = child.stdout.take().context("read the child's output")?;
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || pump(pipe, &send));

    let mut tally = Tally::default();
    let mut ended = None;
    let mut drain_until = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                // A closed terminal is no reason to stop a run.
                out.write_all(&line).ok();
                tally.read(&String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) if ended.is_some() => break,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(50)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("wait for {name}"))?
            {
                ended = Some(if status.success() {
                    Ended::Ok
                } else {
                    Ended::Failed
                });
                drain_until = Some(Instant::now() + DRAIN);
            } else if started.elapsed() > limit {
                println!(
                    "{name}: its {} minutes are up; ending it",
                    limit.as_secs() / 60
                );
                kill_tree(child.id());
                child.kill().ok();
                child.wait().with_context(|| format!("wait for {name}"))?;
                ended = Some(Ended::TimedOut);
                drain_until = Some(Instant::now() + DRAIN);
            }
        }
        if drain_until.is_some_and(|until| Instant::now() > until) {
            break;
        }
    }
    let took = started.elapsed();
    Ok(Report {
        ended: ended.unwrap_or(Ended::Failed),
        tally,
        took,
    })
}

/// Sends each line of `pipe`, its end included.
fn pump(pipe: impl Read, lines: &mpsc::Sender<Vec<u8>>) {
    let mut reader = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if lines.send(line).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// Ends the descendants of a child of ours, the youngest generation last so
/// that none is taken over by `init` before it is found.
fn kill_tree(root: u32) {
    let mut family = vec![root];
    let parents = parents();
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| **of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    for pid in family {
        let kill = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .stderr(Stdio::null())
            .status();
        if let Err(error) = kill {
            println!("end process {pid}: {error}");
        }
    }
}

/// Each running process and its parent.
fn parents() -> HashMap<u32, u32> {
    if !Path::new("/proc/self/stat").exists() {
        let listing = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
        let text = listing.map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
        let pair = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        };
        return text.unwrap_or_default().lines().filter_map(pair).collect();
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // "pid (name) state ppid …", and a name may hold anything.
        let parent = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// Prints where a run has come to, so that a log can be searched for it.
pub(crate) fn announce(name: &str, what: &str) {
    println!("\n==> {name}: {what}");
}

/// A duration in minutes, to the hundredth.
pub(crate) fn minutes(took: Duration) -> f64 {
    (took.as_secs_f64() / 0.6).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn quietly(script: &str, limit: Duration) -> Report {
        run_to(shell(script), limit, &mut Vec::new()).unwrap()
    }

    #[test]
    fn output_is_counted_and_the_code_kept() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let report = quietly(&format!("echo '{line}'; exit 3"), Duration::from_secs(20));
        assert_eq!(report.ended, Ended::Failed);
        assert_eq!((report.tally.passed, report.tally.ignored), (3, 1));
        assert_eq!(format!("{:>7}", report.ended), " failed");
    }

    #[test]
    fn at_the_limit_a_child_and_its_children_end() {
        let mark = format!("3600.{}", std::process::id());
        let script = format!("sleep {mark} & sleep {mark}");
        let report = quietly(&script, Duration::from_millis(600));
        assert_eq!(report.ended, Ended::TimedOut);
        assert!(report.took < Duration::from_secs(20));
        if Path::new("/proc/self/stat").exists() {
            let left = parents().into_keys().any(|pid| {
                let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
                line.is_ok_and(|line| line.starts_with("sleep") && line.contains(&mark))
            });
            assert!(!left, "a child is still running");
        }
    }

    #[test]
    fn what_a_child_leaves_running_does_not_hold_the_run() {
        let report = quietly("sleep 8 & exit 0", Duration::from_secs(60));
        assert!(report.is_ok() && report.took < Duration::from_millis(7_500));
    }
}
