//! What it means that no answer came: errors of the guard, of the pace and of who keeps
//! the tokens, as those of the source.

use std::sync::Arc;

use super::Transport;
use crate::auth::NoToken;
use crate::error::Error;
use crate::request::NoTurn;

impl Transport {
    pub(super) fn unsent(&self, error: guard::Error) -> Error {
        match error {
            guard::Error::Refused(refused) => Error::AddressRefused {
                host: Arc::clone(&self.base.host),
                refused,
            },
            guard::Error::Http(error) | guard::Error::Setup(error) => {
                self.unavailable(None, Some(error))
            }
        }
    }

    pub(super) fn no_turn(&self, why: NoTurn) -> Error {
        match why {
            NoTurn::Unknown => Error::NoTurn,
            NoTurn::Later { after, is_held } => Error::NotYet {
                host: Arc::clone(&self.base.host),
                after,
                is_held,
            },
        }
    }

    pub(super) fn no_token(&self, why: NoToken) -> Error {
        let host = Arc::clone(&self.base.host);
        match why {
            NoToken::Later(after) => Error::NoToken { host, after },
            NoToken::Lost => Error::GrantLost { host },
            NoToken::Refused => Error::LoginRefused { host },
            NoToken::AddressRefused(refused) => Error::AddressRefused { host, refused },
            NoToken::Unavailable => Error::NoTurn,
        }
    }

    pub(crate) fn unavailable(&self, status: Option<u16>, source: Option<reqwest::Error>) -> Error {
        let timeout = source.as_ref().is_some_and(reqwest::Error::is_timeout)
            || matches!(status, Some(408 | 504));
        let source = source.map(reqwest::Error::without_url);
        Error::Unavailable {
            host: Arc::clone(&self.base.host),
            status,
            timeout,
            source,
        }
    }
}
