//! How exports go.

use serde::{Deserialize, Serialize};

/// How exports go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportKnobs {
    /// So many looks at an export's status are answered with 202.
    pub polls: u32,
    /// What `Retry-After` says beside these.
    pub retry_after: Option<String>,
    /// The severities of what the export has to tell, an OperationOutcome each.
    pub issues: Vec<String>,
    /// The manifest calls the file of these `outcome`, as version 4 of Bulk Data does.
    pub says_outcome: bool,
    /// Resources (`Type/id`) that the export says are gone.
    pub deleted: Vec<String>,
    /// Files redirect (307) to the storage.
    pub redirects: bool,
    /// Files lie in the storage, and `requiresAccessToken` is false.
    pub open_files: bool,
    /// After so many requests for files these are at other URLs; turns itself off.
    pub files_move_after: Option<u32>,
    /// After so many requests for files the export is forgotten; turns itself off.
    pub forgets_after: Option<u32>,
    /// Lines of a file, at most.
    pub lines_per_file: Option<usize>,
    /// The manifest says of no file which type it holds.
    pub untyped: bool,
    /// The manifest counts a line more in each file than it has.
    pub overcounts: bool,
}
