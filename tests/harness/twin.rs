//! A second deployment that begins as a copy of the first: what comes of a storm is
//! compared with what comes of peace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::servers::LAKE;
use crate::{App, PostgresServer};

/// Where records lie in S3, of a deployment and of its twins.
const RECORDS: &str = "s3://records";

impl App {
    /// A second deployment, made of a copy of all this one has, beside the same
    /// portal and servers, but with a Temporal of its own. Nothing may be at work here.
    pub async fn twin(&mut self) -> Result<Self> {
        ensure!(
            self.nodes.is_empty(),
            "end the process before its data is copied"
        );
        let dir = tempfile::tempdir()?;
        let mut settings = self.own_settings.clone();
        settings.extend(self.copy_to(&dir.path().join("data")).await?);
        let (sandbox, servers) = (Arc::clone(&self.sandbox), self.servers.clone());
        let twin = Self::open(dir, sandbox, servers, settings).await?;
        // Their folders are the first one's: two databases would publish into them.
        for destination in twin.core.db.destinations().await? {
            twin.core
                .db
                .set_destination_enabled(destination.id, false)
                .await?;
        }
        Ok(twin)
    }

    /// Copies its data folder to this place, and what lies on servers beside where it
    /// lies: the settings that lead there.
    pub async fn copy_to(&mut self, data: &Path) -> Result<Vec<(String, String)>> {
        self.twins += 1;
        copy_folder(&self.dir.path().join("data"), data)?;
        let database = self.copy_database().await?;
        let records = self.copy_records()?;
        Ok(database.into_iter().chain(records).collect())
    }

    /// Copies what [`App::files`] of this name holds: where the copy is, as a location
    /// and as a folder.
    pub fn copy_files(&self, name: &str, to: &Path) -> Result<(String, PathBuf)> {
        if let Some(s3) = self.servers.s3.as_ref().filter(|_| self.lake) {
            let copy = format!("{LAKE}/copy-{}-{name}", self.twins);
            s3.copy(&format!("{LAKE}/{name}"), &copy)?;
            let folder = self.folder_of(&copy);
            return Ok((copy, folder));
        }
        let folder = to.join(name);
        copy_folder(&self.files(name), &folder)?;
        Ok((folder.display().to_string(), folder))
    }

    /// Where this deployment's own objects lie in a bucket: a twin has a place of
    /// its own.
    #[must_use]
    pub fn place(&self) -> String {
        let records = &self.core.settings.records.location;
        let place = records.strip_prefix(RECORDS).unwrap_or_default();
        place.trim_matches('/').to_owned()
    }

    /// Keeps a copy of the database. It is closed here, and no process has it open.
    pub async fn keep_database(&self, name: &str) -> Result<()> {
        if let Some(postgres) = &self.servers.postgres {
            return postgres.make_database(name, PostgresServer::DATABASE).await;
        }
        for ending in ["-wal", "-shm"] {
            let side = self.sqlite().with_extension(format!("db{ending}"));
            ensure!(!side.exists(), "{} is in use", side.display());
        }
        std::fs::copy(self.sqlite(), self.kept(name))?;
        Ok(())
    }

    /// Puts a copy that was kept in the place of the database, as closed as then.
    pub async fn bring_back_database(&self, name: &str) -> Result<()> {
        if let Some(postgres) = &self.servers.postgres {
            postgres.remove_database(PostgresServer::DATABASE).await?;
            return postgres.make_database(PostgresServer::DATABASE, name).await;
        }
        std::fs::copy(self.kept(name), self.sqlite())?;
        Ok(())
    }

    fn sqlite(&self) -> PathBuf {
        self.core.settings.data.dir.join("chartlift.db")
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.db"))
    }

    async fn copy_database(&mut self) -> Result<Option<(String, String)>> {
        let Some(postgres) = self.servers.postgres.clone() else {
            return Ok(None);
        };
        let name = format!("twin_{}", self.twins);
        // PostgreSQL copies a database to which nobody is connected.
        self.core.db.close().await;
        postgres
            .make_database(&name, PostgresServer::DATABASE)
            .await?;
        self.reopen().await?;
        Ok(self.servers.settings(&name))
    }

    fn copy_records(&self) -> Result<Option<(String, String)>> {
        let Some(s3) = &self.servers.s3 else {
            return Ok(None);
        };
        let records = &self.core.settings.records.location;
        if !objects::is_s3(records) {
            return Ok(None);
        }
        let copy = format!("{RECORDS}/twin-{}", self.twins);
        s3.copy(records, &copy)?;
        Ok(Some(("records.location".to_owned(), copy)))
    }
}

/// Copies a folder with all that lies in it. Another process does it: opening
/// and closing SQLite's files here would drop the locks that this one holds.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-R").args([from, to]).status()?;
    ensure!(status.success(), "cp ended with {status}");
    // The index of the log in shared memory is made anew.
    let shared = to.join("chartlift.db-shm");
    if shared.exists() {
        std::fs::remove_file(shared)?;
    }
    Ok(())
}
