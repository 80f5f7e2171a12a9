//! `chartlift worker`: a worker alone.

use std::process::ExitCode;

use anyhow::{Result, bail};
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::node::work;
use crate::stop::Stop;

pub(crate) async fn run(global: &GlobalArguments) -> Result<ExitCode> {
    let settings = global.settings()?;
    config::telemetry::init(&settings.log)?;
    if settings.temporal.is_embedded() {
        bail!(
            "a worker alone needs a Temporal server: set `temporal.address` or TEMPORAL_ADDRESS to its host:port \
             (`chartlift up` brings one of its own)"
        );
    }
    let stop = Stop::on_signal()?;
    let core = Core::open_to_work(settings, OpenMode::RequireCurrent).await?;
    let address = core.settings.temporal.address.clone();
    eprintln!("worker on Temporal at {address} — Ctrl-C ends it");
    work(&core, &address, stop.asked()).await?;
    core.db.close().await;
    Ok(ExitCode::SUCCESS)
}
