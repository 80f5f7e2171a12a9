//! `chartlift config`

use std::process::ExitCode;

use anyhow::Result;

use crate::args::GlobalArguments;
use crate::output::print_line;

pub(crate) fn run(global: &GlobalArguments) -> Result<ExitCode> {
    print_line(global.settings()?.print_redacted().trim_end());
    Ok(ExitCode::SUCCESS)
}
