//! A fake patient portal: FHIR R4 over HTTP with sample patients, fault knobs,
//! SMART tokens and a log of what it served. The demo and the tests pull from it.
//!
//! It owns the sample data (`data/`) and the portal's behaviour. It uses no
//! other room of this workspace, so that it can judge what they do.
//! Invariant: a resource leaves as the very text it came in as; only
//! whitespace between tokens is ever added.

mod attachments;
mod bundle;
mod chaos;
mod cursor;
mod data;
mod errors;
mod export;
mod faults;
mod knobs;
mod log;
mod portal;
mod profiles;
mod record;
mod routes;
mod row;
mod sample;
mod search;
mod search_page;
mod server;
mod smart;

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod portal_tests;

pub use attachments::Document;
pub use bundle::compact;
pub use chaos::Chaos;
pub use export::ExportKnobs;
pub use faults::{Answer, Body, Break, Links};
pub use knobs::{Demand, Knobs};
pub use log::{LogEntry, Served, ServedBytes};
pub use portal::{Portal, PortalPatient};
pub use profiles::Profile;
pub use server::{Sandbox, SandboxOptions};
pub use smart::{Issued, Smart, SmartClient, SmartKnobs, SmartOptions, TokenRequest};
