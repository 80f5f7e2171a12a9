//! The record store is readable by anyone: `zstdcat` prints a batch as NDJSON.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use chartlift_tests::{App, AppOptions, python, skipped};

/// What `zstdcat` prints of a file; where there is none, what Python's binding of
/// the reference library reads, across frames.
fn zstdcat(path: &Path) -> Result<Option<Vec<u8>>> {
    const READ_ALL: &str = "import sys, zstandard as z; \
        sys.stdout.buffer.write(z.ZstdDecompressor().stream_reader(open(sys.argv[1], 'rb'), \
        read_across_frames=True).read())";
    let output = match (Command::new("zstdcat").arg(path).output(), python()) {
        (Ok(output), _) => output,
        (Err(_), Some(python)) => Command::new(python)
            .args(["-c", READ_ALL])
            .arg(path)
            .output()?,
        (Err(_), None) => return Ok(None),
    };
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Some(output.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn zstdcat_reads_a_batch_as_ndjson() -> Result<()> {
    let mut app = App::start(AppOptions::default()).await?;
    let connections = app.connect(&["12345"]).await?;
    app.pull(&connections).await?;
    app.idle(Duration::from_secs(60)).await?;
    let batch = app.core.db.batches(connections[0], 0, 1).await?.remove(0);
    let path = app.records().join(&batch.object_key);
    let Some(printed) = zstdcat(&path)? else {
        skipped("neither zstdcat nor Python: install zstd, or run `cargo xtask test`");
        return Ok(());
    };
    let lines: BTreeSet<&[u8]> = printed
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let expected = app.sandbox.portal().expected("12345");
    ensure!(
        lines.len() == expected.len(),
        "{} lines, {} resources",
        lines.len(),
        expected.len()
    );
    ensure!(
        expected
            .values()
            .all(|text| lines.contains(text.as_slice())),
        "a resource is missing"
    );
    ensure!(batch.row_count == expected.len() as u64);
    app.down()
}
