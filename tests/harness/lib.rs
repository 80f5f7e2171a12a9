//! What the system tests stand on: a deployment of real processes (the
//! `chartlift` binary, a Temporal dev server) beside an in-process sandbox
//! portal, readers of what was delivered, and the storm that kills what works.
//!
//! Every process is started here and ended here, by its id; everything listens
//! on 127.0.0.1 on free ports, and every wait has an end.

mod api;
mod app;
mod compare;
mod delivered;
mod environment;
mod generated;
mod hapi;
mod history;
mod judge;
mod node;
mod postgres;
mod process;
mod random;
mod s3;
mod servers;
mod step_log;
mod storm;
mod temporal;
mod toxiproxy;
mod twin;

pub use api::{ApiAnswer, ApiClient, ApiProcess};
pub use app::{App, AppOptions};
pub use compare::{delivered_files, parquet_rows};
pub use delivered::{Delivered, DeliveredRow, lines_of};
pub use environment::{binary, number, python, repository, skipped};
pub use generated::generated_patient;
pub use hapi::Hapi;
pub use history::{BegunStep, begun_steps, chain, readable, slot_waits};
pub use judge::{LogRow, pages_per_object, refetched_pages};
pub use node::Node;
pub use postgres::PostgresServer;
pub use random::Random;
pub use s3::S3Server;
pub use servers::{Outage, Struck};
pub use step_log::{StartedStep, StepEnd, StepLog};
pub use storm::{EXPORT_STEPS, Kill, MAINTAIN_STEPS, PROBE_STEPS, PULL_STEPS, Storm};
pub use temporal::TemporalProcess;
pub use toxiproxy::{Toxic, Toxiproxy};
