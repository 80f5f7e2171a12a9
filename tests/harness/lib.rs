//! What the system tests stand on: a deployment of real processes (the
//! `chartlift` binary, a Temporal dev server) beside an in-process sandbox
//! portal, and readers of what was delivered.
//!
//! Every process is started here and ended here, by its id; everything listens
//! on 127.0.0.1 on free ports, and every wait has an end.

mod app;
mod delivered;
mod environment;
mod history;
mod node;

pub use app::{App, AppOptions};
pub use delivered::{Delivered, DeliveredRow, lines_of};
pub use environment::{binary, python, repository, skipped};
pub use history::{chain, readable, slot_waits};
pub use node::Node;
