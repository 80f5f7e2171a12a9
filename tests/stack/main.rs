//! The production topology as processes on this machine, for `cargo xtask stack up`:
//! PostgreSQL, VersityGW (S3), the portal of the tests, one `chartlift api` and
//! several `chartlift worker`. Temporal is its dev server, which keeps its state in
//! SQLite: the one part that a production deployment has otherwise.
//!
//! Invariant: everything listens on 127.0.0.1, is a child of this process and lies
//! in the one folder; what ends by itself is started again, and all is drained at the
//! end.

mod orphans;
mod settings;
mod stack;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use worker::embedded::DataLock;

use self::stack::Stack;

/// How often it is looked whether all still run.
const LOOK: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let usage = "two arguments: the folder, and how many workers";
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().context(usage)?);
    let workers = arguments.next().context(usage)?;
    let workers: usize = workers.to_str().context(usage)?.parse().context(usage)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dir = dir.canonicalize().context("find the folder")?;
    let _lock = DataLock::take(&dir).context("one stack at a time works on a folder")?;
    orphans::end(&dir)?;

    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut stack = tokio::select! {
        stack = Stack::start(&dir, workers) => stack?,
        // What was started goes with the process's own end.
        () = asked(&mut interrupt, &mut terminate) => return Ok(()),
    };
    stack.introduce();
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => stack.tend().await?,
            () = asked(&mut interrupt, &mut terminate) => break,
        }
    }
    println!("stopping: finishing what is at work (once more to stop at once)");
    tokio::select! {
        drained = stack.drain() => drained,
        () = asked(&mut interrupt, &mut terminate) => Ok(()),
    }
}

/// Ends when the process is asked to end.
async fn asked(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
