//! What a test or a rehearsal of a destination finds: the same words in the
//! database, the API and the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::state::{WordError, words};

words!(
    /// What is asked of a destination without exporting to it.
    ProbeKind, "kind of probe" {
        /// Whether it can be written to as an export needs.
        Test = "test",
        /// What an export would deliver now.
        Rehearsal = "rehearsal",
    }
);

words!(
    /// One thing a destination must be able to do.
    Check, "check" {
        /// Write a new object.
        Write = "write",
        /// Refuse to write it a second time: publications rely on it.
        CreateOnly = "create_only",
        /// Read it back.
        Read = "read",
        /// List it.
        List = "list",
        /// Have about the time that we have.
        Clock = "clock",
        /// Remove it.
        Delete = "delete",
        /// Be no other destination's.
        Owner = "owner",
    }
);

words!(
    /// How a check ended.
    Verdict, "verdict" {
        /// As it must be.
        Passed = "passed",
        /// Not as it must be.
        Failed = "failed",
        /// Not looked at, since an earlier one failed.
        Skipped = "skipped",
    }
);

/// A check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// What was tried.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed; a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same for people, with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an export would deliver now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rehearsal {
    /// Patients of whom something is lacking.
    pub patients: u64,
    /// Their connections of which something is lacking.
    pub connections: u64,
    /// New and changed resources.
    pub resources: u64,
    /// Deletions.
    pub deletions: u64,
    /// The size of the resources as JSON, before they are encoded and compressed.
    pub size_bytes: u64,
}

/// What a probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeReport {
    /// The checks of a test, in their order.
    pub checks: Vec<CheckResult>,
    /// The figures of a rehearsal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
}

impl ProbeReport {
    /// The code of the first check that failed; none where all passed.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        let mut failed = self
            .checks
            .iter()
            .filter(|result| result.verdict == Verdict::Failed);
        failed.find_map(|result| result.error_code.as_deref())
    }
}
