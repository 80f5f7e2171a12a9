//! What a key to the API may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::state::{WordError, words};

words!(
    /// A right of an API key; each stands for itself alone.
    Scope, "scope" {
        /// Read everything but records, keys and the audit log.
        Read = "read",
        /// Add, change, start and end.
        Write = "write",
        /// Read patients' records.
        Phi = "phi",
        /// Manage keys, read the audit log.
        Admin = "admin",
    }
);
