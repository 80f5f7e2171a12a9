//! What a source is to bear.

use std::str::FromStr;

use api::views::SourceView;
use clap::Args;
use db::SourceLimits;

/// What a source is to bear.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// How often it may be asked a second, by all workers together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    requests_per_second: Option<u32>,
    /// How many requests may wait for its answer, of all workers together [default: as
    /// many as its share of the workers' slots makes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    concurrent_requests: Option<u32>,
    /// How many of its pulls may be at work at the same time [default: a few more than
    /// keep its share busy]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    concurrent_pulls: Option<u32>,
}

impl From<LimitArguments> for SourceLimits {
    fn from(given: LimitArguments) -> Self {
        Self {
            requests_per_second: given.requests_per_second,
            concurrent_requests: given.concurrent_requests,
            concurrent_pulls: given.concurrent_pulls,
        }
    }
}

/// A limit, or that there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) Option<u32>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        match given.parse() {
            Ok(limit @ 1..=1000) => Ok(Self(Some(limit))),
            _ if given == "none" => Ok(Self(None)),
            _ => Err("use 1 to 1000, or none"),
        }
    }
}

/// How often a source is asked a second, and may be, for a person.
pub(crate) fn rate_of(source: &SourceView) -> String {
    let now = source.effective_requests_per_second;
    match (now, source.requests_per_second) {
        (Some(now), Some(most)) if now < f64::from(most) => format!("{now}/s of {most}/s"),
        (Some(now), _) => format!("{now}/s"),
        (None, _) => "-".to_owned(),
    }
}
