//! Tokens of a source, kept fresh: at 80 % of its life a token is replaced, by one
//! refresher among all workers. Who refreshes holds a lease in the database that is
//! longer than the request can take; what it gets is stored as the next version
//! before anybody uses it. The others go on with the token that is still good, wait a
//! little for the next version, or come back later.
//!
//! A refresh runs on a task of its own: a step that is cancelled meanwhile does not
//! lose the refresh token that its answer brings.
//! Invariant: an outage says nothing about a grant. Only `invalid_grant`, or another
//! person's record, ends one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use db::{Db, NewToken, StoredToken, TOKEN_LIFE_DEFAULT, TokenLease};
use model::{ConnectionId, SourceId, Timestamp, content_hash};
use source::{
    Grant, Granted, NoToken, Secret, Token, TokenClient, TokenError, TokenFuture, TokenSource,
};

use crate::{failpoint, token_login};

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

/// What the rows say is to be done.
enum Next {
    /// To use this one.
    Use(Held),
    /// To refresh this version.
    Refresh(StoredToken),
    /// To look again: somebody else refreshes.
    Look(Duration),
    /// Nothing that would help.
    Keep,
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

/// Whether a token is one that is asked for.
fn is_wanted(held: &Held, want: Want) -> bool {
    match want {
        Want::Good => true,
        Want::After(refused) => held.token.version != refused,
    }
}

impl Inner {
    async fn stored(&self) -> Result<StoredToken, NoToken> {
        let unavailable = |error: db::Error| {
            tracing::warn!(subject = self.subject, "no token was looked up: {error}");
            NoToken::Unavailable
        };
        if let Some(stored) = self.db.token(&self.subject).await.map_err(unavailable)? {
            return Ok(stored);
        }
        match self.owner {
            // It was given up, or never had a grant.
            Owner::Patient(..) => Err(NoToken::Lost),
            Owner::Ourselves => {
                let made = self.db.ensure_token(&self.subject).await;
                made.map_err(unavailable)?;
                let stored = self.db.token(&self.subject).await.map_err(unavailable)?;
                stored.ok_or(NoToken::Unavailable)
            }
        }
    }

    fn next(&self, stored: &StoredToken, want: Want, now: Timestamp) -> Result<Next, NoToken> {
        let good = Held::of(stored).filter(|held| is_wanted(held, want) && now < held.expires_at);
        let can_refresh = stored.refresh.is_some() || matches!(self.owner, Owner::Ourselves);
        if let Some(held) = &good
            && (now < stored.refresh_at || !can_refresh)
        {
            return Ok(Next::Use(held.clone()));
        }
        if !can_refresh && stored.access.is_none() {
            return Err(NoToken::Lost);
        }
        if matches!(want, Want::After(_)) && (!can_refresh || self.is_young(stored, now)) {
            return Ok(Next::Keep);
        }
        // With somebody at it, or an endpoint that is to be left alone, what is good
        // will do.
        let busy = stored.held_until.max(stored.not_before);
        if now <= busy {
            return match good {
                Some(held) => Ok(Next::Use(held)),
                None if now <= stored.not_before => Err(put_off(stored, now)),
                None => Ok(Next::Look(stored.held_until.since(now))),
            };
        }
        Ok(Next::Refresh(stored.clone()))
    }

    /// Whether a token was renewed for a refusal just now, which was refused too.
    fn is_young(&self, stored: &StoredToken, now: Timestamp) -> bool {
        let half = stored.expires_at.since(stored.obtained_at) / 2;
        stored.after_refusal && now.since(stored.obtained_at) < self.terms.young.min(half)
    }

    /// Refreshes a version, or lets somebody else.
    async fn refresh(self: &Arc<Self>, stored: &StoredToken, want: Want) -> Result<(), NoToken> {
        let (inner, stored) = (Arc::clone(self), stored.clone());
        let task = tokio::spawn(async move { inner.refresh_alone(&stored, want).await });
        // It ends with the process, or by a bug.
        task.await.unwrap_or(Err(NoToken::Unavailable))
    }

    async fn refresh_alone(&self, stored: &StoredToken, want: Want) -> Result<(), NoToken> {
        let unavailable = |error: db::Error| {
            tracing::warn!(subject = self.subject, "a refresh is not noted: {error}");
            NoToken::Unavailable
        };
        let started = Instant::now();
        let lease = self
            .db
            .lease_token(&self.subject, stored.version, self.terms.lease)
            .await
            .map_err(unavailable)?;
        let Some(lease) = lease else { return Ok(()) };
        passed("token_request.before").await?;
        // What is left of the lease has to be enough, whatever has slept since.
        let margin = self.terms.lease.saturating_sub(self.terms.request) / 2;
        if started.elapsed() > margin {
            return Ok(());
        }
        let asked = tokio::time::timeout(self.terms.request, self.ask(stored)).await;
        let asked = asked.unwrap_or(Err(TokenError::Unavailable { retry_after: None }));
        passed("token_request.after").await?;
        let granted = match asked {
            Ok(granted) => granted,
            Err(error) => {
                let noted = self.failed(&lease, stored, &error).await;
                return noted.map_err(unavailable)?;
            }
        };
        if let (Owner::Patient(connection, patient), Some(other)) = (&self.owner, &granted.patient)
            && bare(patient) != bare(other)
        {
            let lost = self.db.grant_lost(&lease, *connection, "other_patient");
            return if lost.await.map_err(unavailable)? {
                Err(NoToken::Lost)
            } else {
                Ok(())
            };
        }
        self.store(&lease, &granted, want, started).await?;
        passed("token_stored").await
    }

