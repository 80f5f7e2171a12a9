//! `chartlift verify`: what is stored, against what is promised of it.

use std::process::ExitCode;

use ::activities::verify::{Report, VerifyOptions};
use anyhow::Result;
use clap::Args;
use worker::Core;

use crate::args::GlobalArguments;
use crate::deployment;
use crate::output::{grouped, print_json, print_line};

/// Options of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 means that something was found; each finding says what to do.\n\
    Runs in flight are listed, not judged."
)]
pub(crate) struct VerifyArguments {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Look at names, sizes and footers only; do not hash every body again
    #[arg(long)]
    fast: bool,
}

pub(crate) async fn run(global: &GlobalArguments, arguments: &VerifyArguments) -> Result<ExitCode> {
    let core = deployment::open(global).await?;
    let report = report(&core, !arguments.fast).await?;
    if arguments.json {
        print_json(&report)?;
    } else {
        for line in lines(&report) {
            print_line(&line);
        }
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Verifies a deployment.
pub(crate) async fn report(core: &Core, bodies: bool) -> Result<Report> {
    let (destinations, options) = (core.destinations(), VerifyOptions { bodies });
    Ok(::activities::verify::verify(&core.db, &core.store, &destinations, &options).await?)
}

/// The findings, what was not judged, and a line on the whole.
pub(crate) fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &report.findings {
        lines.push(format!(
            "{} {} {}: {}",
            finding.invariant, finding.code, finding.object, finding.what
        ));
        lines.push(format!("    → {}", finding.action));
    }
    for run in &report.in_flight {
        lines.push(format!("{run} is at work: not judged"));
    }
    lines.push(format!("verify: {}", verdict(report)));
    lines
}

/// What was found, among how much.
pub(crate) fn verdict(report: &Report) -> String {
    let checked = &report.checked;
    let found = match report.findings.len() as u64 + report.findings_left_out {
        0 => "clean".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{} findings", grouped(count)),
    };
    format!(
        "{found}; {} rows in {} batches of {} connections, {} files in {} publications{}",
        grouped(checked.rows),
        grouped(checked.batches),
        grouped(checked.connections),
        grouped(checked.parts),
        grouped(checked.publications),
        if checked.bodies {
            ", every text read and hashed"
        } else {
            ""
        }
    )
}
