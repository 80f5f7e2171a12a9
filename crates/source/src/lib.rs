//! The FHIR R4 client: capabilities, the plan of what to ask for, pages of
//! searches, reads, and what of an answer is a resource.
//!
//! Invariant: knows nothing of databases, runs or workflows, and keeps no state
//! between calls: cursors, visited links, retries and rates are the caller's. A
//! credential goes to the configured origin and nowhere else, and every request
//! through the guard. No error text, log
//! event or `Debug` here carries a path, a query, a body, an id or a token (I9).
//!
//! Beside the searches stand, later: `$everything` and Bulk Data.

mod auth;
mod base;
mod capability;
mod client;
mod compartment;
mod error;
mod fan_out;
mod header;
mod page;
mod reference;
mod request;
mod said;
mod salvage;
mod scopes;
mod transport;

pub use auth::{
    Grant, Granted, KeyError, Login, NoToken, Proof, SigningKey, Token, TokenClient, TokenError,
    TokenFuture, TokenLimits, TokenSource, check_token_url,
};
pub use base::identity;
pub use capability::{Capabilities, TypeCapability};
pub use client::{FirstPage, ReadOutcome, SourceClient};
pub use compartment::{Access, CLOSURE_TYPES, StreamPlan, Wanted};
pub use error::{Error, Host};
pub use fan_out::{FanOut, fan_out};
pub use page::{Page, cursor_hash, split_page};
pub use reference::reference_target;
pub use request::{Answered, Auth, Limits, NoTurn, Pace, Secret};
pub use said::{Categories, Demand, Said};
