//! The system tests: one binary, one file a promise.

mod cli;
mod deletes;
mod delivery_exact;
mod delivery_once;
mod demo;
mod export_cancel;
mod export_retry;
mod histories;
mod isolation;
mod maintain_merge;
mod pull_cancel;
mod recover;
mod recycle;
mod releases;
mod resumes;
mod rooms;
mod secrets;
mod segments;
mod soaks;
mod temporal_view;
mod verify_faults;
mod verify_racing;
