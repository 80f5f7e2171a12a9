//! Opening what every process needs: data folder, key, database, record store.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use activities::Destinations;
use anyhow::{Context, Result, bail};
use config::Settings;
use db::Db;
use guard::{Allow, Guard};
use objects::Access;
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
    /// What every request to a source passes.
    pub guard: Guard,
}

impl Core {
    /// Opens a deployment: makes the data folder and the encryption key if there
    /// are none, and opens database and record store.
    ///
    /// # Errors
    /// Whatever keeps it from opening, with what to do.
    pub async fn open(settings: Settings, mode: OpenMode) -> Result<Self> {
        let folder = &settings.data.dir;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("make the data folder {}", folder.display()))?;
        let database = &settings.database;
        if database.is_postgres() && !has_key(&settings, folder) {
            want_other_key(&settings, folder).await?;
        }
        let guard = guard(&settings)?;
        let keys = key_ring(&settings, folder)?;
        let db = Db::connect_pooled(database.url.expose(), keys, database.connections_max)
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
        let store = open_store(&settings, &guard).context("open the record store")?;
        Ok(Self {
            settings: Arc::new(settings),
            db,
            store,
            guard,
        })
    }

    /// [`Core::open`] for those who work: refuses a database that is older than its
    /// record store, and opens a block of settle numbers, so that a copy made
    /// before is noticed from now on.
    ///
    /// # Errors
    /// As [`Core::open`], and for a database restored from a copy.
    pub async fn open_to_work(settings: Settings, mode: OpenMode) -> Result<Self> {
        let core = Self::open(settings, mode).await?;
        if objects::is_s3(&core.settings.records.location) {
            // Not every store that speaks S3 refuses a second create.
            core.store.probe().await.context("try the record store")?;
        }
        core.confirm_current().await?;
        activities::open_block(&core.db, &core.store)
            .await
            .context("reserve settle numbers")?;
        Ok(core)
    }

    /// What opens the destinations.
    #[must_use]
    pub fn destinations(&self) -> Destinations {
        Destinations::new(self.db.clone(), self.guard.clone())
    }

    /// Refuses a database restored from an older copy: it would hand out numbers that
    /// the record store has seen already.
    ///
    /// # Errors
    /// If it is one, with what to do, or if it cannot be told.
    pub async fn confirm_current(&self) -> Result<()> {
        let restored = activities::restored_from(&self.db, &self.store)
            .await
            .context("compare the database with the record store")?;
        if let Some((known, stored)) = restored {
            bail!(
                "the database is older than the record store (it knows settle numbers up to {known}, the store up to \
                 {stored}): it was restored from a copy. Bring back the newer database, or run `chartlift recover`, \
                 which lets this one go on above all that the store and the destinations have; nothing was changed"
            );
        }
        Ok(())
    }
}

fn has_key(settings: &Settings, folder: &Path) -> bool {
    !settings.secrets.encryption_key.is_empty() || key_file(folder).exists()
}

fn key_file(folder: &Path) -> PathBuf {
    folder.join("encryption.key")
}

/// Refuses to make a key where another host has sealed with its own in the database
/// they share: a new one would open nothing.
async fn want_other_key(settings: &Settings, folder: &Path) -> Result<()> {
    let database = &settings.database;
    let none = KeyRing::from_base64(&KeyRing::generate())?;
    let db = Db::connect_pooled(database.url.expose(), none, database.connections_max)
        .await
        .context("open the database")?;
    let is_new = db.migration_state().await?.applied == 0;
    let is_empty = is_new || db.connection_ids(None, 1).await?.is_empty();
    db.close().await;
    // Another process of this folder may have made it meanwhile.
    if is_empty || has_key(settings, folder) {
        return Ok(());
    }
    bail!(
        "the database holds what was sealed with a key that is not here: set `secrets.encryption_key`, or copy \
         encryption.key from the host that made it to {}",
        key_file(folder).display()
    );
}

/// The record store: a folder, or in S3 with the key of the settings.
fn open_store(settings: &Settings, guard: &Guard) -> Result<Store, records::Error> {
    let location = &settings.records.location;
    if !objects::is_s3(location) {
        return Store::open_local(Path::new(location));
    }
    let s3 = &settings.s3;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let access = Access {
        access_key_id: s3.access_key_id.expose().to_owned(),
        secret_access_key: s3.secret_access_key.expose().to_owned(),
        session_token: None,
        endpoint: given(&s3.endpoint),
        region: given(&s3.region),
        allow_http: s3.allow_http,
    };
    Store::open_s3(location, &access, guard)
}

/// The guard with the exceptions of the settings.
fn guard(settings: &Settings) -> Result<Guard> {
    let allow = Allow::parse(&settings.guard.allow)
        .with_context(|| format!("`guard.allow` in {}", settings.origin("guard.allow")))?;
    Ok(Guard::new(allow))
}

/// The key that seals, and the other one that opens, if there is one.
fn key_ring(settings: &Settings, folder: &Path) -> Result<KeyRing> {
    let ring = first_key(settings, folder)?;
    let other = &settings.secrets.other_encryption_key;
    if other.is_empty() {
        return Ok(ring);
    }
    ring.and_opens(other.expose())
        .context("`secrets.other_encryption_key`")
}

/// The configured key, or the one of the data folder, made at the first start.
fn first_key(settings: &Settings, folder: &Path) -> Result<KeyRing> {
    if !settings.secrets.encryption_key.is_empty() {
        return Ok(KeyRing::from_base64(
            settings.secrets.encryption_key.expose(),
        )?);
    }
    let path = key_file(folder);
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
