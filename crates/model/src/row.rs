//! One row of a connection's log: what changed of one resource.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::state::{WordError, words};
use crate::{ContentHash, Head, Timestamp};

words!(
    /// What a row says happened.
    Change, "change" {
        /// Not known before.
        New = "new",
        /// Known before, with other content.
        Changed = "changed",
        /// Gone: a tombstone, without a body.
        Deleted = "deleted",
    }
);

words!(
    /// Why a tombstone was written, or `none`.
    Reason, "reason" {
        /// No tombstone.
        None = "none",
        /// The source itself said so: 410, or a bulk `deleted`.
        SourceDeleted = "source-deleted",
        /// Absent from a complete full pull, and a read found nothing.
        Absent = "absent",
    }
);

/// The columns of a row that do not depend on where its body lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowMeta {
    /// Type, id and version.
    pub head: Head,
    /// What happened.
    pub change: Change,
    /// Why, for a tombstone.
    pub reason: Reason,
    /// The content hash; of a tombstone, that of the last body.
    pub content_hash: ContentHash,
    /// When the resource was fetched.
    pub fetched_at: Timestamp,
    /// The number of the batch in its connection's log; 0 while staged.
    pub batch_seq: u64,
    /// The deployment-wide order of settles; 0 while staged.
    pub settle_seq: u64,
}

/// A (type, id) pair: what there is one live row of per source (I2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// `resourceType`.
    pub resource_type: String,
    /// `id`.
    pub id: String,
}

impl From<&Head> for ResourceKey {
    fn from(head: &Head) -> Self {
        Self {
            resource_type: head.resource_type.clone(),
            id: head.id.clone(),
        }
    }
}
