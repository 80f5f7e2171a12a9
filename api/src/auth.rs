//! Who asks, and whether the key may: `Authorization: Bearer clk_…`. The database
//! is asked each time, so that a revoked key is refused from the next request on.

use std::future::Future;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use db::{ApiKey, Call, Db};
use model::{PatientId, Scope};

use crate::App;
use crate::idempotency::{Asked, repeated};
use crate::problem::{MISSING_SCOPE, Problem, UNAUTHENTICATED};

/// Whoever asks, with a key that may.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) key: ApiKey,
    /// What is asked under an `Idempotency-Key`.
    asked: Option<Asked>,
    db: Db,
}

/// A request that goes no further.
pub(crate) enum Refused {
    Problem(Problem),
    /// What was answered before under the same `Idempotency-Key`.
    Replayed(Box<Response>),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Replayed(response) => *response,
        }
    }
}

impl Caller {
    /// The text of a key that was made under the same `Idempotency-Key`, where the
    /// answer that had it was lost.
    pub(crate) async fn made_secret(&self) -> Result<Option<String>, Problem> {
        let Some(asked) = &self.asked else {
            return Ok(None);
        };
        let answered = self.db.answered(&asked.idempotency.key).await?;
        Ok(answered.and_then(|answered| answered.secret))
    }

    /// Notes in the audit log that so many of a patient's resources were read.
    pub(crate) async fn note_reading(
        &self,
        patient: PatientId,
        resources: usize,
    ) -> Result<(), Problem> {
        let detail = serde_json::json!({ "resources": resources });
        let subject = patient.to_string();
        Ok(self.db("record.read").note(&subject, &detail).await?)
    }

    /// The database, changed on behalf of the caller, who wants `action`.
    pub(crate) fn db(&self, action: &'static str) -> Db {
        self.db.on_behalf_of(Call {
            key: self.key.id,
            action,
            idempotency: self.asked.as_ref().map(|asked| asked.idempotency.clone()),
        })
    }

    /// Does something once, however often it is asked for under the same
    /// `Idempotency-Key`; returns what it made or changed.
    pub(crate) async fn once<I, F>(
        &self,
        action: &'static str,
        effect: impl FnOnce(Db) -> F,
    ) -> Result<I, Problem>
    where
        I: FromStr,
        F: Future<Output = db::Result<I>>,
    {
        if let Some(done) = self.asked.as_ref().and_then(|asked| asked.done.as_deref()) {
            return done.parse().map_err(|_| Problem::internal());
        }
        match effect(self.db(action)).await {
            Err(db::Error::Repeated) => {
                // Another request of the same key was first, at another server.
                let asked = self.asked.as_ref().ok_or_else(Problem::internal)?;
                let answered = repeated(&self.db, self.key.id, &asked.idempotency).await?;
                let answered = answered.ok_or_else(Problem::internal)?;
                answered.subject_id.parse().map_err(|_| Problem::internal())
            }
            done => Ok(done?),
        }
    }
}

async fn authorize(parts: &Parts, app: &App, scope: Scope) -> Result<Caller, Refused> {
    let key = key(parts, &app.db).await?;
    if !key.scopes.contains(&scope) {
        let detail = format!(
            "This needs a key with the scope `{scope}`; key {} has none of it.",
            key.id
        );
        return Err(Problem::new(MISSING_SCOPE, detail).into());
    }
    let mut asked = parts.extensions.get::<Asked>().cloned();
    if let Some(asked) = &mut asked
        && let Some(answered) = repeated(&app.db, key.id, &asked.idempotency).await?
    {
        if let Some(answer) = &answered.answer {
            let response = crate::idempotency::replay(answer)?;
            return Err(Refused::Replayed(Box::new(response)));
        }
        asked.done = Some(answered.subject_id);
    }
    Ok(Caller {
        key,
        asked,
        db: app.db.clone(),
    })
}

async fn key(parts: &Parts, db: &Db) -> Result<ApiKey, Problem> {
    let mut given = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (given.next(), given.next()) else {
        let detail =
            "Send one key, as `Authorization: Bearer clk_…`; `chartlift keys create` makes one.";
        return Err(Problem::new(UNAUTHENTICATED, detail));
    };
    let text = header.to_str().unwrap_or_default();
    let (scheme, key) = text.split_once(' ').unwrap_or_default();
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        db.use_api_key(key.trim()).await?
    } else {
        None
    };
    key.ok_or_else(|| {
        let detail = "This key is not good: mistyped, unknown, revoked or expired. A key is `clk_` and 38 characters.";
        Problem::new(UNAUTHENTICATED, detail)
    })
}

macro_rules! may {
    ($($(#[$doc:meta])* $name:ident needs $scope:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub(crate) struct $name(pub(crate) Caller);

            impl std::ops::Deref for $name {
                type Target = Caller;

                fn deref(&self) -> &Caller {
                    &self.0
                }
            }

            impl FromRequestParts<App> for $name {
                type Rejection = Refused;

                async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
                    authorize(parts, app, Scope::$scope).await.map(Self)
                }
            }
        )+
    };
}

may! {
    /// A caller who may read.
    MayRead needs Read;
    /// A caller who may change.
    MayWrite needs Write;
    /// A caller who may read patients' records.
    MayReadRecords needs Phi;
    /// A caller who may manage keys.
    MayAdmin needs Admin;
}
