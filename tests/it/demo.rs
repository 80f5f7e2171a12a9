//! The README's first command does what the README says, twice, and after a
//! `kill -9` half-way.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chartlift_tests::Node;

const LIMIT: Duration = Duration::from_secs(180);

fn demo(data: &Path, log: &Path) -> Result<Node> {
    let data = data.display().to_string();
    let ports = [
        ("API__PORT", "28080"),
        ("TEMPORAL__GRPC_PORT", "27233"),
        ("TEMPORAL__UI_PORT", "28233"),
    ];
    let environment: Vec<(String, String)> = ports
        .iter()
        .map(|(key, value)| (format!("CHARTLIFT_{key}"), (*value).to_owned()))
        .collect();
    Node::spawn(&["demo", "--exit", "--data-dir", &data], &environment, log)
}

#[test]
fn the_demo_delivers_everything_survives_a_kill_and_then_nothing_twice() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (data, log) = (dir.path().join("data"), dir.path().join("demo.log"));
    let said = || std::fs::read_to_string(&log).unwrap_or_default();

    // Killed as soon as the first pull has settled: its Temporal child is orphaned.
    let mut first = demo(&data, &log)?;
    let until = std::time::Instant::now() + LIMIT;
    let batches = data.join("records/connections");
    let settled = || {
        std::fs::read_dir(&batches).is_ok_and(|mut connections| {
            connections.any(|connection| {
                connection.is_ok_and(|connection| connection.path().join("batches").exists())
            })
        })
    };
    while !settled() {
        ensure!(
            std::time::Instant::now() < until,
            "no batch within {LIMIT:?}:\n{}",
            said()
        );
        ensure!(first.ended()?.is_none(), "ended early:\n{}", said());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    first.kill()?;

    let status = demo(&data, &log)?.wait(LIMIT).with_context(said)?;
    ensure!(status.success(), "after the kill: {status}\n{}", said());
    let text = said();
    ensure!(text.contains("verify") && text.contains("clean"), "{text}");

    // Once more: nothing has changed, nothing is delivered.
    std::fs::remove_file(&log)?;
    let status = demo(&data, &log)?.wait(LIMIT).with_context(said)?;
    ensure!(status.success(), "the second time: {status}\n{}", said());
    let text = said();
    ensure!(text.contains("nothing"), "{text}");
    Ok(())
}
