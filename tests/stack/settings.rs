//! The settings that all processes of the stack read: a file in their data folder, so
//! that `chartlift --data-dir` finds it too.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use chartlift_tests::{PostgresServer, S3Server, TemporalProcess};
use serde_json::Value;

/// The file, in the data folder.
pub(crate) const FILE: &str = "chartlift.toml";
/// Where the records lie.
const RECORDS: &str = "s3://records/main";

/// Writes the file: it holds a password and a key.
pub(crate) fn write(
    data: &Path,
    postgres: &PostgresServer,
    s3: &S3Server,
    temporal: &TemporalProcess,
) -> Result<()> {
    let mut keys = vec![
        (
            "database.url".to_owned(),
            postgres.url(PostgresServer::DATABASE),
        ),
        ("temporal.address".to_owned(), temporal.address()),
    ];
    keys.extend(s3.settings(RECORDS));
    let mut text = String::from("# Written anew by each `cargo xtask stack up`.\n");
    for (key, value) in keys {
        // A word stays one; all else is text, as JSON and TOML write it alike.
        let value = match value.as_str() {
            "true" => value,
            _ => Value::String(value).to_string(),
        };
        text.push_str(&format!("{key} = {value}\n"));
    }
    // The portal and the store are on this machine.
    text.push_str("guard.allow = [\"127.0.0.1\"]\n");
    std::fs::create_dir_all(data).with_context(|| format!("create {}", data.display()))?;
    write_privately(&data.join(FILE), &text)
}

/// Writes a file that its owner alone can read.
pub(crate) fn write_privately(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::File::options();
    options.create(true).write(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
