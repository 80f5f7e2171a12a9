//! Where the programs of PostgreSQL are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Names the folder of `initdb` and `postgres` to use instead of what is found.
const BIN: &str = "CHARTLIFT_POSTGRES_BIN";
/// The installation that the folder is a part of, where it is to be moved as a whole.
const ROOT: &str = "CHARTLIFT_POSTGRES_ROOT";

/// An installation of PostgreSQL, and where in it the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// What belongs together: the programs find their libraries beside them.
    pub root: PathBuf,
    /// The folder of `initdb` and `postgres`, from the root on.
    pub bin: PathBuf,
}

impl Programs {
    /// An installation, if both programs are there.
    #[must_use]
    pub fn at(root: &Path, bin: &Path) -> Option<Self> {
        let folder = root.join(bin);
        let is_whole = ["initdb", "postgres"].map(|name| folder.join(name).is_file());
        (is_whole == [true, true]).then(|| Self {
            root: root.to_owned(),
            bin: bin.to_owned(),
        })
    }

    /// What is named by a variable, else what is on PATH, else the newest where
    /// Debian keeps it.
    ///
    /// # Errors
    /// If the variable names no such folder.
    pub fn find() -> Result<Option<Self>> {
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty())
        };
        if let Some(bin) = variable(BIN).map(PathBuf::from) {
            let root = variable(ROOT).map_or_else(|| bin.clone(), PathBuf::from);
            let within = bin.strip_prefix(&root).unwrap_or(Path::new(""));
            return Self::at(&root, within)
                .with_context(|| format!("{BIN} names no folder with initdb and postgres"))
                .map(Some);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        debian.sort();
        let debian = debian.into_iter().rev().map(|(_, bin)| bin);
        Ok(std::env::split_paths(&path)
            .chain(debian)
            .find_map(|bin| Self::at(&bin, Path::new(""))))
    }

    /// The folder of the programs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.root.join(&self.bin)
    }

    /// What tells a child of this process to use these programs.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [(BIN, self.folder()), (ROOT, self.root.clone())]
    }
}
