//! The lock of a data folder: one `up` or `demo` at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The exclusive hold on a data folder; given back when dropped, and by the
/// system when the process dies. The file stays, with its last holder's name.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of a folder, which is made if there is none.
    ///
    /// # Errors
    /// If another process holds it: which, and what to do.
    pub fn take(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("make the data folder {}", dir.display()))?;
        let path = dir.join("chartlift.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by {}: stop it, or give another folder with --data-dir",
                dir.display(),
                holder(&mut file)
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{} {}", std::process::id(), command()))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// This program and its subcommand. Never more: later arguments may be secrets.
fn command() -> String {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "chartlift".into());
    let program = Path::new(&program).file_name().map_or_else(
        || "chartlift".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    match arguments.next() {
        Some(word) if !word.to_string_lossy().starts_with('-') => {
            format!("{program} {}", word.to_string_lossy())
        }
        _ => program,
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let line = file
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| text.trim().split_once(' '));
    match line {
        Some((pid, command)) => format!("{command} (pid {pid})"),
        // It has taken the lock but not yet written its name.
        None => "another chartlift".to_owned(),
    }
}
