//! Registering sources, connections and destinations: what the command line and
//! the API do before the database knows them.

mod connections;
mod destinations;
mod sources;

pub use connections::{Credentials, add_connection, add_connection_with, read_grant};
pub use destinations::{add_destination, check_destination, set_credentials};
pub use sources::{
    SourceToAdd, add_source_with_login, add_source_without_login, check_base_url, check_token_url,
    set_login,
};

/// Why something was not registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL's address is not to be connected to.
    #[error("the source cannot be added: {0}")]
    Address(#[source] guard::Refused),
    /// The base URL cannot be used.
    #[error("the source cannot be added: {0}")]
    Source(#[source] source::Error),
    /// The source cannot be logged in to like that.
    #[error("the source cannot be logged in to like that: {0}")]
    Login(String),
    /// A connection to this source needs something else.
    #[error("{0}")]
    Credentials(&'static str),
    /// The destination's folder cannot be used.
    #[error("the destination cannot be added: {0}")]
    Destination(#[source] destination::Error),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] db::Error),
}
