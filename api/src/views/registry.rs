//! Sources, patients, connections and destinations.

use db::{ConnectionSummary, Destination, Patient, Probe, Source, SourceLogin, SourceRate};
use model::{
    AttachmentPolicy, ClientMethod, ConnectionId, ConnectionStatus, DestinationId, FileFormat,
    PatientId, SigningAlgorithm, SourceId, Strategy, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::probe::ProbeView;
use super::text;
use super::words::{
    AttachmentPolicySchema, ClientMethodSchema, ConnectionIdSchema, ConnectionStatusSchema,
    DestinationIdSchema, FileFormatSchema, PatientIdSchema, SigningAlgorithmSchema, SourceIdSchema,
    StrategySchema,
};

/// A source.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Source`")]
#[schema(as = Source)]
pub struct SourceView {
    #[schema(value_type = SourceIdSchema)]
    pub id: SourceId,
    pub name: String,
    /// Where its FHIR API begins.
    pub base_url: String,
    /// Its normalised base, which stays when `base_url` is corrected.
    pub identity: String,
    /// `none`; `bearer`: each connection brings a token; `client_credentials` or `backend_services`:
    /// the source gives us tokens; `smart`: each connection brings a patient's grant.
    pub auth: &'static str,
    /// How we are known where it gives out tokens. Never the secret.
    pub login: Option<LoginView>,
    /// How often it may be asked a second, by all workers together.
    pub requests_per_second: Option<u32>,
    /// How often it is asked a second at most now: less than `requests_per_second` while
    /// it throttles (429, 503), growing back with use; null: as often as workers like.
    pub effective_requests_per_second: Option<f64>,
    /// It wants to be left alone until then.
    #[schema(format = DateTime)]
    pub held_until: Option<String>,
    /// How many requests may wait for its answer; null: the workers' settings decide.
    pub concurrent_requests: Option<u32>,
    /// How many of its pulls are at work at the same time; null: the workers' settings decide.
    pub concurrent_pulls: Option<u32>,
    /// The types that are asked for, where not all are.
    pub types: Option<Vec<String>>,
    /// How it is asked for a patient's record: `search`, type by type; `everything`, first
    /// by `$everything`; `bulk`, first by a bulk export of that patient.
    #[schema(value_type = StrategySchema)]
    pub strategy: Strategy,
    /// Whether documents that its resources name by a URL at the source are fetched
    /// (`fetch`), or left there (`leave`).
    #[schema(value_type = AttachmentPolicySchema)]
    pub attachments: AttachmentPolicy,
    /// How often its connections are pulled by themselves, in seconds; null: not by
    /// themselves.
    pub pull_interval_s: Option<u32>,
    pub enabled: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// How we are known where a source gives out tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SourceLogin)]
pub struct LoginView {
    pub client_id: String,
    /// The token endpoint; null where the source's smart-configuration names it.
    pub token_url: Option<String>,
    pub scope: Option<String>,
    #[schema(value_type = ClientMethodSchema)]
    pub method: ClientMethod,
    #[schema(value_type = Option<SigningAlgorithmSchema>)]
    pub signing_algorithm: Option<SigningAlgorithm>,
}

impl From<SourceLogin> for LoginView {
    fn from(login: SourceLogin) -> Self {
        Self {
            client_id: login.client_id,
            token_url: login.token_url,
            scope: login.scope,
            method: login.method,
            signing_algorithm: login.algorithm,
        }
    }
}

/// A person of the operator's.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Patient`")]
#[schema(as = Patient)]
pub struct PatientView {
    #[schema(value_type = PatientIdSchema)]
    pub id: PatientId,
    /// The operator's own name for this person.
    pub external_id: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A connection. Never the patient's id at the source, nor a token.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "the fields are those of `db::ConnectionSummary`"
)]
#[schema(as = Connection)]
pub struct ConnectionView {
    #[schema(value_type = ConnectionIdSchema)]
    pub id: ConnectionId,
    #[schema(value_type = PatientIdSchema)]
    pub patient_id: PatientId,
    pub external_id: Option<String>,
    #[schema(value_type = SourceIdSchema)]
    pub source_id: SourceId,
    #[schema(value_type = ConnectionStatusSchema)]
    pub status: ConnectionStatus,
    pub enabled: bool,
    pub head_seq: u64,
    /// How often it is pulled by itself, in seconds, where that differs from its source;
    /// 0: not by itself.
    pub pull_interval_s: Option<u32>,
    /// When it is pulled next by itself; null where it is not, or is disabled or not
    /// active.
    #[schema(format = DateTime)]
    pub next_pull_at: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A destination.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::Destination`")]
#[schema(as = Destination)]
pub struct DestinationView {
    #[schema(value_type = DestinationIdSchema)]
    pub id: DestinationId,
    pub name: String,
    pub location: String,
    #[schema(value_type = FileFormatSchema)]
    pub format: FileFormat,
    pub enabled: bool,
    /// Whether no test of it has passed yet: until then it is not enabled.
    pub awaits_test: bool,
    pub epoch: u64,
    pub last_publication: u64,
    pub failures: u64,
    /// Before then, no automatic run; none when nothing holds one back.
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Its latest test; left out of lists, and where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<ProbeView>,
}

impl DestinationView {
    /// A destination with its latest test.
    #[must_use]
    pub fn whole(destination: Destination, test: Option<Probe>) -> Self {
        Self {
            test: test.map(ProbeView::from),
            ..Self::from(destination)
        }
    }
}

impl From<ConnectionSummary> for ConnectionView {
    fn from(connection: ConnectionSummary) -> Self {
        Self {
            id: connection.id,
            patient_id: connection.patient_id,
            external_id: connection.external_id,
            source_id: connection.source_id,
            status: connection.status,
            enabled: connection.enabled,
            head_seq: connection.head_seq,
            pull_interval_s: connection.pull_interval_s,
            next_pull_at: connection.next_pull_at.map(text),
            created_at: text(connection.created_at),
        }
    }
}

impl From<Destination> for DestinationView {
    fn from(destination: Destination) -> Self {
        Self {
            id: destination.id,
            name: destination.name,
            location: destination.location,
            format: destination.format,
            enabled: destination.enabled,
            awaits_test: destination.awaits_test,
            epoch: destination.epoch,
            last_publication: destination.last_publication,
            failures: destination.failures,
            not_before: (destination.not_before.0 > 0).then(|| text(destination.not_before)),
            created_at: text(destination.created_at),
            test: None,
        }
    }
}

impl SourceView {
    /// A source, and how often it is asked at the moment.
    #[must_use]
    pub fn whole(source: Source, rate: SourceRate) -> Self {
        let (limits, now) = (source.limits, Timestamp::now());
        let milli = rate.milli_per_second(limits.requests_per_second, now);
        Self {
            id: source.id,
            name: source.name,
            base_url: source.base_url,
            identity: source.identity,
            auth: source.auth.as_str(),
            login: source.login.map(LoginView::from),
            requests_per_second: limits.requests_per_second,
            effective_requests_per_second: milli.map(per_second),
            held_until: rate.held_until(now).map(text),
            concurrent_requests: limits.concurrent_requests,
            concurrent_pulls: limits.concurrent_pulls,
            types: source.types,
            strategy: source.strategy,
            attachments: source.attachments,
            pull_interval_s: source.pull_interval_s,
            enabled: source.enabled,
            created_at: text(source.created_at),
        }
    }
}

/// A rate in tenths, which do not change with every request.
fn per_second(milli: u64) -> f64 {
    (milli / 100) as f64 / 10.0
}

impl From<Patient> for PatientView {
    fn from(patient: Patient) -> Self {
        Self {
            id: patient.id,
            external_id: patient.external_id,
            created_at: text(patient.created_at),
        }
    }
}
