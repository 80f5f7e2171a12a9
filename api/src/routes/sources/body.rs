//! What a caller says of a source: to add one, and to change one.

use db::SourceAuth;
use model::{AttachmentPolicy, Strategy};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::extract::whole;
use crate::routes::logins::LoginBody;
use crate::views::words::{AttachmentPolicySchema, StrategySchema};

/// A source to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSourceBody {
    /// A name for people, unique.
    #[schema(min_length = 1, max_length = 100, example = "general-hospital")]
    pub(super) name: String,
    /// Where its FHIR R4 API begins.
    #[schema(
        format = "uri",
        max_length = 2000,
        example = "https://ehr.example/fhir/R4"
    )]
    pub(super) base_url: String,
    /// Where its tokens come from.
    #[serde(default)]
    pub(super) auth: AuthBody,
    /// How we are known there, where `auth` is `client_credentials`, `backend_services` or `smart`.
    pub(super) login: Option<LoginBody>,
    /// How often it may be asked a second, by all workers together; as often as they
    /// like, where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 20)]
    pub(super) requests_per_second: Option<u32>,
    /// How many requests may wait for its answer, of all workers together. Left out:
    /// as many as a quarter of one worker's `pull_slots` make.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 4)]
    pub(super) concurrent_requests: Option<u32>,
    /// How many of its pulls are at work at the same time; the others stay queued. Left
    /// out: a few more than its share of the slots keeps busy.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, example = 2)]
    pub(super) concurrent_pulls: Option<u32>,
    /// How often its connections are pulled by themselves, in seconds; not by
    /// themselves, where it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 900, maximum = 7_776_000, example = 86_400)]
    pub(super) pull_interval_s: Option<u32>,
    /// The types that are asked for, beside the patient and what resources refer to; all
    /// that it has, where they are left out.
    #[schema(min_items = 1, max_items = 200, example = json!(["Condition", "Observation"]))]
    pub(super) types: Option<Vec<String>>,
    /// How it is asked for a patient's record.
    #[serde(default)]
    #[schema(value_type = StrategySchema)]
    pub(super) strategy: Strategy,
    /// Whether documents that its resources name by a URL at the source are fetched, or
    /// left there.
    #[serde(default)]
    #[schema(value_type = AttachmentPolicySchema)]
    pub(super) attachments: AttachmentPolicy,
}

/// How a source wants to be asked.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthBody {
    /// No authentication.
    #[default]
    None,
    /// A bearer token per connection.
    Bearer,
    /// OAuth 2.0 client credentials: a token of our own, for a secret.
    ClientCredentials,
    /// SMART Backend Services: a token of our own, for a signature.
    BackendServices,
    /// SMART App Launch: each connection brings a patient's grant.
    Smart,
}

impl From<AuthBody> for SourceAuth {
    fn from(auth: AuthBody) -> Self {
        match auth {
            AuthBody::None => Self::None,
            AuthBody::Bearer => Self::Bearer,
            AuthBody::ClientCredentials => Self::ClientCredentials,
            AuthBody::BackendServices => Self::BackendServices,
            AuthBody::Smart => Self::Smart,
        }
    }
}

/// What may change of a source; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceChange {
    /// Where its FHIR R4 API begins; the source stays the same one.
    #[schema(format = "uri", max_length = 2000)]
    pub(super) base_url: Option<String>,
    /// Whether it is pulled from.
    pub(super) enabled: Option<bool>,
    /// How often it may be asked a second, by all workers together; `null`: as often
    /// as they like.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) requests_per_second: Option<Option<u32>>,
    /// How often its connections are pulled by themselves, in seconds; `null`: not by
    /// themselves. What a connection says for itself goes first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 900, maximum = 7_776_000, example = 86_400)]
    pub(super) pull_interval_s: Option<Option<u32>>,
    /// How many requests may wait for its answer, of all workers together; `null`: as
    /// many as a quarter of one worker's `pull_slots` make.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) concurrent_requests: Option<Option<u32>>,
    /// How many of its pulls are at work at the same time; `null`: a few more than its
    /// share of the slots keeps busy.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) concurrent_pulls: Option<Option<u32>>,
    /// The types that are asked for, beside the patient and what resources refer to;
    /// `null`: all that it has. What another type brought before stays.
    #[serde(default, deserialize_with = "given_types")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 200, example = json!(["Condition", "Observation"]))]
    pub(super) types: Option<Option<Vec<String>>>,
    /// How it is asked for a patient's record. Given again, what the source refused
    /// before is tried again.
    #[schema(value_type = Option<StrategySchema>)]
    pub(super) strategy: Option<Strategy>,
    /// Whether documents that its resources name by a URL at the source are fetched, or
    /// left there. What was fetched before stays.
    #[schema(value_type = Option<AttachmentPolicySchema>)]
    pub(super) attachments: Option<AttachmentPolicy>,
    /// Another login in the place of the one there is.
    pub(super) login: Option<LoginBody>,
}

/// Tells `null` from what is left out.
pub(in crate::routes) fn given<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<u32>>, D::Error> {
    whole(from).map(Some)
}

/// The same for types.
fn given_types<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(from).map(Some)
}
