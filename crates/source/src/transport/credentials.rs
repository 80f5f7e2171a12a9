//! What a request carries to be let through, and that a token which is refused is
//! renewed, once.

use std::future::Future;
use std::sync::Arc;

use reqwest::header::HeaderValue;

use super::Transport;
use crate::auth::{Token, TokenSource};
use crate::error::Error;
use crate::request::{Auth, Secret};

/// What a request carries to be let through.
#[derive(Clone)]
pub(super) enum Credentials {
    None,
    Fixed(HeaderValue),
    Tokens(Arc<dyn TokenSource>),
}

impl Transport {
    /// Does `ask` with credentials; where they are refused, once more with new ones.
    pub(crate) async fn with_credentials<T, F: Future<Output = Result<T, Error>>>(
        &self,
        ask: impl Fn(Option<HeaderValue>) -> F,
    ) -> Result<T, Error> {
        let tokens = match &self.credentials {
            Credentials::None => return ask(None).await,
            Credentials::Fixed(header) => return ask(Some(header.clone())).await,
            Credentials::Tokens(tokens) => tokens,
        };
        let asked = |token: &Token| bearer(&token.secret);
        let token = tokens.token().await.map_err(|why| self.no_token(why))?;
        let answer = ask(Some(asked(&token)?)).await;
        if !matches!(answer, Err(Error::Unauthorized { .. })) {
            return answer;
        }
        let renewed = tokens.renewed(&token).await;
        match renewed.map_err(|why| self.no_token(why))? {
            Some(token) => ask(Some(asked(&token)?)).await,
            None => answer,
        }
    }
}

pub(super) fn credentials(auth: &Auth) -> Result<Credentials, Error> {
    Ok(match auth {
        Auth::None => Credentials::None,
        Auth::Bearer(token) => Credentials::Fixed(bearer(token)?),
        Auth::Tokens(tokens) => Credentials::Tokens(Arc::clone(tokens)),
    })
}

fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| Error::Config {
            what: "its token holds characters that no header can carry",
        })?;
    value.set_sensitive(true);
    Ok(value)
}
