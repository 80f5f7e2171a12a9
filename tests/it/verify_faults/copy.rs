//! A copy of a deployment that has ended, to be damaged: its data folder and its
//! destinations, and the command that looks at it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chartlift_tests::{App, binary};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// A destination in the copy.
#[derive(Debug, Clone)]
pub(super) struct Lake {
    /// Its id.
    pub(super) id: String,
    /// Its folder.
    pub(super) folder: PathBuf,
}

/// The copy.
pub(super) struct Copy {
    _dir: tempfile::TempDir,
    /// Of its record store.
    records: PathBuf,
    /// The URL of its database.
    database: String,
    /// What the command is told by variables.
    environment: Vec<(String, String)>,
    /// The NDJSON destination.
    pub(super) ndjson: Lake,
    /// The Parquet destination.
    pub(super) parquet: Lake,
}

/// What the command said.
pub(super) struct Said {
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// Its report.
    pub(super) report: Value,
}

impl Copy {
    /// Copies all that a deployment has, with its destinations `ndjson` and `parquet`,
    /// of these ids.
    pub(super) async fn of(app: &mut App, ids: &[String; 2]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let mut settings = app.copy_to(&data).await?;
        let of = |settings: &[(String, String)], name: &str| {
            let mut settings = settings.iter();
            settings.find_map(|(key, value)| (key == name).then(|| value.clone()))
        };
        let records = of(&settings, "records.location").map(|at| app.folder_of(&at));
        let database = of(&settings, "database.url");
        settings.push(("data.dir".to_owned(), data.display().to_string()));
        let mut lakes = Vec::new();
        for (name, id) in ["ndjson", "parquet"].into_iter().zip(ids) {
            let (location, folder) = app.copy_files(name, dir.path())?;
            let id = id.clone();
            lakes.push((Lake { id, folder }, location));
        }
        let (parquet, ndjson) = lakes.pop().zip(lakes.pop()).context("two destinations")?;
        let copy = Self {
            records: records.unwrap_or_else(|| data.join("records")),
            database: database
                .unwrap_or_else(|| format!("sqlite://{}", data.join("chartlift.db").display())),
            environment: app.environment(&settings),
            ndjson: ndjson.0,
            parquet: parquet.0,
            _dir: dir,
        };
        for (lake, location) in [(&copy.ndjson, ndjson.1), (&copy.parquet, parquet.1)] {
            copy.sql(&format!(
                "UPDATE destinations SET location = '{location}' WHERE id = '{}'",
                lake.id
            ))?;
        }
        Ok(copy)
    }

    /// The file of an object of the record store.
    pub(super) fn stored(&self, object: &str) -> PathBuf {
        self.records.join(object)
    }

    /// Runs `chartlift verify --json` on it.
    pub(super) fn verify(&self) -> Result<Said> {
        let output = Command::new(binary())
            .args(["verify", "--json"])
            .env_remove("TEMPORAL_ADDRESS")
            .envs(self.environment.iter().cloned())
            .output()?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(Said {
            code: output.status.code(),
            report,
        })
    }

    /// Changes the database; something must change.
    pub(super) fn sql(&self, text: &str) -> Result<()> {
        let changed = self.database(async |pool| {
            Ok(sqlx::query(sqlx::AssertSqlSafe(text.to_owned()))
                .execute(pool)
                .await?
                .rows_affected())
        })?;
        ensure!(changed > 0, "nothing changed: {text}");
        Ok(())
    }

    /// A text of the database.
    pub(super) fn text(&self, text: &str) -> Result<String> {
        self.database(async |pool| {
            let query = sqlx::query(sqlx::AssertSqlSafe(text.to_owned()));
            let row = query
                .fetch_one(pool)
                .await
                .with_context(|| text.to_owned())?;
            Ok(row.try_get::<String, _>(0)?)
        })
    }

    fn database<T>(&self, work: impl AsyncFnOnce(&sqlx::AnyPool) -> Result<T>) -> Result<T> {
        block_in_place(|| {
            Handle::current().block_on(async {
                sqlx::any::install_default_drivers();
                let pool = sqlx::AnyPool::connect(&self.database).await?;
                let result = work(&pool).await;
                pool.close().await;
                result
            })
        })
    }

