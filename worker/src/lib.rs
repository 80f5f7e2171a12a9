//! Config to running worker: clients, registration, dispatch, drain.
//!
//! [`Core`] is what every process of a deployment opens: settings, database and
//! record store. [`run`] works on task queues until it is told to stop.

mod core;
mod dispatch;
pub mod embedded;
mod run;

pub use crate::core::{Core, OpenMode};
pub use crate::dispatch::start_due;
pub use crate::run::{connect, run};
