//! What the API asks before it registers something: the same checks as those of
//! the command line.

use activities::register;
use api::{CheckedBase, Checks, Reason};
use futures::FutureExt;
use futures::future::BoxFuture;
use guard::Guard;
use objects::Access;
use url::Url;

/// The checks of this program.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) guard: Guard,
}

impl Checks for Register {
    fn base_url<'a>(&'a self, base_url: &'a str) -> BoxFuture<'a, Result<CheckedBase, Reason>> {
        async move {
            let url = parsed(base_url)?;
            register::check_base_url(&self.guard, &url)
                .await
                .map_err(reason)?;
            Ok(CheckedBase {
                base_url: url.to_string(),
                identity: source::identity(&url),
            })
        }
        .boxed()
    }

    fn token_url<'a>(
        &'a self,
        base_url: &'a str,
        token_url: &'a str,
    ) -> BoxFuture<'a, Result<(), Reason>> {
        async move {
            let base_url = parsed(base_url)?;
            register::check_token_url(&self.guard, &base_url, token_url)
                .await
                .map_err(reason)
        }
        .boxed()
    }

    fn destination<'a>(
        &'a self,
        location: &'a str,
        credentials: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, Reason>> {
        async move {
            let access = credentials.map(|text| Access::from_json(text.as_bytes()));
            let access = access
                .transpose()
                .map_err(|error| Reason::Unusable(error.to_string()))?;
            register::check_destination(&self.guard, location, access.as_ref())
                .await
                .map_err(reason)
        }
        .boxed()
    }
}

fn parsed(base_url: &str) -> Result<Url, Reason> {
    let url = base_url.parse();
    url.map_err(|error| Reason::Unusable(format!("`base_url` is not a URL: {error}")))
}

fn reason(error: register::Error) -> Reason {
    let said = error.to_string();
    match error {
        register::Error::Address(_)
        | register::Error::Destination(destination::Error::AddressRefused(_)) => {
            Reason::AddressRefused(said)
        }
        _ => Reason::Unusable(said),
    }
}