    /// Lets the database say of a publication, its export and its files what
    /// stands in the file: as if it had been made so.
    pub(super) fn recount(&self, lake: &Lake, number: u64) -> Result<()> {
        let mut publication = lake.publication(number)?;
        let sum = |of: &Value, name: &str| -> u64 {
            let of = of.as_array().into_iter().flatten();
            of.filter_map(|of| of[name].as_u64()).sum()
        };
        let parts = &publication["parts"];
        let (rows, bytes) = (sum(parts, "row_count"), sum(parts, "size_bytes"));
        let count = parts.as_array().map_or(0, Vec::len);
        let skipped = publication["counts"]["skipped"]
            .as_u64()
            .unwrap_or_default();
        publication["counts"]["delivered"] = rows.into();
        publication["counts"]["planned"] = (rows + skipped).into();
        let (export, counts) = (
            publication["export_id"].as_str().unwrap_or_default(),
            publication["counts"].to_string(),
        );
        self.sql(&format!(
            "UPDATE publications SET part_count = {count}, row_count = {rows}, size_bytes = {bytes} \
             WHERE destination_id = '{}' AND number = {number}",
            lake.id
        ))?;
        self.sql(&format!(
            "UPDATE exports SET part_count = {count}, size_bytes = {bytes}, counts = '{counts}' WHERE id = '{export}'"
        ))?;
        self.sql(&format!("DELETE FROM parts WHERE export_id = '{export}'"))?;
        lake.write_publication(number, &publication)
    }
}

impl Lake {
    /// The key of a publication.
    pub(super) fn key(number: u64) -> String {
        format!("_chartlift/publications/{number:020}.json")
    }

    /// How a finding names an object here.
    pub(super) fn names(&self, object: &str) -> String {
        format!("{} {object}", self.id)
    }

    /// Publication `number`.
    pub(super) fn publication(&self, number: u64) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(
            self.folder.join(Self::key(number)),
        )?)?)
    }

    /// Writes a publication as it is given.
    pub(super) fn write_publication(&self, number: u64, publication: &Value) -> Result<()> {
        Ok(std::fs::write(
            self.folder.join(Self::key(number)),
            publication.to_string(),
        )?)
    }

    /// Changes a publication, and says how a finding names it.
    pub(super) fn edit(&self, number: u64, change: impl FnOnce(&mut Value)) -> Result<String> {
        let mut publication = self.publication(number)?;
        change(&mut publication);
        self.write_publication(number, &publication)?;
        Ok(self.names(&Self::key(number)))
    }

    /// The number of the last publication.
    pub(super) fn last(&self) -> Result<u64> {
        Ok(std::fs::read_dir(self.folder.join("_chartlift/publications"))?.count() as u64)
    }

    /// The path of a publication's first file of this type.
    pub(super) fn part(&self, number: u64, resource_type: &str) -> Result<String> {
        let publication = self.publication(number)?;
        let mut parts = publication["parts"].as_array().into_iter().flatten();
        let part = parts.find(|part| part["resource_type"] == resource_type);
        let path = part.and_then(|part| part["path"].as_str());
        Ok(path
            .with_context(|| format!("publication {number} has no {resource_type}"))?
            .to_owned())
    }

    /// Gives a file of an NDJSON publication another text, under the name that
    /// its bytes give it, and lets the publication say so.
    pub(super) fn rewrite(&self, number: u64, path: &str, text: &str) -> Result<()> {
        let size = text.len();
        std::fs::remove_file(self.folder.join(path))?;
        std::fs::write(self.folder.join(path), text)?;
        let sha256 = self.sha256(path, size)?;
        let (stem, _) = path.rsplit_once('-').context("a name of ours")?;
        let renamed = format!("{stem}-{}.ndjson", &sha256[..16]);
        std::fs::rename(self.folder.join(path), self.folder.join(&renamed))?;
        self.edit(number, |publication| {
            let parts = publication["parts"].as_array_mut().into_iter().flatten();
            for part in parts.filter(|part| part["path"] == path) {
                part["path"] = renamed.as_str().into();
                part["sha256"] = sha256.as_str().into();
                part["size_bytes"] = size.into();
                part["row_count"] = text.lines().count().into();
            }
        })?;
        Ok(())
    }

    /// The SHA-256 of a file.
    pub(super) fn sha256(&self, path: &str, size: usize) -> Result<String> {
        let part: model::Part = serde_json::from_value(json!({
            "path": path, "resource_type": "Any", "row_count": 0, "size_bytes": size, "sha256": "",
        }))?;
        let files = destination::FileDestination::open(
            &self.folder.display().to_string(),
            self.id.parse()?,
        )?;
        let check = block_in_place(|| Handle::current().block_on(files.check_part(&part)))?;
        match check {
            destination::PartCheck::Hash { sha256 } => Ok(sha256),
            other => anyhow::bail!("{path}: {other:?}"),
        }
    }
}
