//! Which login goes with which source, and what a connection to it is made with.

use model::{ClientMethod, SigningAlgorithm};

use crate::tokens::NewToken;
use crate::{OpenLogin, SourceAuth, SourceLogin};

/// A login as somebody gives it. Not for logs.
#[derive(Clone, Default)]
pub struct GivenLogin {
    /// Our `client_id`.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Option<String>,
    /// The token endpoint.
    pub token_url: Option<String>,
    /// What to ask for.
    pub scope: Option<String>,
    /// How the client proves itself; what is usual where it is left out.
    pub method: Option<ClientMethod>,
    /// What to sign with.
    pub algorithm: Option<SigningAlgorithm>,
}

impl GivenLogin {
    /// The login of a source that is asked in this way.
    ///
    /// # Errors
    /// What does not fit together, for people; nothing of it is repeated.
    pub fn checked(self, auth: SourceAuth) -> std::result::Result<OpenLogin, &'static str> {
        let has_secret = self.client_secret.is_some();
        let usual = match auth {
            SourceAuth::None | SourceAuth::Bearer => {
                return Err("a source with the auth `none` or `bearer` has no login");
            }
            SourceAuth::BackendServices => ClientMethod::Signed,
            SourceAuth::ClientCredentials => ClientMethod::Basic,
            SourceAuth::Smart if has_secret => ClientMethod::Basic,
            SourceAuth::Smart => ClientMethod::Public,
        };
        let method = self.method.unwrap_or(usual);
        let takes_secret = matches!(method, ClientMethod::Basic | ClientMethod::Post);
        if auth == SourceAuth::BackendServices && method != ClientMethod::Signed {
            return Err("`backend_services` is asked with the method `private_key_jwt`");
        }
        if auth == SourceAuth::ClientCredentials && !takes_secret {
            return Err(
                "`client_credentials` is asked with the method `client_secret_basic` or `client_secret_post`",
            );
        }
        if takes_secret != has_secret {
            return Err(if takes_secret {
                "this method needs a client secret"
            } else {
                "this method takes no client secret"
            });
        }
        if self.algorithm.is_some() && method != ClientMethod::Signed {
            return Err("only the method `private_key_jwt` takes a signing algorithm");
        }
        Ok(OpenLogin {
            login: SourceLogin {
                client_id: self.client_id,
                token_url: self.token_url,
                scope: self.scope,
                method,
                algorithm: self.algorithm,
            },
            secret: self.client_secret,
        })
    }
}

/// Checks that a connection is made with what its source wants.
///
/// # Errors
/// What it wants instead, for people.
pub fn check_credentials(
    auth: SourceAuth,
    has_token: bool,
    grant: Option<&NewToken>,
) -> std::result::Result<(), &'static str> {
    match (auth, grant) {
        (SourceAuth::Smart, Some(_)) if has_token => {
            Err("a grant and a bearer token exclude each other")
        }
        (SourceAuth::Smart, Some(grant)) if grant.access.is_none() && grant.refresh.is_none() => {
            Err("a grant has an access token, a refresh token, or both")
        }
        (SourceAuth::Smart, Some(_)) => Ok(()),
        (SourceAuth::Smart, None) => Err("a connection to this source is made with a grant"),
        (_, Some(_)) => Err("only a source with the auth `smart` takes a grant"),
        (SourceAuth::ClientCredentials | SourceAuth::BackendServices, None) if has_token => {
            Err("this source gives tokens to us, not to patients: leave the token out")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
