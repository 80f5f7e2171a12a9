//! What the API asks before it registers something: the same checks as those of
//! the command line.

use activities::register;
use api::{CheckedBase, Checks, Reason};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::DestinationId;
use url::Url;

/// The checks of this program.
#[derive(Debug)]
pub(crate) struct Register;

impl Checks for Register {
    fn base_url(&self, base_url: &str) -> Result<CheckedBase, Reason> {
        let url: Url = base_url
            .parse()
            .map_err(|error| format!("`base_url` is not a URL: {error}"))?;
        register::check_base_url(&url).map_err(|error| error.to_string())?;
        Ok(CheckedBase {
            base_url: url.to_string(),
            identity: source::identity(&url),
        })
    }

    fn destination<'a>(
        &'a self,
        id: DestinationId,
        location: &'a str,
    ) -> BoxFuture<'a, Result<(), Reason>> {
        async move {
            register::claim_destination(id, location)
                .await
                .map_err(|error| error.to_string())
        }
        .boxed()
    }
}
