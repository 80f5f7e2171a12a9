//! `chartlift demo`: the whole path on sample patients, in one process.
//!
//! `setup` registers portal, patients and destinations; `progress` waits until
//! what was asked for has ended; `summary` tells what came of it, from the same
//! publications that a reader goes by; `judge` says whether all of it holds.
//! It stands on the same database and workflows as any other deployment:
//! killed and started again, it goes on.

mod judge;
mod progress;
mod reading;
mod setup;
mod summary;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use worker::embedded::DataLock;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::commands::keys::first_key;
use crate::deployment::quiet_log;
use crate::node::{Api, Temporal, work_during};
use crate::output::print_line;
use crate::stop::Stop;
use setup::Scene;

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Run again on the same folder, it delivers only what changed: nothing.\n\
    Killed at any moment and started again, it goes on where it was.\n\n\
    Example:\n  chartlift demo --exit --data-dir /tmp/demo"
)]
pub(crate) struct DemoArguments {
    /// End when all is delivered and verified; exit code 0 only if it is
    #[arg(long)]
    exit: bool,
    /// Connect only so many of the sample's patients
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    patients: Option<u64>,
}

pub(crate) async fn run(global: &GlobalArguments, arguments: &DemoArguments) -> Result<ExitCode> {
    let mut settings = global.settings()?;
    // The portal of the demo listens on this machine.
    settings.guard.allow.push("127.0.0.1/32".to_owned());
    quiet_log(&settings)?;
    let _lock = DataLock::take(&settings.data.dir)?;
    let stop = Stop::on_signal()?;
    let core = Core::open_to_work(settings, OpenMode::Migrate).await?;
    let portal = setup::portal().await?;
    let scene = setup::register(&core, &portal, arguments.patients).await?;
    let api = Api::start(&core).await?;
    let key = first_key(&core.db).await?;
    eprintln!("starting Temporal (the first start may fetch or build it) …");
    let temporal = Temporal::start(&core).await?;

    let urls = Urls {
        api: api.url(),
        key,
        portal: portal.base_url().to_string(),
        temporal: temporal
            .ui_url()
            .unwrap_or_else(|| temporal.address.clone()),
    };
    let is_told = Cell::new(false);
    let story = tell(&core, &scene, &urls, arguments.exit, &is_told);
    let told = work_during(&core, &temporal.address, &stop, story).await;
    api.stop().await;
    temporal.stop().await;
    core.db.close().await;
    match told? {
        Some(code) => Ok(code),
        None if is_told.get() => Ok(ExitCode::SUCCESS),
        None => {
            eprintln!("stopped before the end: the same command goes on from here");
            Ok(ExitCode::from(1))
        }
    }
}

/// Where to look.
#[derive(Debug)]
struct Urls {
    api: String,
    /// The API's first key, where it was made now.
    key: Option<String>,
    portal: String,
    temporal: String,
}

/// Asks for the pulls, waits, and tells. Without `exit` it does not end.
async fn tell(
    core: &Core,
    scene: &Scene,
    urls: &Urls,
    exit: bool,
    is_told: &Cell<bool>,
) -> Result<ExitCode> {
    eprintln!(
        "API {}   portal {}   Temporal UI {}",
        urls.api, urls.portal, urls.temporal
    );
    let began = Instant::now();
    let runs = progress::ask(&core.db, scene)
        .await
        .context("ask for the pulls")?;
    progress::wait(&core.db, &runs)
        .await
        .context("watch the runs")?;
    let elapsed = began.elapsed();

    let summary = summary::Summary::of(&core.db, scene, &runs)
        .await
        .context("sum up")?;
    for line in summary.lines(elapsed) {
        print_line(&line);
    }
    print_line("");
    print_line(&format!(
        "data         {}",
        core.settings.data.dir.display()
    ));
    for (name, line) in reading::lines(scene) {
        print_line(&format!("{name:<11}  {line}"));
    }
    print_line(&format!("API          {}", urls.api));
    if let Some(key) = &urls.key {
        print_line(&format!("API key      {key}   (shown this once)"));
        print_line(&format!(
            "             curl -H 'Authorization: Bearer {key}' {}/v1/exports",
            urls.api
        ));
    }
    print_line(&format!("portal       {}", urls.portal));
    print_line(&format!("Temporal UI  {}", urls.temporal));

    let judged = judge::judge(core, scene, &runs).await.context("verify")?;
    for fault in &judged.faults {
        print_line(fault);
    }
    print_line(&format!("verify       {}", judged.verdict));
    is_told.set(true);
    if !exit {
        eprintln!("stays up — Ctrl-C ends it");
        std::future::pending::<()>().await;
    }
    Ok(if judged.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
