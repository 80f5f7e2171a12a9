//! Opening destinations: a folder as it is, an object store with the key that lies
//! sealed in the database.

use db::Db;
use destination::{Error, FileDestination};
use guard::Guard;
use model::DestinationId;
use objects::Access;

/// Opens the destinations of a deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destinations {
    db: Db,
    guard: Guard,
}

impl Destinations {
    /// Opens with keys from `db`, through `guard`.
    #[must_use]
    pub fn new(db: Db, guard: Guard) -> Self {
        Self { db, guard }
    }

    /// Opens a destination that was added; makes nothing, and does not look whose it
    /// is.
    ///
    /// # Errors
    /// A folder that is not there, or a key that is missing or cannot be used.
    pub async fn open(&self, id: DestinationId, location: &str) -> Result<FileDestination, Error> {
        if !objects::is_s3(location) {
            return FileDestination::reopen(location, id);
        }
        let access = self.access(id).await?;
        FileDestination::open_s3(location, &access, &self.guard, id)
    }

    /// Opens a destination that was added and not tried out yet; a folder is made
    /// where it is missing.
    pub(crate) async fn make(
        &self,
        id: DestinationId,
        location: &str,
    ) -> Result<FileDestination, Error> {
        let access = if objects::is_s3(location) {
            Some(self.access(id).await?)
        } else {
            None
        };
        self.open_new(id, location, access.as_ref())
    }

    async fn access(&self, id: DestinationId) -> Result<Access, Error> {
        let text = self.db.destination_credentials(id).await.map_err(unread)?;
        let text = text.ok_or_else(|| Error::Credentials {
            what: "there are none".to_owned(),
        })?;
        Access::from_json(text.as_bytes()).map_err(|error| Error::Credentials {
            what: error.to_string(),
        })
    }

    /// Opens what is to become a destination; a folder is made where it is missing.
    pub(crate) fn open_new(
        &self,
        id: DestinationId,
        location: &str,
        access: Option<&Access>,
    ) -> Result<FileDestination, Error> {
        destination::check_location(location, access)?;
        match access {
            Some(access) => FileDestination::open_s3(location, access, &self.guard, id),
            None => FileDestination::open(location, id),
        }
    }
}

/// What keeps the key from being read: for good, or for now.
fn unread(error: db::Error) -> Error {
    match error {
        db::Error::Sealed(_) | db::Error::Corrupt { .. } | db::Error::NotFound { .. } => {
            Error::Credentials {
                what: error.to_string(),
            }
        }
        error => Error::Unavailable {
            object: "its credentials".to_owned(),
            source: error.into(),
        },
    }
}
