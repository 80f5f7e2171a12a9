//! What sources are logged in to with and connections are made with: the parts of
//! bodies that hold secrets, which no answer shows.

use std::time::Duration;

use db::{GivenLogin, NewToken, OpenLogin, SourceAuth};
use model::{ClientMethod, SigningAlgorithm};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::App;
use crate::extract::{text, whole};
use crate::problem::{INVALID_VALUE, Problem};
use crate::views::words::{ClientMethodSchema, SigningAlgorithmSchema};

/// The longest life of a token that is believed: 400 days.
const EXPIRES_IN_MAX: u32 = 34_560_000;

/// How we are known where a source gives out tokens.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    /// Our client's id at the source.
    #[schema(min_length = 1, max_length = 1000, example = "chartlift")]
    client_id: String,
    /// The client's secret. Stored sealed; no answer shows it.
    #[schema(min_length = 1, max_length = 4000, write_only)]
    client_secret: Option<String>,
    /// The token endpoint; where it is left out, the source's smart-configuration names it.
    #[schema(
        format = "uri",
        max_length = 2000,
        example = "https://ehr.example/oauth2/token"
    )]
    token_url: Option<String>,
    /// What to ask for, where tokens are our own.
    #[schema(min_length = 1, max_length = 8000, example = "system/*.rs")]
    scope: Option<String>,
    /// How the client proves itself; where it is left out, as is usual.
    #[schema(value_type = Option<ClientMethodSchema>)]
    method: Option<ClientMethod>,
    /// What to sign with; where it is left out, what the source can verify.
    #[schema(value_type = Option<SigningAlgorithmSchema>)]
    signing_algorithm: Option<SigningAlgorithm>,
}

impl std::fmt::Debug for LoginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginBody(…)")
    }
}

impl LoginBody {
    /// The login, checked against how the source at `base_url` is asked.
    pub(crate) async fn checked(
        self,
        app: &App,
        base_url: &str,
        auth: SourceAuth,
    ) -> Result<OpenLogin, Problem> {
        text("client_id", &self.client_id, 1000)?;
        optional("client_secret", self.client_secret.as_ref(), 4000)?;
        optional("scope", self.scope.as_ref(), 8000)?;
        if let Some(token_url) = &self.token_url {
            let checked = app
                .checks
                .token_url(base_url, text("token_url", token_url, 2000)?);
            checked.await?;
        }
        let given = GivenLogin {
            client_id: self.client_id,
            client_secret: self.client_secret,
            token_url: self.token_url,
            scope: self.scope,
            method: self.method,
            algorithm: self.signing_algorithm,
        };
        given
            .checked(auth)
            .map_err(|why| refused(format!("The source's `login` does not fit: {why}.")))
    }
}

/// The tokens of a patient's grant, as a token endpoint gave them. Stored sealed; no
/// answer shows them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantBody {
    /// The access token; a refresh token alone will do.
    #[schema(min_length = 1, max_length = 32000, write_only)]
    access_token: Option<String>,
    /// The refresh token. Without one the patient has to connect again when the access
    /// token ends.
    #[schema(min_length = 1, max_length = 32000, write_only)]
    refresh_token: Option<String>,
    /// For how many seconds the access token is good; 300 where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 34_560_000, example = 3600)]
    expires_in: Option<u32>,
    /// What was granted.
    #[schema(
        min_length = 1,
        max_length = 32000,
        example = "launch/patient patient/*.rs"
    )]
    scope: Option<String>,
}

impl std::fmt::Debug for GrantBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrantBody(…)")
    }
}

impl GrantBody {
    fn checked(self) -> Result<NewToken, Problem> {
        optional("access_token", self.access_token.as_ref(), 32_000)?;
        optional("refresh_token", self.refresh_token.as_ref(), 32_000)?;
        optional("scope", self.scope.as_ref(), 32_000)?;
        let in_bounds = |life: &u32| (1..=EXPIRES_IN_MAX).contains(life);
        if !self.expires_in.as_ref().is_none_or(in_bounds) {
            let detail = format!("`expires_in` is a whole number from 1 to {EXPIRES_IN_MAX}.");
            return Err(refused(detail));
        }
        Ok(NewToken {
            access: self.access_token,
            refresh: self.refresh_token,
            scope: self.scope,
            expires_in: self.expires_in.map(|life| Duration::from_secs(life.into())),
            after_refusal: false,
        })
    }
}

/// What a connection is made with, checked against how its source is asked.
pub(crate) fn credentials(
    auth: SourceAuth,
    token: Option<&String>,
    grant: Option<GrantBody>,
) -> Result<Option<NewToken>, Problem> {
    optional("token", token, 8000)?;
    let grant = grant.map(GrantBody::checked).transpose()?;
    db::check_credentials(auth, token.is_some(), grant.as_ref())
        .map_err(|why| refused(format!("The credentials do not fit: {why}.")))?;
    Ok(grant)
}

fn optional(name: &str, value: Option<&String>, max: usize) -> Result<(), Problem> {
    value.map_or(Ok(()), |value| text(name, value, max).map(drop))
}

fn refused(why: String) -> Problem {
    Problem::new(INVALID_VALUE, why)
}
