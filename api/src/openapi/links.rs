//! Links: which operations go on with what another one made.

use utoipa::openapi::RefOr;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, PathItem};

/// From the operation that makes something to those that take its id: in their path,
/// or as this member of their body.
const LINKS: &[(&str, &str, Option<&str>)] = &[
    ("addSource", "readSource", None),
    ("addSource", "changeSource", None),
    ("addPatient", "readPatient", None),
    ("addPatient", "readRecord", None),
    ("addConnection", "readConnection", None),
    ("addConnection", "changeConnection", None),
    ("addConnection", "reconnectConnection", None),
    ("addConnection", "listAttachments", None),
    ("addConnection", "startPull", Some("connection_id")),
    ("startPull", "readPull", None),
    ("startPull", "cancelPull", None),
    ("startPull", "retryPull", None),
    ("startPull", "acceptDeletes", None),
    ("startPull", "discardDeletes", None),
    ("addDestination", "readDestination", None),
    ("addDestination", "changeDestination", None),
    ("addDestination", "testDestination", None),
    ("addDestination", "rehearseExport", None),
    ("addDestination", "deleteDestination", None),
    ("addDestination", "startExport", Some("destination_id")),
    ("testDestination", "readProbe", None),
    ("rehearseExport", "readProbe", None),
    ("startExport", "readExport", None),
    ("startExport", "listExportErrors", None),
    ("startExport", "cancelExport", None),
    ("startExport", "retryExport", None),
    ("addKey", "readKey", None),
    ("addKey", "rotateKey", None),
    ("addKey", "revokeKey", None),
];

/// Adds the links that begin at the operations of a path.
pub(super) fn add(item: &mut PathItem) {
    if let Some(operation) = &mut item.post {
        let id = operation.operation_id.clone().unwrap_or_default();
        for (_, to, member) in LINKS.iter().filter(|(from, ..)| *from == id) {
            link(operation, to, *member);
        }
    }
}

fn link(operation: &mut Operation, to: &str, member: Option<&str>) {
    const ID: &str = "$response.body#/id";
    let link = LinkBuilder::new().operation_id(to);
    let link: Link = match member {
        None => link.parameter("id", ID).build(),
        Some(member) => {
            let body = serde_json::json!({ member: ID });
            link.request_body(Some(body)).build()
        }
    };
    for status in ["201", "202"] {
        if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut(status) {
            answer.links.insert(to.to_owned(), RefOr::T(link.clone()));
        }
    }
}
