//! Settings and telemetry.
//!
//! Owns `chartlift.toml`: its documented default ([`DEFAULT`], which is also
//! the list of legal keys), its layers and its checks; and how events are
//! printed. Reads files and a given environment once, at start. Invariant:
//! no other crate reads a `CHARTLIFT_<SECTION>__<KEY>` variable, and no secret
//! leaves through `Debug` or [`Settings::print_redacted`].

mod check;
mod layers;
mod secret;
mod settings;
pub mod telemetry;
#[cfg(test)]
mod tests;

pub use layers::{DEFAULT, LoadOptions};
pub use secret::Secret;
pub use settings::{
    ApiSettings, DataSettings, DatabaseSettings, GuardSettings, LogFormat, LogSettings,
    MaintainSettings, RecordsSettings, S3Settings, SecretsSettings, Settings, TemporalSettings,
    WorkerSettings,
};

use std::path::PathBuf;

/// Why settings were refused. Each message names the key, where it was given,
/// and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings file cannot be read.
    #[error("read settings file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings file is not TOML.
    #[error("{} line {line} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser expected. Never the line itself: it may be a secret.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown setting `{key}` in {origin}; {legal}")]
    UnknownKey {
        /// The key as `section.key`.
        key: String,
        /// The file, variable or flag it stands in.
        origin: String,
        /// A sentence with the legal keys.
        legal: String,
    },
    /// A value of another type than the key's.
    #[error("`{key}` in {origin} must be {expected}")]
    WrongType {
        /// The key as `section.key`.
        key: String,
        /// The file, variable or flag it stands in.
        origin: String,
        /// The type in words.
        expected: &'static str,
    },
    /// A secret given both as a value and as a file.
    #[error("both {variable} and {variable}_FILE are set; set only one")]
    GivenTwice {
        /// The variable that holds the value.
        variable: String,
    },
    /// The file of a `_FILE` variable cannot be read.
    #[error("read {}, named by {variable}: {source}", path.display())]
    SecretFile {
        /// The variable.
        variable: String,
        /// The file it names.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A value that is of the right type but cannot be used.
    #[error("`{key}` in {origin}: {reason}")]
    Refused {
        /// The key as `section.key`.
        key: String,
        /// Where its value comes from.
        origin: String,
        /// Why, and what would do.
        reason: String,
    },
    /// The layers do not fit together.
    #[error("read settings: {0}")]
    Layers(#[from] config_rs::ConfigError),
    /// The folder that a relative `data.dir` starts at cannot be told.
    #[error("find the folder of `data.dir`: {0}")]
    Folder(#[source] std::io::Error),
}
