//! The words that a portal says, and where.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use sandbox::{Answer, Body, Break, Demand, Document, Knobs};
use serde_json::{Value, json};

pub(super) const PATIENT: &str = "CANARY00-patient";

pub(super) fn resources() -> Vec<String> {
    let subject = json!({"reference": format!("Patient/{PATIENT}")});
    let observation = |id: &str, more: Value| {
        let mut resource = json!({"resourceType": "Observation", "id": id, "subject": subject});
        let members = more.as_object().cloned().unwrap_or_default();
        resource.as_object_mut().expect("an object").extend(members);
        resource
    };
    let long = format!("CANARY28-{}", "x".repeat(80));
    [
        json!({"resourceType": "Patient", "id": PATIENT, "birthDate": "1901-02-03",
            "name": [{"family": "CANARY01", "given": ["CANARY02"]}],
            "telecom": [{"value": "CANARY03"}], "photo": [{"url": "https://CANARY04.example/p"}],
            "address": [{"line": ["CANARY05"], "city": "CANARY06"}],
            "identifier": [{"system": "urn:CANARY07", "value": "CANARY08"}]}),
        observation("CANARY09-id", json!({"valueString": "CANARY10", "code": {"text": "CANARY11"}})),
        observation("o-1", json!({"note": [{"text": "CANARY12"}], "text": {"div": "CANARY13"}})),
        observation("o-2", json!({"hasMember": [{"reference": "https://CANARY14.example/Observation/1"}]})),
        observation("o-3", json!({"extension": [{"url": "urn:CANARY15", "valueCode": "CANARY16"}]})),
        observation("o-4", json!({"performer": [{"reference": "Practitioner/CANARY17-found"}]})),
        observation("o-5", json!({"performer": [{"reference": "Practitioner/CANARY18-dangling"}]})),
        observation("o-6", json!({"meta": {"tag": [{"code": "CANARY19"}], "profile": ["urn:CANARY20"]}})),
        observation("o-7", json!({"contained": [{"resourceType": "Device", "id": "CANARY21"}]})),
        observation("o-8", json!({"issued": "CANARY22", "CANARY23": true})),
        observation("CANARY24-json", json!({})),
        observation("CANARY25-twice", json!({})),
        observation("o-9", json!({"method": {"text": "CANARY26"}})),
        observation("o-10", json!({"device": {"display": "CANARY27"}})),
        observation(&long, json!({})),
        json!({"resourceType": "Practitioner", "id": "CANARY17-found", "name": [{"family": "CANARY29"}]}),
        json!({"resourceType": "DocumentReference", "id": "CANARY30-document", "subject": subject,
            "content": [{"attachment": {"url": "Binary/CANARY31", "title": "CANARY32"}}]}),
        json!({"resourceType": "Binary", "id": "CANARY31", "contentType": "text/plain",
            "data": BASE64.encode(b"CANARY32 in a document")}),
        json!({"resourceType": "MedicationRequest", "id": "m-1", "subject": subject,
            "intent": "order", "note": [{"text": "CANARY38"}]}),
    ]
    .iter()
    .map(Value::to_string)
    .collect()
}

fn answer(status: u16, body: Body, text: &str, times: Option<u32>) -> Answer {
    let headers = [
        ("x-request-id", text),
        ("location", "https://CANARY33.example/"),
    ];
    Answer {
        status,
        body,
        text: text.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        times,
    }
}

/// What goes wrong, with words in it.
pub(super) fn trouble() -> Knobs {
    let broken = [
        ("Observation/CANARY24-json", Break::BrokenJson),
        ("Observation/CANARY25-twice", Break::DuplicateKey),
        ("Observation/o-9", Break::NoId),
    ];
    let named = |(name, of): (&str, Break)| (name.to_owned(), of);
    let of_types = [
        ("Condition", answer(403, Body::Outcome, "CANARY34", None)),
        ("Procedure", answer(500, Body::Html, "CANARY35", Some(1))),
        (
            "Immunization",
            answer(400, Body::Outcome, "CANARY36", Some(1)),
        ),
    ];
    let demand = Demand {
        parameter: "intent".to_owned(),
        values: Vec::new(),
        status: 400,
        code: "required".to_owned(),
        text: "CANARY37 must be named".to_owned(),
    };
    let document = Document {
        etag: Some("\"CANARY31\"".to_owned()),
        ..Document::default()
    };
    Knobs {
        breaks: broken.map(named).into(),
        answers: of_types.map(|(ty, answer)| (ty.to_owned(), answer)).into(),
        demands: BTreeMap::from([("MedicationRequest".to_owned(), demand)]),
        documents: BTreeMap::from([("CANARY31".to_owned(), document)]),
        ..Knobs::default()
    }
}
