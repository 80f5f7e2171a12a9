//! How we are known where a source gives out tokens.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use db::GivenLogin;
use model::{ClientMethod, SigningAlgorithm};

use crate::commands::connection::read_token;

/// How we are known where a source gives out tokens.
#[derive(Debug, Args)]
pub(crate) struct LoginArguments {
    /// Our client's id at the source
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file that holds the client's secret, `-` for standard input; stored encrypted
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// The token endpoint [default: the one that the source's smart-configuration names]
    #[arg(long, value_name = "URL", requires = "client_id")]
    token_url: Option<String>,
    /// What to ask for, where tokens are our own
    #[arg(long, requires = "client_id")]
    scope: Option<String>,
    /// How the client proves itself: none, client_secret_basic, client_secret_post or
    /// private_key_jwt [default: as is usual]
    #[arg(long, value_name = "METHOD", requires = "client_id")]
    client_method: Option<ClientMethod>,
    /// What to sign with: RS384 or ES384 [default: what the source can verify]
    #[arg(long, value_name = "ALGORITHM", requires = "client_id")]
    signing_algorithm: Option<SigningAlgorithm>,
}

impl LoginArguments {
    /// The login, if one is given.
    pub(crate) fn given(self) -> Result<Option<GivenLogin>> {
        let Some(client_id) = self.client_id else {
            return Ok(None);
        };
        let secret = self.client_secret_file.as_deref().map(read_token);
        Ok(Some(GivenLogin {
            client_id,
            client_secret: secret.transpose()?,
            token_url: self.token_url,
            scope: self.scope,
            method: self.client_method,
            algorithm: self.signing_algorithm,
        }))
    }
}
