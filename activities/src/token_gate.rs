//! What a step begins with where the source gives out tokens: one that is good.
//! Waiting for it takes no slot of the source's, and more than a little is a timer.

use std::future::Future;

use model::ConnectionId;
use source::NoToken;

use crate::Context;
use crate::failure::Failure;
use crate::slot::Turn;

/// A token endpoint that has failed so often in a row, about an hour, ends the pull:
/// the next one asks again (I6).
const FAILURES_MAX: u64 = 20;

/// Does `work` once the connection has a token.
pub(crate) async fn with_token<T>(
    context: &Context,
    connection: ConnectionId,
    work: impl Future<Output = Result<Turn<T>, Failure>>,
) -> Result<Turn<T>, Failure> {
    let connection = context.db.connection(connection).await?;
    let Some(keeper) = context.keeper(&connection)? else {
        return work.await;
    };
    match keeper.ready().await {
        Ok(()) => work.await,
        Err(NoToken::Later(wait)) => {
            if keeper.failures().await? >= FAILURES_MAX {
                let what = "the source's token endpoint has not answered for very long";
                return Err(Failure::last("token_unavailable", what));
            }
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            Ok(Turn::Later(wait_ms.max(1)))
        }
        Err(NoToken::Lost) => Err(Failure::last(
            "needs_reconnect",
            "the source no longer honours the patient's grant: connect the patient again",
        )),
        Err(NoToken::Refused) => Err(Failure::last(
            "login_refused",
            "the source does not accept this client: correct the source's login",
        )),
        Err(NoToken::AddressRefused(refused)) => {
            Err(Failure::last(guard::ADDRESS_REFUSED, refused))
        }
        Err(NoToken::Unavailable) => Err(Failure::retry(
            "database_unavailable",
            "the connection's token could not be looked up",
        )),
    }
}
