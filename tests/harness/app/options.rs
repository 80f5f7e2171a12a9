//! How a deployment under test differs from the default.

use sandbox::SandboxOptions;

use crate::{PostgresServer, S3Server};

/// How a deployment under test differs from the default.
#[derive(Debug, Default)]
pub struct AppOptions {
    /// The portal.
    pub sandbox: SandboxOptions,
    /// Settings by `section.key`.
    pub settings: Vec<(String, String)>,
    /// Whether the portal is left to be added.
    pub no_source: bool,
    /// The store of what lies in S3.
    pub s3: Option<S3Server>,
    /// The server of the database, instead of SQLite.
    pub postgres: Option<PostgresServer>,
    /// Workers that [`App::work`] starts; 0 is one, too.
    pub workers: usize,
}

impl AppOptions {
    /// The default but for these settings.
    #[must_use]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter();
        Self {
            settings: settings
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}
