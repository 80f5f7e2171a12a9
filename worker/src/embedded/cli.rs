//! The `temporal` program: found, or built once where Go is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

/// The last version that `go install` builds.
const VERSION: &str = "1.5.1";
const PROGRAM: &str = if cfg!(windows) {
    "temporal.exe"
} else {
    "temporal"
};

/// The program as [`installed`], else built into our cache.
pub(super) async fn find() -> Result<PathBuf> {
    if let Some(path) = installed()? {
        return Ok(path);
    }
    if let (Some(folder), Some(go)) = (
        cache_folder(),
        on_path(if cfg!(windows) { "go.exe" } else { "go" }),
    ) {
        return build(&go, &folder).await;
    }
    bail!(
        "the Temporal CLI is not installed: install it (`brew install temporal`, or see \
         https://docs.temporal.io/cli), or install Go and it is built, or name a running server \
         with TEMPORAL_ADDRESS"
    )
}

/// The program of `CHARTLIFT_TEMPORAL_CLI`, else on PATH, else in our cache.
pub(super) fn installed() -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os("CHARTLIFT_TEMPORAL_CLI").map(PathBuf::from) {
        if !path.is_file() {
            bail!("CHARTLIFT_TEMPORAL_CLI names no file: {}", path.display());
        }
        return Ok(Some(std::path::absolute(path)?));
    }
    let cached = || {
        cache_folder()
            .map(|folder| program_in(&folder))
            .filter(|path| path.is_file())
    };
    Ok(on_path(PROGRAM).or_else(cached))
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_absolute() && path.is_file())
}

fn cache_folder() -> Option<PathBuf> {
    let given = std::env::var_os("CHARTLIFT_CACHE").filter(|given| !given.is_empty());
    let cache = match given {
        Some(given) => PathBuf::from(given),
        None => std::env::home_dir()?.join(".cache").join("chartlift"),
    };
    std::path::absolute(cache.join(format!("temporal-{VERSION}"))).ok()
}

fn program_in(folder: &Path) -> PathBuf {
    folder.join("bin").join(PROGRAM)
}

/// Builds the program beside its place and moves it there, so that nobody ever
/// finds half of it; processes that want it at the same time wait for one build.
async fn build(go: &Path, folder: &Path) -> Result<PathBuf> {
    let target = program_in(folder);
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
    let path = folder.join("build.lock");
    let lock = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?;
    let _lock = lock.with_context(|| format!("lock {}", path.display()))?;
    if target.is_file() {
        return Ok(target);
    }
    eprintln!("Building the Temporal CLI {VERSION} with Go: this takes some minutes, once …");
    let scratch = folder.join("build");
    std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let output = tokio::process::Command::new(go)
        .arg("install")
        .arg(format!("github.com/temporalio/cli/cmd/temporal@v{VERSION}"))
        .env("GOBIN", &scratch)
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {}", go.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "Go could not build the Temporal CLI: install it (`brew install temporal`, or see \
             https://docs.temporal.io/cli); Go's last lines:\n{}",
            last_lines(&text)
        );
    }
    std::fs::rename(scratch.join(PROGRAM), &target)
        .with_context(|| format!("move the Temporal CLI to {}", target.display()))?;
    // What is left is an empty folder, which the next build uses.
    let _ = std::fs::remove_dir(&scratch);
    Ok(target)
}

/// The last five lines of a text.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
