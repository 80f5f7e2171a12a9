//! The URL with which a stream of pages begins.

use model::Timestamp;

use crate::base::encode;
use crate::client::SourceClient;
use crate::compartment::{Access, StreamPlan};

/// Where in a plan a first page stands, and how large it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstPage {
    /// Which value of the plan's fan-out; 0 where there is none.
    pub value: usize,
    /// `_count`; none: that of the limits.
    pub count: Option<u32>,
    /// Only what has changed since then, by the source's clock; none: everything.
    pub since: Option<Timestamp>,
}

impl SourceClient {
    /// The URL of a stream's first page, for [`cursor_hash`](crate::cursor_hash).
    /// `patient_id` may hold any characters.
    #[must_use]
    pub fn first_page_url(&self, plan: &StreamPlan, patient_id: &str, at: FirstPage) -> String {
        let resource_type = &plan.resource_type;
        let parameter = match &plan.access {
            Access::Search { parameter } => parameter,
            Access::Read => {
                return self
                    .base
                    .join(&format!("{resource_type}/{}", encode(patient_id)));
            }
            Access::Everything => return self.everything_url(plan, patient_id, at),
        };
        // A comma in an id would ask for two patients: search.html#escaping.
        let mut escaped = String::with_capacity(patient_id.len());
        for c in patient_id.chars() {
            if matches!(c, '\\' | ',' | '$' | '|') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        // `patient` says the type; the others take several.
        let type_prefix = if parameter == "patient" {
            ""
        } else {
            "Patient/"
        };
        let mut query = format!("{parameter}={type_prefix}{}", encode(&escaped));
        let value = plan
            .fan_out
            .as_ref()
            .and_then(|of| Some((&of.parameter, of.values.get(at.value)?)));
        if let Some((parameter, value)) = value {
            query += &format!("&{parameter}={}", encode(value));
        }
        if let Some(since) = at.since {
            // `ge`, and whole seconds: servers that keep no fractions would miss the rest
            // of a second.
            query += &format!("&_lastUpdated=ge{}", encode(&since.to_second()));
        }
        if !plan.without_count {
            let count = at.count.unwrap_or(self.transport.limits.page_size);
            query += &format!("&_count={count}");
        }
        self.base.join(&format!("{resource_type}?{query}"))
    }

    fn everything_url(&self, plan: &StreamPlan, patient_id: &str, at: FirstPage) -> String {
        let operation = format!("Patient/{}/$everything", encode(patient_id));
        if plan.without_count {
            return self.base.join(&operation);
        }
        let count = at.count.unwrap_or(self.transport.limits.page_size);
        self.base.join(&format!("{operation}?_count={count}"))
    }
}
