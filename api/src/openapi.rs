//! The OpenAPI document: made from the routes, committed as `docs/openapi.json`.

mod headers;
mod links;
mod texts;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Required, Response as Answer, ResponseBuilder};

use crate::problem::{CODES, Document};
use crate::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chartlift",
        description = "Gets patients' records out of the portals that hold them, complete and once.\n\n\
            Lists are newest first, `limit` entries a page; `next_cursor` is the next page's `cursor`. Every error is a \
            problem document (RFC 9457) whose `code` stays the same. A POST may carry an `Idempotency-Key`: sent again, \
            it has one effect and gets one answer. Runs are started with 202 and read until they have ended; `wait` \
            waits for that.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/")),
    components(schemas(Document)),
    tags(
        (name = "sources", description = "Portals and FHIR servers that records come from"),
        (name = "patients", description = "Your persons"),
        (name = "connections", description = "A patient at a source"),
        (name = "pulls", description = "Runs that fetch a connection's record"),
        (name = "destinations", description = "Where records go"),
        (name = "exports", description = "Runs that deliver to a destination"),
        (name = "keys", description = "Keys to this API"),
        (name = "audit", description = "Who did what, and what was disclosed"),
        (name = "portals", description = "For the portals that we are a client of"),
        (name = "health", description = "For load balancers and orchestrators"),
    )
)]
struct Base;

/// The document, as JSON that ends with a newline.
#[must_use]
pub fn document() -> String {
    let mut document = Base::openapi();
    let (_, routes) = routes::all().split_for_parts();
    document.merge(routes);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key, `clk_…`, with the scope the operation names."))
        .build();
    if let Some(components) = &mut document.components {
        components.add_security_scheme("key", SecurityScheme::Http(key));
        texts::add(components);
    }
    for (path, item) in &mut document.paths.paths {
        headers::add(path, item);
        complete(path, item);
        links::add(item);
    }
    let mut text = serde_json::to_string_pretty(&document).expect("the document serialises");
    text.push('\n');
    text
}

pub(crate) async fn serve() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], document()).into_response()
}

/// Adds what all operations have in common.
fn complete(path: &str, item: &mut PathItem) {
    let has_id = path.contains('{');
    for (operation, changes, has_body) in [
        (&mut item.get, false, false),
        (&mut item.post, true, true),
        (&mut item.patch, true, true),
        (&mut item.delete, true, false),
    ] {
        let Some(operation) = operation else { continue };
        let is_open = operation.security.is_none();
        let takes_body = has_body && operation.request_body.is_some();
        let mut statuses = vec![431, 500, 503, 504];
        if !is_open {
            statuses.extend([400, 401, 403]);
        }
        if has_id || takes_body {
            statuses.push(404);
        }
        if path.contains("/resources/") || path.ends_with("/$everything") {
            statuses.push(410);
        }
        if changes {
            statuses.extend([409, 412, 413, 422]);
        }
        if takes_body {
            statuses.push(415);
        }
        for status in statuses {
            refuse(operation, status);
        }
        for answer in operation.responses.responses.values_mut() {
            if let RefOr::T(answer) = answer {
                add_request_id(answer);
            }
        }
    }
    if let Some(operation) = &mut item.post {
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some("^[!-~]{1,255}$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Sent again with the same key, the request has one effect and gets one answer.",
            ))
            .schema(Some(key));
        operation
            .parameters
            .get_or_insert_default()
            .push(RefOr::T(header.build()));
    }
}

/// Documents a refusal with the codes that come with its status.
fn refuse(operation: &mut Operation, status: u16) {
    let codes = CODES.iter().filter(|(of, _)| *of == status);
    let codes: Vec<String> = codes.map(|(_, code)| format!("`{code}`")).collect();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let answer = ResponseBuilder::new()
        .description(codes.join(", "))
        .content("application/problem+json", content)
        .build();
    let responses = &mut operation.responses.responses;
    responses
        .entry(status.to_string())
        .or_insert(RefOr::T(answer));
}

fn add_request_id(answer: &mut Answer) {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let header = HeaderBuilder::new()
        .schema(Some(text))
        .description(Some("The request's id, as in the server's log."))
        .build();
    answer
        .headers
        .insert("X-Request-Id".to_owned(), RefOr::T(header));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_document_is_that_of_the_routes() {
        let path = "../docs/openapi.json";
        if std::env::var_os("CHARTLIFT_RECORD").is_some() {
            std::fs::write(path, super::document()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == super::document(),
            "docs/openapi.json is not what the routes say: run `chartlift openapi > docs/openapi.json`"
        );
    }
}
