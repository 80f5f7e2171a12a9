//! The routes, by noun.

mod attachments;
mod audit;
mod connections;
mod destinations;
mod exports;
mod health;
mod jwks;
mod keys;
mod logins;
mod patients;
mod probes;
mod pulls;
mod resources;
mod sources;

use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use serde::Deserialize;

use crate::App;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Entries in a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^1-[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// Every route, with its part of the OpenAPI document.
pub(crate) fn all() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(jwks::read))
        .routes(routes!(sources::list, sources::add))
        .routes(routes!(sources::read, sources::change))
        .routes(routes!(patients::list, patients::add))
        .routes(routes!(patients::read))
        .routes(routes!(resources::everything))
        .routes(routes!(resources::of_type))
        .routes(routes!(connections::list, connections::add))
        .routes(routes!(connections::read, connections::change))
        .routes(routes!(attachments::list))
        .routes(routes!(connections::revoke))
        .routes(routes!(connections::reconnect))
        .routes(routes!(pulls::list, pulls::start))
        .routes(routes!(pulls::read))
        .routes(routes!(pulls::cancel))
        .routes(routes!(pulls::retry))
        .routes(routes!(pulls::accept))
        .routes(routes!(pulls::discard))
        .routes(routes!(destinations::list, destinations::add))
        .routes(routes!(
            destinations::read,
            destinations::change,
            destinations::delete
        ))
        .routes(routes!(probes::test))
        .routes(routes!(probes::rehearse))
        .routes(routes!(probes::read))
        .routes(routes!(exports::list, exports::start))
        .routes(routes!(exports::read))
        .routes(routes!(exports::errors))
        .routes(routes!(exports::cancel))
        .routes(routes!(exports::retry))
        .routes(routes!(keys::list, keys::add))
        .routes(routes!(keys::read, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(audit::list))
}
