//! What a pull has to do with attachments: those that its resources name, and those
//! that are known, by the rule of each (`pull_attachment_rules.rs`).

use std::collections::BTreeMap;

use db::{OpenAttachment, Pull};
use model::{AttachmentCounts, AttachmentId, AttachmentState, Timestamp};
use steps::PullStep;

use crate::Context;
use crate::context::parse_base;
use crate::failure::Failure;
use crate::pull_attachment_fetch::Ask;
use crate::pull_attachment_rules::{Duty, Rules};
use crate::pull_attachments_named::{Named, named};

/// What a pull has to do with.
pub(crate) struct Found {
    named: BTreeMap<String, Named>,
    pull: Pull,
    now: Timestamp,
    /// Whether the source is to be asked.
    pub(crate) asks: bool,
}

/// Looks what there is to do, without asking anybody.
pub(crate) async fn look(context: &Context, input: &PullStep) -> Result<Found, Failure> {
    let connection = context.db.connection(input.connection_id).await?;
    let base = parse_base(&connection.base_url)?;
    let mut found = Found {
        named: named(context, input, &base).await?,
        pull: context.db.pull(input.pull_id).await?,
        now: Timestamp::now(),
        asks: false,
    };
    let known = context.db.open_attachments(input.connection_id).await?;
    found.asks = !found.plan(context, known).asks.is_empty();
    Ok(found)
}

/// What is to be done, by whether somebody is to be asked.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) asks: Vec<Ask>,
    /// What becomes of these without asking, and why.
    pub(crate) decided: Vec<(Ask, AttachmentState, &'static str)>,
    /// What stays as it is known.
    pub(crate) stay: AttachmentCounts,
}

impl Found {
    pub(crate) fn plan(&self, context: &Context, known: Vec<OpenAttachment>) -> Plan {
        let rules = Rules {
            limits: &context.limits.attachments,
            pull: &self.pull,
            now: self.now,
        };
        let mut known: BTreeMap<String, OpenAttachment> = known
            .into_iter()
            .map(|known| (known.url.clone(), known))
            .collect();
        let mut plan = Plan::default();
        for (url, named) in &self.named {
            plan.add(&rules, url.clone(), Some(named.clone()), known.remove(url));
        }
        for (url, known) in known {
            plan.add(&rules, url, None, Some(known));
        }
        plan
    }
}

impl Plan {
    fn add(
        &mut self,
        rules: &Rules<'_>,
        url: String,
        named: Option<Named>,
        known: Option<OpenAttachment>,
    ) {
        let duty = rules.duty(named.as_ref(), known.as_ref());
        let id = known
            .as_ref()
            .map_or_else(AttachmentId::new, |known| known.of.id);
        let ask = Ask {
            url,
            named,
            known,
            id,
        };
        match duty {
            Duty::Ask => self.asks.push(ask),
            Duty::Decide(state, code) => self.decided.push((ask, state, code)),
            Duty::Stay(state) => self.stay.count(state),
            Duty::Done | Duty::Pass => {}
        }
    }
}
