//! The database: runs, steps, cursors, watermarks and catalogue rows; hundreds a
//! patient, never one a resource. SQL stands here and nowhere else: steps, the
//! API and the command line share these functions.
//!
//! One text of each query serves SQLite and PostgreSQL. Claims and leases are
//! conditional updates, and no transaction reads before it writes: one that decides
//! by several rows locks first (`lock.rs`).
//!
//! Invariant: no resource, no id of the source's and no token is stored open;
//! the columns that need them are sealed (`crates/seal`).

mod attachment_changes;
#[cfg(test)]
mod attachment_tests;
mod attachments;
mod audit;
mod call;
#[cfg(test)]
mod call_tests;
mod cancel;
mod claims;
mod connection_changes;
mod connection_summaries;
mod connections;
mod dangling;
mod destination_changes;
mod destinations;
mod dispatch;
mod error;
mod events;
mod export_errors;
mod export_patients;
mod export_runs;
mod exports;
mod finished_steps;
mod grants;
mod held;
mod held_decisions;
mod holds;
mod keys;
mod lacking;
mod lock;
mod login_rules;
mod logins;
mod logs;
mod maintain;
#[cfg(test)]
mod maintain_tests;
mod open;
mod page;
mod patients;
mod plans;
mod postgres;
#[cfg(test)]
mod probe_tests;
mod probes;
mod progress;
mod publications;
mod publish;
mod pull_requests;
#[cfg(test)]
mod pull_tests;
mod pulls;
mod queue;
#[cfg(test)]
mod races;
mod rates;
mod recover;
mod reseal;
#[cfg(test)]
mod reseal_tests;
mod retention;
mod row;
#[cfg(test)]
mod schedule_tests;
mod schedules;
mod settle;
mod settle_numbers;
mod signing_keys;
mod slots;
mod source_changes;
mod source_limits;
mod source_plans;
mod sources;
mod staging;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod token_leases;
#[cfg(test)]
mod token_tests;
mod tokens;
mod type_watermarks;
mod undecided;
mod verify;
mod watermarks;

pub use attachments::{Attachment, AttachmentObject, Declared, OpenAttachment};
pub use audit::AuditEntry;
pub use call::{Answered, Call, Idempotency};
pub use connection_changes::ConnectionChange;
pub use connection_summaries::ConnectionSummary;
pub use connections::{Connection, NewConnection};
pub use destination_changes::DestinationChange;
pub use destinations::{Destination, NewDestination};
pub use dispatch::{DueRun, OpenRun, RunKind};
pub use error::Error;
pub use export_errors::ExportError;
pub use exports::{Export, TriggerCount};
pub use held::{HeldChange, HeldDeletes, NewHold};
pub use holds::BackOff;
pub use keys::{ApiKey, NewApiKey};
pub use lacking::{Candidate, ChunkSpan};
pub use login_rules::{GivenLogin, check_credentials};
pub use logins::{OpenLogin, SourceLogin};
pub use logs::{BatchRow, LogHead};
pub use maintain::{MergeCommit, MergeRule};
pub use open::{Db, MigrationState};
pub use patients::Patient;
pub use plans::{ChunkCommit, NewPlan, PlannedSpan};
pub use probes::Probe;
pub use progress::{ExportProgress, PullProgress};
pub use publications::PublicationRow;
pub use publish::PublicationCommit;
pub use pulls::{Pull, PullType};
pub use queue::PullQueue;
pub use rates::{Lease, SourceRate, Throttled, TurnsAsked};
pub use recover::{LogJump, RecoveredDestination, Recovery, SettleNumbers};
pub use reseal::Resealed;
pub use schedules::{PULL_INTERVAL_MAX_S, PULL_INTERVAL_MIN_S, ScheduleLook, check_pull_interval};
pub use settle::{NewBatch, SettleCommit};
pub use signing_keys::{KeyOverlap, NewSigningKey, StoredSigningKey};
pub use slots::{DuePull, Slot};
pub use source_changes::SourceChange;
pub use source_limits::SourceLimits;
pub use sources::{NewSource, Source, SourceAuth};
pub use staging::{NewStaging, StagingRow};
pub use steps::{StepClaim, StepRef};
pub use token_leases::TokenLease;
pub use tokens::{NewToken, StoredToken, TOKEN_LIFE_DEFAULT};
pub use type_watermarks::{TypeWatermark, WatermarkChange};
pub use undecided::UndecidedPlan;
pub use verify::{
    DestinationProgress, DestinationState, ExportAccount, ExportTotals, HeldObject, LogState,
    LoggedBatch, PullAccount, StoredNames, WrittenPart,
};

/// The result of a database call.
pub type Result<T> = std::result::Result<T, Error>;
