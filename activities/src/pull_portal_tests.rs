//! Pulls step by step against the sandbox: no Temporal, one process, each step
//! called as the workflow would.

mod attachments;
mod broken;
mod errors;
mod everything;
mod export_files;
mod export_searched;
mod exports;
mod masked;
mod paging;
mod plans;
mod profiles;
mod random;
mod references;
mod scene;
mod throttle;
mod updates;
mod whole;
