//! `chartlift api`: the API alone.

use std::process::ExitCode;

use anyhow::{Context, Result};
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::node::Api;
use crate::stop::Stop;

pub(crate) async fn run(global: &GlobalArguments) -> Result<ExitCode> {
    let settings = global.settings()?;
    config::telemetry::init(&settings.log)?;
    let stop = Stop::on_signal()?;
    let core = Core::open(settings, OpenMode::RequireCurrent).await?;
    let mut api = Api::start(&core).await?;
    eprintln!("API          {} — Ctrl-C ends it", api.url());
    tokio::select! {
        ended = api.ended() => ended.context("the API broke off")?,
        () = stop.asked() => api.stop().await,
    }
    core.db.close().await;
    Ok(ExitCode::SUCCESS)
}
