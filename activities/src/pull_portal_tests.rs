//! Pulls step by step against the sandbox: no Temporal, one process, each step
//! called as the workflow would.

mod broken;
mod errors;
mod masked;
mod paging;
mod plans;
mod random;
mod scene;
mod updates;
mod whole;
