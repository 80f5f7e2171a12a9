//! The system tests: one binary, one file a promise.

mod cli;
mod delivery_exact;
mod delivery_once;
mod demo;
mod histories;
mod releases;
mod resumes;
mod rooms;
mod secrets;
mod segments;
mod soaks;
mod verify_faults;
mod verify_racing;
