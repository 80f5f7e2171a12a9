//! Keys and the audit log.

use db::{ApiKey, AuditEntry};
use model::{AuditId, KeyId, Scope};
use serde::Serialize;
use utoipa::ToSchema;

use super::text;
use super::words::{AuditIdSchema, KeyIdSchema, ScopeSchema};

/// A key to the API; never the key's text.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::ApiKey`")]
#[schema(as = ApiKey)]
pub struct KeyView {
    #[schema(value_type = KeyIdSchema)]
    pub id: KeyId,
    pub name: String,
    #[schema(value_type = Vec<ScopeSchema>)]
    pub scopes: Vec<Scope>,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Until when it is good; for ever where there is none.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// To the minute.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    /// The key that took its place.
    #[schema(value_type = Option<KeyIdSchema>)]
    pub replaced_by: Option<KeyId>,
}

/// A new key, and its text, which is shown this once.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub struct NewKeyView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Its text: keep it, nobody can show it again.
    pub secret: String,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `db::AuditEntry`")]
#[schema(as = AuditEntry)]
pub struct AuditView {
    #[schema(value_type = AuditIdSchema)]
    pub id: AuditId,
    /// Whose key; none for the service itself.
    #[schema(value_type = Option<KeyIdSchema>)]
    pub api_key_id: Option<KeyId>,
    /// What was done: `pull.start`.
    pub action: String,
    /// To what.
    pub subject_id: String,
    /// Ids and counts that belong to it.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes,
            created_at: text(key.created_at),
            expires_at: key.expires_at.map(text),
            revoked_at: key.revoked_at.map(text),
            last_used_at: key.last_used_at.map(text),
            replaced_by: key.replaced_by,
        }
    }
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            api_key_id: entry.api_key_id,
            action: entry.action,
            subject_id: entry.subject_id,
            detail: entry.detail,
            created_at: text(entry.created_at),
        }
    }
}
