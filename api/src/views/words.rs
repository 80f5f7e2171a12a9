//! How ids and words stand in the OpenAPI document: ids by their pattern, words by
//! their list.

use std::borrow::Cow;

use model::{
    AttachmentId, AttachmentPolicy, AttachmentState, AuditId, Check, ClientMethod, ConnectionId,
    ConnectionStatus, DestinationId, ExportId, FileFormat, HeldState, KeyId, PatientId, ProbeId,
    ProbeKind, PullId, PullKind, PullMode, RunPhase, RunState, Scope, SigningAlgorithm, SourceId,
    Strategy, Trigger, TypeOutcome, Verdict,
};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! ids {
    ($($marker:ident for $id:ty;)+) => {
        $(
            /// How this id looks.
            #[derive(Debug)]
            pub(crate) struct $marker;

            impl PartialSchema for $marker {
                fn schema() -> RefOr<Schema> {
                    let prefix = <$id>::PREFIX;
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .pattern(Some(format!("^{prefix}[0-9a-f]{{32}}$")))
                        .examples([format!("{prefix}0198c5a8f2b67d3a9c4e1f0a2b3c4d5e")])
                        .into()
                }
            }

            impl ToSchema for $marker {
                fn name() -> Cow<'static, str> {
                    stringify!($id).into()
                }
            }
        )+
    };
}

macro_rules! words {
    ($($marker:ident for $word:ty;)+) => {
        $(
            /// Which words there are.
            #[derive(Debug)]
            pub(crate) struct $marker;

            impl PartialSchema for $marker {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .enum_values(Some(<$word>::ALL.iter().map(|word| word.as_str())))
                        .into()
                }
            }

            impl ToSchema for $marker {
                fn name() -> Cow<'static, str> {
                    stringify!($word).into()
                }
            }
        )+
    };
}

ids! {
    AttachmentIdSchema for AttachmentId;
    AuditIdSchema for AuditId;
    ConnectionIdSchema for ConnectionId;
    DestinationIdSchema for DestinationId;
    ExportIdSchema for ExportId;
    KeyIdSchema for KeyId;
    PatientIdSchema for PatientId;
    ProbeIdSchema for ProbeId;
    PullIdSchema for PullId;
    SourceIdSchema for SourceId;
}

words! {
    AttachmentPolicySchema for AttachmentPolicy;
    AttachmentStateSchema for AttachmentState;
    CheckSchema for Check;
    ClientMethodSchema for ClientMethod;
    ConnectionStatusSchema for ConnectionStatus;
    FileFormatSchema for FileFormat;
    HeldStateSchema for HeldState;
    ProbeKindSchema for ProbeKind;
    PullKindSchema for PullKind;
    PullModeSchema for PullMode;
    RunPhaseSchema for RunPhase;
    RunStateSchema for RunState;
    ScopeSchema for Scope;
    SigningAlgorithmSchema for SigningAlgorithm;
    StrategySchema for Strategy;
    TriggerSchema for Trigger;
    TypeOutcomeSchema for TypeOutcome;
    VerdictSchema for Verdict;
}
