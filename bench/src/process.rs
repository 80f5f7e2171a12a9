//! A side of a comparison as a process: started, waited for, measured.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::compare::Spread;

/// bash tells a child's CPU time to the millisecond; `/proc/PID/stat` only to ten.
const TIMED: &str = "TIMEFORMAT='%3U %3S'; time \"$@\"";

/// What one run of a side took, start-up included.
#[derive(Debug, Clone)]
pub(crate) struct Spent {
    /// User and system time of the process.
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Its peak resident memory.
    pub(crate) rss_mb: f64,
    /// The JSON object that it printed last.
    pub(crate) said: Value,
}

/// Runs a command, which prints one JSON object with its `rss_kb` last.
pub(crate) fn measure<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[S],
) -> Result<Spent> {
    let mut bash = Command::new("bash");
    bash.args(["-c", TIMED, "bash"])
        .arg(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let started = Instant::now();
    let output = bash
        .output()
        .context("start bash, which measures CPU time: is it installed?")?;
    let wall_s = started.elapsed().as_secs_f64();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "a side failed ({}):\n{errors}",
        output.status
    );
    let times = errors
        .lines()
        .last()
        .unwrap_or_default()
        .split_ascii_whitespace();
    let times: Vec<f64> = times
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("read bash's times")?;
    ensure!(times.len() == 2, "bash printed no times: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .context("read what a side said")?;
    let rss_mb = said["rss_kb"]
        .as_f64()
        .context("a side said nothing of its memory")?
        / 1024.0;
    Ok(Spent {
        cpu_s: times.iter().sum(),
        wall_s,
        rss_mb,
        said,
    })
}

/// This program, also where its file has been replaced by a newer build since.
pub(crate) fn this_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// The peak resident memory of this process.
pub(crate) fn peak_rss_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .context("read VmHWM")
}

/// Runs a future on one thread, as every side and the bench itself do.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(future)
}

/// The spreads of several runs of one side.
#[derive(Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<Spent>);

impl Runs {
    pub(crate) fn cpu_s(&self) -> Spread {
        Spread::of(self.0.iter().map(|spent| spent.cpu_s))
    }

    pub(crate) fn rss_mb(&self) -> Spread {
        Spread::of(self.0.iter().map(|spent| spent.rss_mb))
    }

    /// CPU seconds, wall seconds and peak memory.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({
            "cpu_s": self.cpu_s().to_json(),
            "wall_s": Spread::of(self.0.iter().map(|spent| spent.wall_s)).to_json(),
            "rss_mb": self.rss_mb().to_json(),
        })
    }
}
