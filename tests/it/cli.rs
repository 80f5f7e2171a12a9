//! The command line tells a stranger what is what.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use chartlift_tests::binary;

fn chartlift(
    data: &std::path::Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<Output> {
    Ok(Command::new(binary())
        .args(arguments)
        .env_remove("TEMPORAL_ADDRESS")
        .env("CHARTLIFT_DATA__DIR", data)
        .envs(variables.iter().copied())
        .output()?)
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn commands_add_list_disable_and_refuse_with_a_reason() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let files = dir.path().join("files").display().to_string();
    let ok = |arguments: &[&str]| -> Result<String> {
        let output = chartlift(&data, arguments, &[])?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
        Ok(text(&output))
    };
    let refused = |arguments: &[&str], variables: &[(&str, &str)], reason: &str| -> Result<()> {
        let output = chartlift(&data, arguments, variables)?;
        let said = text(&output);
        ensure!(
            !output.status.success() && said.contains(reason),
            "{arguments:?} said: {said}"
        );
        Ok(())
    };
    refused(&["source", "list"], &[], "chartlift migrate")?;
    ok(&["migrate"])?;
    ok(&["source", "add", "portal", "https://1.1.1.1/fhir"])?;
    refused(
        &["source", "add", "portal", "https://1.1.1.1/other"],
        &[],
        "already",
    )?;
    let inside = ["source", "add", "inside", "http://127.0.0.1:9/fhir"];
    refused(&inside, &[], "guard.allow")?;
    let wrong = ("CHARTLIFT_GUARD__ALLOW", "10.0.0.1/8");
    refused(&inside, &[wrong], "`guard.allow` in the variable")?;
    let allow = ("CHARTLIFT_GUARD__ALLOW", "10.0.0.0/8, 127.0.0.1");
    ensure!(
        chartlift(&data, &inside, &[allow])?.status.success(),
        "it is allowed"
    );
    ok(&["destination", "add", "lake", &files, "--format", "parquet"])?;
    refused(
        &["destination", "add", "lake2", &files, "--format", "parquet"],
        &[],
        "already",
    )?;
    ensure!(ok(&["destination", "list"])?.contains("lake"));
    ok(&["destination", "disable", "lake"])?;
    refused(&["export", "start", "lake"], &[], "disabled")?;
    refused(&["destination", "enable", "nowhere"], &[], "nowhere")?;
    refused(&["config"], &[("CHARTLIFT_API__PROT", "1")], "port")?;
    ensure!(ok(&["--help"])?.contains("demo"));
    ensure!(ok(&["config"])?.contains("[api]"));
    ok(&["verify"])?;
    Ok(())
}

#[test]
fn doctor_names_what_is_wrong() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    ensure!(chartlift(&data, &["migrate"], &[])?.status.success());
    let output = chartlift(
        &data,
        &["doctor"],
        &[("CHARTLIFT_TEMPORAL__ADDRESS", "127.0.0.1:9")],
    )?;
    ensure!(output.status.code() == Some(1), "{}", text(&output));
    let said = text(&output);
    let failing: Vec<&str> = said.lines().filter(|line| line.contains('✗')).collect();
    ensure!(
        failing.iter().any(|line| line.contains("Temporal")),
        "{said}"
    );
    ensure!(
        said.lines()
            .any(|line| line.contains('✓') && line.to_lowercase().contains("database")),
        "{said}"
    );
    Ok(())
}
