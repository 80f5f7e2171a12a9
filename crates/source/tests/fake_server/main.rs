//! The client against a small server in this process.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod answers;
mod elsewhere;
mod outages;
mod requests;
mod server;
