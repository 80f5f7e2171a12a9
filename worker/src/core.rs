//! Opening what every process needs: data folder, key, database, record store.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use config::Settings;
use db::Db;
use model::ObjectKey;
use records::Store;
use seal::KeyRing;

/// What [`Core::open`] does about a database that is not of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Brings it to this version.
    Migrate,
    /// Refuses, and says what to do.
    RequireCurrent,
}

/// Settings, database and record store of a deployment; cheap to clone.
#[derive(Debug, Clone)]
pub struct Core {
    /// The settings it was opened with.
    pub settings: Arc<Settings>,
    /// The database.
    pub db: Db,
    /// The record store.
    pub store: Store,
}

impl Core {
    /// Opens a deployment: makes the data folder and the encryption key if there
    /// are none, opens database and record store, and refuses a database that is
    /// older than its record store.
    ///
    /// # Errors
    /// Whatever keeps it from opening, with what to do.
    pub async fn open(settings: Settings, mode: OpenMode) -> Result<Self> {
        let folder = &settings.data.dir;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("make the data folder {}", folder.display()))?;
        let keys = key_ring(&settings, folder)?;
        let db = Db::connect(settings.database.url.expose(), keys)
            .await
            .context("open the database")?;
        match mode {
            OpenMode::Migrate => db.migrate().await?,
            OpenMode::RequireCurrent => {
                let state = db.migration_state().await?;
                if state.applied < state.known {
                    bail!(
                        "the database has {} of {} migrations: run `chartlift migrate` (or `up`, which does it)",
                        state.applied,
                        state.known
                    );
                }
            }
        }
        let store = Store::open_local(Path::new(&settings.records.location))
            .context("open the record store")?;
        let core = Self {
            settings: Arc::new(settings),
            db,
            store,
        };
        core.refuse_restored_database().await?;
        Ok(core)
    }

    /// A database restored from an older copy would hand out numbers that the
    /// record store has seen already.
    async fn refuse_restored_database(&self) -> Result<()> {
        let key = ObjectKey::SettleSeq.to_string();
        let reserved = match self.store.get(&key).await {
            Ok(bytes) => {
                activities::reserved_block_end(&bytes).with_context(|| format!("read {key}"))?
            }
            Err(records::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let known = self.db.settle_block_end().await?;
        // One block ahead is a kill between writing the block and knowing of it.
        if reserved > known + activities::SETTLE_BLOCK {
            bail!(
                "the database is older than the record store (it knows settle numbers up to {known}, the store up to \
                 {reserved}): it was restored from a copy. Restore the newer database; nothing was changed"
            );
        }
        Ok(())
    }
}

/// The configured key, or the one of the data folder, made at the first start.
fn key_ring(settings: &Settings, folder: &Path) -> Result<KeyRing> {
    if !settings.secrets.encryption_key.is_empty() {
        return Ok(KeyRing::from_base64(
            settings.secrets.encryption_key.expose(),
        )?);
    }
    let path = folder.join("encryption.key");
    if !path.exists() {
        make_key(folder, &path).with_context(|| format!("write {}", path.display()))?;
    }
    let key = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    KeyRing::from_base64(&key).with_context(|| format!("read {}", path.display()))
}

/// Makes a key, whole or not at all, readable by its owner alone. Where another
/// process was faster, its key stays.
fn make_key(folder: &Path, path: &Path) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(KeyRing::generate().as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(lost) if lost.error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(lost.error.into())
        }
        _ => Ok(()),
    }
}
