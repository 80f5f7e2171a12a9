//! The steps: input, work, receipt, retry verdict; one file each. Only here do
//! source, record store, formats, destinations and database meet.
//!
//! Every step may run twice, and may run beside its own cut-off predecessor: it
//! works under the token of its row, writes objects under names no other attempt
//! can write, and makes them count in one transaction at the end.
//!
//! Invariant: nothing that goes to Temporal (receipts, failures, heartbeats)
//! carries anything but our ids, counts and codes (I9).

mod attempt;
mod context;
mod destinations;
mod export;
mod export_adopt;
mod export_chunk;
mod export_close;
mod export_plan;
mod export_position;
mod export_publish;
mod export_span;
#[cfg(test)]
mod export_tests;
pub mod failpoint;
mod failure;
mod maintain;
mod maintain_merge;
mod maintain_sweep_destinations;
mod maintain_sweep_records;
mod pace;
mod probe;
mod probe_rehearsal;
mod probe_test;
mod pull;
mod pull_absences;
mod pull_attachment_bytes;
mod pull_attachment_fetch;
mod pull_attachment_pass;
mod pull_attachment_plan;
mod pull_attachment_rules;
mod pull_attachments;
mod pull_attachments_named;
mod pull_closure;
mod pull_coverage;
mod pull_export;
mod pull_export_files;
mod pull_export_progress;
mod pull_modes;
mod pull_pages;
mod pull_plan;
#[cfg(test)]
mod pull_portal_tests;
mod pull_progress;
mod pull_queries;
mod pull_reference_read;
mod pull_references;
mod pull_settle;
mod pull_sieve;
mod pull_strategy;
mod pull_stream;
#[cfg(test)]
mod pull_tests;
mod pull_updates;
mod pull_watermarks;
pub mod recover;
pub mod register;
mod settle_seq;
mod slot;
mod source_verdicts;
mod step;
#[cfg(test)]
mod testing;
mod token;
mod token_gate;
mod token_login;
#[cfg(test)]
mod token_tests;
pub mod verify;

pub use context::{AttachmentLimits, Context, Limits, MaintainLimits};
pub use destinations::Destinations;
pub use export::ExportActivities;
pub use maintain::MaintainActivities;
pub use probe::ProbeActivities;
pub use probe_rehearsal::{RehearsalError, rehearse};
pub use probe_test::run as test_destination;
pub use pull::PullActivities;
pub use settle_seq::{open_block, restored_from};
pub use token_login::{JWKS_CACHE, SigningKeyError, first_signing_keys, rotate_signing_keys};
