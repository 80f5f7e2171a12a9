//! `chartlift up`: everything in one process, until it is told to stop.

use std::process::ExitCode;

use anyhow::Result;
use worker::embedded::DataLock;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::commands::keys::first_key;
use crate::node::{Api, Temporal, work};
use crate::stop::Stop;

pub(crate) async fn run(global: &GlobalArguments) -> Result<ExitCode> {
    let settings = global.settings()?;
    config::telemetry::init(&settings.log)?;
    // It guards what lies in the folder: SQLite's file and Temporal's.
    let guards = !settings.database.is_postgres() || settings.temporal.is_embedded();
    let _lock = guards
        .then(|| DataLock::take(&settings.data.dir))
        .transpose()?;
    let stop = Stop::on_signal()?;
    let core = Core::open_to_work(settings, OpenMode::Migrate).await?;
    let api = Api::start(&core).await?;
    let temporal = Temporal::start(&core).await?;

    eprintln!("API          {}", api.url());
    if let Some(key) = first_key(&core.db).await? {
        eprintln!("API key      {key}   (shown this once)");
    }
    eprintln!("Temporal     {}", temporal.address);
    if let Some(url) = temporal.ui_url() {
        eprintln!("Temporal UI  {url}");
    }
    eprintln!("data         {}", core.settings.data.dir.display());
    eprintln!("up — Ctrl-C ends it");

    let worked = work(&core, &temporal.address, stop.asked()).await;
    api.stop().await;
    temporal.stop().await;
    core.db.close().await;
    worked?;
    Ok(ExitCode::SUCCESS)
}
