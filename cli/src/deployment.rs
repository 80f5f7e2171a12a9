//! Opening a deployment for a command that starts nothing.

use anyhow::{Result, ensure};
use config::Settings;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;

/// Opens what the settings name; refuses to make a new data folder by accident.
///
/// # Errors
/// If there is nothing there, or it cannot be opened.
pub(crate) async fn open(global: &GlobalArguments) -> Result<Core> {
    let settings = global.settings()?;
    quiet_log(&settings)?;
    must_exist(&settings)?;
    Core::open(settings, OpenMode::RequireCurrent).await
}

/// Fails where a typing error in a path would look like an empty deployment.
pub(crate) fn must_exist(settings: &Settings) -> Result<()> {
    let dir = &settings.data.dir;
    ensure!(
        dir.is_dir(),
        "there is no Chartlift data in {}: `chartlift migrate` makes it, or name another folder with --data-dir",
        dir.display()
    );
    Ok(())
}

/// Logging for commands that speak for themselves: warnings, unless more was asked for.
pub(crate) fn quiet_log(settings: &Settings) -> Result<()> {
    let mut log = settings.log.clone();
    if settings.origin("log.level") == "the default" {
        "warn".clone_into(&mut log.level);
    }
    Ok(config::telemetry::init(&log)?)
}
