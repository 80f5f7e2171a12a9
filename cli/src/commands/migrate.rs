//! `chartlift migrate`

use std::process::ExitCode;

use anyhow::Result;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::deployment::quiet_log;

pub(crate) async fn run(global: &GlobalArguments) -> Result<ExitCode> {
    let settings = global.settings()?;
    quiet_log(&settings)?;
    let core = Core::open(settings, OpenMode::Migrate).await?;
    let state = core.db.migration_state().await?;
    eprintln!("the database has all {} migrations", state.known);
    Ok(ExitCode::SUCCESS)
}
