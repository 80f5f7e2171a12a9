//! The PostgreSQL server of a test run: one for all tests, each of which makes a
//! database of its own. It goes with its folder when the run ends.

use anyhow::Result;
use postgres_server::{Options, Programs};
use std::path::PathBuf;

/// A running server; ended when dropped.
pub(crate) struct Server {
    server: postgres_server::Server,
    dir: PathBuf,
}

impl Server {
    /// Starts a server.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("chartlift-postgres-{}", std::process::id()));
        let started = postgres_server::Server::start(programs, &dir, Options::default());
        if started.is_err() {
            std::fs::remove_dir_all(&dir).ok();
        }
        Ok(Self {
            server: started?,
            dir,
        })
    }

    /// Where it is, as a user who may make databases.
    pub(crate) fn url(&self) -> String {
        self.server.url("postgres")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.stop();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}