    /// Stores what was granted, as long as nobody else may refresh: with a rotated
    /// token it would be lost, and with it the grant.
    async fn store(
        &self,
        lease: &TokenLease,
        granted: &Granted,
        want: Want,
        started: Instant,
    ) -> Result<(), NoToken> {
        // Its life began before its answer left.
        let life = granted.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT);
        let new = NewToken {
            access: Some(granted.access.expose().to_owned()),
            refresh: granted
                .refresh
                .as_ref()
                .map(|token| token.expose().to_owned()),
            scope: granted.scope.clone(),
            expires_in: Some(life.saturating_sub(started.elapsed())),
            after_refusal: matches!(want, Want::After(_)),
        };
        loop {
            match self.db.store_token(lease, &new).await {
                Ok(true) => {
                    tracing::info!(subject = self.subject, "a token was refreshed");
                    return Ok(());
                }
                Ok(false) => {
                    tracing::warn!(subject = self.subject, "a refresh came too late to count");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(subject = self.subject, "tokens are not stored yet: {error}");
                    if started.elapsed() > self.terms.lease {
                        return Err(NoToken::Unavailable);
                    }
                    tokio::time::sleep(self.terms.look).await;
                }
            }
        }
    }

    async fn ask(&self, stored: &StoredToken) -> Result<Granted, TokenError> {
        let login = token_login::login(&self.db, self.source).await?;
        let grant = match (&self.owner, &stored.refresh) {
            (Owner::Ourselves, _) => Grant::ClientCredentials,
            (Owner::Patient(..), Some(token)) => Grant::Refresh(Secret::new(token.clone())),
            // An access token alone, and it has ended.
            (Owner::Patient(..), None) => return Err(TokenError::InvalidGrant),
        };
        self.client.ask(&login, &grant).await
    }

    /// Notes why there are no tokens. `Ok(Ok(()))`: somebody else knows more.
    async fn failed(
        &self,
        lease: &TokenLease,
        stored: &StoredToken,
        error: &TokenError,
    ) -> db::Result<Result<(), NoToken>> {
        tracing::warn!(subject = self.subject, "no token was given: {error}");
        if let (TokenError::InvalidGrant, Owner::Patient(connection, _)) = (error, &self.owner) {
            let code = match stored.refresh {
                Some(_) => "invalid_grant",
                None => "token_expired",
            };
            let lost = self.db.grant_lost(lease, *connection, code).await?;
            return Ok(if lost { Err(NoToken::Lost) } else { Ok(()) });
        }
        let wait = self.wait_after(stored.failures, error);
        let now = Timestamp::now();
        self.db
            .token_failed(lease, code(error), now.after(wait))
            .await?;
        Ok(Err(match error {
            TokenError::AddressRefused(refused) => NoToken::AddressRefused(*refused),
            TokenError::Refused { .. } | TokenError::Config { .. } => NoToken::Refused,
            _ => NoToken::Later(wait),
        }))
    }

    /// How long to leave an endpoint alone: doubling, no two subjects at the same
    /// time, and as long as it says.
    fn wait_after(&self, failures: u64, error: &TokenError) -> Duration {
        let (first, max) = self.terms.back_off;
        let doubled = first.saturating_mul(1 << failures.min(16));
        let spread = u32::from(content_hash(self.subject.as_bytes()).0[0]);
        let wait = doubled.min(max);
        let wait = wait - wait * spread / 1024;
        match error {
            TokenError::Unavailable {
                retry_after: Some(said),
            } => wait.max(*said),
            _ => wait,
        }
    }
}

/// A patient's id; some write it as a reference.
fn bare(id: &Secret) -> &str {
    let id = id.expose();
    id.strip_prefix("Patient/").unwrap_or(id)
}

/// Words of a row for why there are no tokens.
const REFUSED: &str = "login_refused";
const ADDRESS: &str = guard::ADDRESS_REFUSED;

fn code(error: &TokenError) -> &'static str {
    match error {
        TokenError::InvalidGrant => "invalid_grant",
        TokenError::Refused { .. } | TokenError::Config { .. } => REFUSED,
        TokenError::AddressRefused(_) => ADDRESS,
        TokenError::Unavailable { .. } | TokenError::Protocol { .. } => "token_unavailable",
    }
}

/// Why an endpoint that is left alone gives no token.
fn put_off(stored: &StoredToken, now: Timestamp) -> NoToken {
    match stored.error_code.as_deref() {
        Some(REFUSED) => NoToken::Refused,
        Some(ADDRESS) => NoToken::AddressRefused(guard::Refused),
        _ => NoToken::Later(stored.not_before.since(now)),
    }
}

/// A point at which tests end or fail a refresh.
async fn passed(name: &str) -> Result<(), NoToken> {
    failpoint::pass(name)
        .await
        .map_err(|_| NoToken::Unavailable)
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
