//! What a result was measured on: commit and machine. And where it is kept.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// The trimmed output of a command, if it ran and succeeded.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(text)
}

/// The commit, and whether files differ from it (results aside).
pub(crate) fn commit() -> Value {
    let status = output(
        "git",
        &["status", "--porcelain", "--", ".", ":!bench/results"],
    );
    json!({
        "commit": output("git", &["rev-parse", "HEAD"]),
        "dirty": status.is_none_or(|text| !text.is_empty()),
    })
}

/// Cores, memory and system.
pub(crate) fn machine() -> Value {
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": memory_gib(),
        "os": format!("{} {} ({})", std::env::consts::OS, std::env::consts::ARCH, release()),
    })
}

fn memory_gib() -> Option<f64> {
    let bytes = match std::fs::read_to_string("/proc/meminfo") {
        Ok(text) => {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0
        }
        Err(_) => output("sysctl", &["-n", "hw.memsize"])?.parse().ok()?,
    };
    Some((bytes / f64::from(1 << 30) * 10.0).round() / 10.0)
}

fn release() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(
        || "unknown release".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}

/// Writes `bench/results/NAME.json` whole or not at all; returns its path.
pub(crate) fn write_result(name: &str, result: &Value) -> Result<PathBuf> {
    let dir = PathBuf::from("bench/results");
    std::fs::create_dir_all(&dir).context("create bench/results")?;
    let path = dir.join(format!("{name}.json"));
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    let mut text = serde_json::to_string_pretty(result).context("write the result as JSON")?;
    text.push('\n');
    std::fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
    std::fs::rename(&beside, &path).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
