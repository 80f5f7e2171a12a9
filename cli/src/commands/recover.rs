//! `chartlift recover`: lets a database that was restored from a copy go on.

use std::process::ExitCode;

use ::activities::recover;
use anyhow::Result;
use clap::Args;
use worker::embedded::DataLock;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::deployment::{must_exist, quiet_log};
use crate::output::print_line;

/// Options of `recover`.
#[derive(Debug, Args)]
#[command(
    after_help = "Stop every worker first. Without --yes it only says what it would do.\n\
    Killed half-way, it has changed nothing, or all: run it again."
)]
pub(crate) struct RecoverArguments {
    /// Do it
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(
    global: &GlobalArguments,
    arguments: &RecoverArguments,
) -> Result<ExitCode> {
    let settings = global.settings()?;
    quiet_log(&settings)?;
    must_exist(&settings)?;
    let _lock = DataLock::take(&settings.data.dir)?;
    let core = Core::open(settings, OpenMode::Migrate).await?;
    let lease = recover::keep_workers_out(&core.db).await?;
    let done = put_right(&core, arguments.yes).await;
    lease.give_back(&core.db).await?;
    core.db.close().await;
    done
}

async fn put_right(core: &Core, yes: bool) -> Result<ExitCode> {
    let plan = recover::plan(&core.db, &core.store, &core.destinations()).await?;
    if !plan.is_restored {
        print_line(
            "the database is as new as its record store and its destinations: nothing to do",
        );
        return Ok(ExitCode::SUCCESS);
    }
    print_line("the database is older than its record store or its destinations:");
    for line in plan.lines() {
        print_line(&format!("  {line}"));
    }
    if !yes {
        eprintln!("nothing was changed: `chartlift recover --yes` does it");
        return Ok(ExitCode::from(1));
    }
    recover::carry_out(&core.db, &core.store, &core.destinations(), &plan).await?;
    print_line(
        "recovered: start `chartlift up` or the workers, which pull and send everything again",
    );
    Ok(ExitCode::SUCCESS)
}
