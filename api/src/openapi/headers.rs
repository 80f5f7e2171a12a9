//! The headers of answers and conditions: which operation has which follows from its
//! path, method and statuses, as in `entity.rs` and `list.rs`.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required, Response, ResponseBuilder};

const ETAG: (&str, &str) = ("ETag", "A strong tag of what the body says.");
const LOCATION: (&str, &str) = ("Location", "The path of what was made or asked for.");
const RETRY_AFTER: (&str, &str) = ("Retry-After", "Seconds until it is worth reading again.");
const LINK: (&str, &str) = ("Link", "The next page, `rel=\"next\"`, where there is one.");

/// Adds them to the operations of a path.
pub(super) fn add(path: &str, item: &mut PathItem) {
    let is_thing = path.ends_with("/{id}");
    if let Some(operation) = &mut item.get {
        let is_list = parameters(operation).any(|of| of.name == "cursor");
        if is_thing {
            announce(operation, "200", &[ETAG]);
            condition(
                operation,
                "If-None-Match",
                "Tags of what you have: if it is one of them, the answer is 304.",
            );
            let unchanged = ResponseBuilder::new().description("What you have is what there is.");
            let unchanged = with_headers(unchanged.build(), &[ETAG]);
            let responses = &mut operation.responses.responses;
            responses.insert("304".to_owned(), RefOr::T(unchanged));
        } else if is_list {
            announce(operation, "200", &[LINK]);
        }
    }
    for operation in [&mut item.patch, &mut item.delete].into_iter().flatten() {
        announce(operation, "200", &[ETAG]);
        if is_thing {
            condition(
                operation,
                "If-Match",
                "Tags of what you know: if it is none of them, it stays as it is (412).",
            );
        }
    }
    if let Some(operation) = &mut item.post {
        announce(operation, "200", &[ETAG]);
        announce(operation, "201", &[ETAG, LOCATION]);
        announce(operation, "202", &[ETAG, LOCATION, RETRY_AFTER]);
    }
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    let parameters = operation.parameters.iter().flatten();
    parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

fn announce(operation: &mut Operation, status: &str, headers: &[(&str, &str)]) {
    if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut(status) {
        *answer = with_headers(answer.clone(), headers);
    }
}

fn with_headers(mut answer: Response, headers: &[(&str, &str)]) -> Response {
    for (name, description) in headers {
        let header = HeaderBuilder::new()
            .schema(Some(text()))
            .description(Some(*description))
            .build();
        answer.headers.insert((*name).to_owned(), RefOr::T(header));
    }
    answer
}

fn condition(operation: &mut Operation, name: &str, description: &str) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build();
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter));
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}
