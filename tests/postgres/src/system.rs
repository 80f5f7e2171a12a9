//! What a server asks of the system: who runs it, and small commands.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The user the server runs as, where the caller is root, whom it refuses.
pub(crate) fn user() -> Result<Option<&'static str>> {
    if output("id", &["-u"]).as_deref() != Some("0") {
        return Ok(None);
    }
    let mut other = ["postgres", "nobody"].into_iter();
    let found = other.find(|name| output("id", &["-u", name]).is_some());
    found
        .map(Some)
        .context("PostgreSQL does not run as root, and there is no other user here")
}

/// Copies an installation to where another user may read it, once.
pub(crate) fn copied(from: &Path, dir: &Path) -> Result<PathBuf> {
    let to = dir.join("programs");
    if !to.exists() {
        quietly(Command::new("cp").arg("-R").args([from, &to]))?;
    }
    Ok(to)
}

/// Runs a command; what it says counts only if it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .current_dir("/")
        .output()
        .with_context(|| format!("run {name}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{name}: {}: {said}", done.status);
    Ok(())
}

/// The trimmed output of a command, if it ran and succeeded.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(text)
}

/// 16 random bytes in hexadecimal.
pub(crate) fn password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("make a password")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
