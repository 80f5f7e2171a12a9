//! Tokens of a source, kept fresh: at 80 % of its life a token is replaced, by one
//! refresher among all workers (`token/refresh.rs`). Who refreshes holds a lease in the
//! database that is longer than the request can take; what it gets is stored as the next
//! version before anybody uses it. The others go on with the token that is still good,
//! wait a little for the next version, or come back later (`token/next.rs`).

mod next;
mod refresh;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use db::{Db, StoredToken};
use model::{ConnectionId, SourceId, Timestamp};
use source::{NoToken, Secret, Token, TokenClient, TokenFuture, TokenSource};

use self::next::{Next, is_wanted};

/// How long things take and are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// For asking, discovery and a second try included.
    pub(crate) request: Duration,
    /// How long nobody else asks: longer than that, with room for clocks that are
    /// apart.
    pub(crate) lease: Duration,
    /// A request waits so long for another's refresh; a step holds a slot meanwhile.
    pub(crate) wait: Duration,
    /// Between two looks at what another's refresh has brought.
    pub(crate) look: Duration,
    /// An endpoint that failed is left alone so long at first, doubling to the second.
    pub(crate) back_off: (Duration, Duration),
    /// A token that was renewed since the source had refused the one before, and is
    /// younger than this, is not renewed for a refusal: types that are not granted
    /// are refused so at some portals.
    pub(crate) young: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(20),
            lease: Duration::from_secs(45),
            wait: Duration::from_secs(4),
            look: Duration::from_millis(100),
            back_off: (Duration::from_secs(1), Duration::from_secs(300)),
            young: Duration::from_secs(60),
        }
    }
}

/// Whose tokens they are.
#[derive(Clone)]
pub(crate) enum Owner {
    /// A patient's grant: the connection, and the patient's id at the source.
    Patient(ConnectionId, Secret),
    /// Our own, for all connections of the source.
    Ourselves,
}

/// Keeps the tokens of one subject, for all steps of this worker that use them.
pub(crate) struct TokenKeeper {
    inner: Arc<Inner>,
    held: Mutex<Option<Held>>,
    /// One request at a time looks for another token.
    renewing: tokio::sync::Mutex<()>,
}

struct Inner {
    db: Db,
    client: Arc<TokenClient>,
    source: SourceId,
    owner: Owner,
    subject: String,
    terms: Terms,
}

/// A token as this worker knows it.
#[derive(Clone)]
struct Held {
    token: Token,
    refresh_at: Timestamp,
    expires_at: Timestamp,
}

impl Held {
    fn of(stored: &StoredToken) -> Option<Self> {
        Some(Self {
            token: Token {
                secret: Secret::new(stored.access.clone()?),
                version: stored.version,
            },
            refresh_at: stored.refresh_at,
            expires_at: stored.expires_at,
        })
    }
}

/// Why another token is looked for.
#[derive(Clone, Copy)]
enum Want {
    /// One that is good, and in time a new one.
    Good,
    /// One that is not this version, which the source has refused.
    After(u64),
}

impl TokenKeeper {
    pub(crate) fn new(
        db: Db,
        client: Arc<TokenClient>,
        source: SourceId,
        owner: Owner,
        terms: Terms,
    ) -> Self {
        let subject = match &owner {
            Owner::Patient(connection, _) => connection.to_string(),
            Owner::Ourselves => source.to_string(),
        };
        Self {
            inner: Arc::new(Inner {
                db,
                client,
                source,
                owner,
                subject,
                terms,
            }),
            held: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// A good token, as the database has it: what a step begins with.
    pub(crate) async fn ready(&self) -> Result<(), NoToken> {
        self.renew(Want::Good).await.map(drop)
    }

    /// How often in a row the token endpoint has failed.
    pub(crate) async fn failures(&self) -> db::Result<u64> {
        let stored = self.inner.db.token(&self.inner.subject).await?;
        Ok(stored.map_or(0, |stored| stored.failures))
    }

    fn held(&self) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    fn hold(&self, new: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    async fn current(&self) -> Result<Token, NoToken> {
        let now = Timestamp::now();
        let held = self.held();
        if let Some(held) = held.filter(|held| now < held.expires_at) {
            // In the last fifth of its life one request looks for the next, and the
            // others go on.
            if now < held.refresh_at {
                return Ok(held.token);
            }
            let Ok(alone) = self.renewing.try_lock() else {
                return Ok(held.token);
            };
            return match self.renew_alone(Want::Good, alone).await {
                Err(NoToken::Lost) => Err(NoToken::Lost),
                Ok(Some(new)) => Ok(new.token),
                // It is good all the same.
                Ok(None) | Err(_) => Ok(held.token),
            };
        }
        match self.renew(Want::Good).await? {
            Some(held) => Ok(held.token),
            None => Err(NoToken::Unavailable),
        }
    }

    /// Another token than this worker has, or the one it has if that is good.
    async fn renew(&self, want: Want) -> Result<Option<Held>, NoToken> {
        let terms = &self.inner.terms;
        match tokio::time::timeout(terms.wait, self.renewing.lock()).await {
            Ok(alone) => self.renew_alone(want, alone).await,
            Err(_) => Err(NoToken::Later(terms.look)),
        }
    }

    async fn renew_alone(
        &self,
        want: Want,
        _alone: tokio::sync::MutexGuard<'_, ()>,
    ) -> Result<Option<Held>, NoToken> {
        let renewed = self.look(want).await;
        if matches!(renewed, Err(NoToken::Lost)) {
            self.hold(None);
        }
        renewed
    }

    /// Looks at the row, and does what is to be done, until there is a token or none
    /// is to be had now.
    async fn look(&self, want: Want) -> Result<Option<Held>, NoToken> {
        let terms = &self.inner.terms;
        let until = Instant::now() + terms.wait;
        loop {
            let now = Timestamp::now();
            let stored = self.inner.stored().await?;
            let wait = match self.inner.next(&stored, want, now)? {
                Next::Use(held) => {
                    self.hold(Some(held.clone()));
                    return Ok(Some(held));
                }
                Next::Keep => return Ok(None),
                Next::Look(left) => left,
                Next::Refresh(stored) => match self.inner.refresh(&stored, want).await {
                    Ok(()) => continue,
                    // What there is is good for as long as it is.
                    Err(why) => match Held::of(&stored) {
                        Some(held)
                            if is_wanted(&held, want) && Timestamp::now() < held.expires_at =>
                        {
                            self.hold(Some(held.clone()));
                            return if why == NoToken::Lost {
                                Err(why)
                            } else {
                                Ok(Some(held))
                            };
                        }
                        _ => return Err(why),
                    },
                },
            };
            if Instant::now() + terms.look > until {
                return Err(NoToken::Later(wait.clamp(terms.look, terms.wait)));
            }
            tokio::time::sleep(terms.look).await;
        }
    }
}

impl TokenSource for TokenKeeper {
    fn token(&self) -> TokenFuture<'_, Token> {
        Box::pin(self.current())
    }

    fn renewed<'a>(&'a self, refused: &'a Token) -> TokenFuture<'a, Option<Token>> {
        Box::pin(async {
            let renewed = self.renew(Want::After(refused.version)).await?;
            Ok(renewed.map(|held| held.token))
        })
    }
}

impl fmt::Debug for TokenKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeeper({})", self.inner.subject)
    }
}
