//! The files of an export: its resources by type, what is deleted, what it has to tell.

use crate::bundle::compact;
use crate::knobs::Knobs;
use crate::log::Served;
use crate::row::Row;
use axum::body::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct File {
    /// The member of the manifest.
    pub(super) member: &'static str,
    pub(super) ty: String,
    pub(super) lines: usize,
    pub(super) body: Bytes,
    pub(super) served: Vec<Served>,
}

pub(super) fn files(rows: Vec<Arc<Row>>, knobs: &Knobs) -> Vec<File> {
    let mut by_type: BTreeMap<String, Vec<Arc<Row>>> = BTreeMap::new();
    for row in rows {
        by_type
            .entry(row.searched_as().to_owned())
            .or_default()
            .push(row);
    }
    let most = knobs.export.lines_per_file.unwrap_or(usize::MAX).max(1);
    let mut files = Vec::new();
    for (ty, rows) in by_type {
        for rows in rows.chunks(most) {
            let lines = rows.iter().map(|row| {
                let text = compact(&row.raw);
                match knobs.broken(row) {
                    Some(way) => way.apply(&text),
                    None => text,
                }
            });
            let mut file = File::new("output", &ty, lines);
            file.served = rows.iter().map(|row| Served::under(knobs, row)).collect();
            files.push(file);
        }
    }
    let deleted = &knobs.export.deleted;
    if !deleted.is_empty() {
        let entries: Vec<Value> = deleted
            .iter()
            .map(|url| json!({ "request": { "method": "DELETE", "url": url } }))
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let line = bundle.to_string().into_bytes();
        files.push(File::new("deleted", "Bundle", [line].into_iter()));
    }
    let issues = knobs.export.issues.iter().map(|severity| {
        let issue = json!({ "severity": severity, "code": "processing", "diagnostics": "Something is told." });
        let outcome = json!({ "resourceType": "OperationOutcome", "issue": [issue] });
        outcome.to_string().into_bytes()
    });
    if !knobs.export.issues.is_empty() {
        let member = if knobs.export.says_outcome {
            "outcome"
        } else {
            "error"
        };
        files.push(File::new(member, "OperationOutcome", issues));
    }
    files
}

impl File {
    fn new(member: &'static str, ty: &str, lines: impl Iterator<Item = Vec<u8>>) -> Self {
        let (mut body, mut count) = (Vec::new(), 0);
        for line in lines {
            body.extend_from_slice(&line);
            body.push(b'\n');
            count += 1;
        }
        Self {
            member,
            ty: ty.to_owned(),
            lines: count,
            body: body.into(),
            served: Vec::new(),
        }
    }
}
