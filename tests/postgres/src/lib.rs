//! A PostgreSQL server of one's own: for a run of the tests, for a test that kills
//! it, for the stack. It listens on this machine alone, with a password made for it,
//! and is a child of whoever started it.
//!
//! Owns what lies in its folder. It never touches a server that it did not start,
//! and uses no other room, so that `xtask` builds without them.

mod programs;
mod server;
mod system;

pub use programs::Programs;
pub use server::{Options, Server};
