//! What lists and reads take from the URL, and the page a list gives back.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Serialize;

use crate::problem::Problem;

/// Entries a page holds unless asked otherwise.
const LIMIT_DEFAULT: u32 = 50;
/// Entries a page holds at most: a page is made in memory.
const LIMIT_MAX: u32 = 200;

/// `?limit=&before=`: the entries before `before`, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List<I> {
    limit: u32,
    pub(crate) before: Option<I>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    data: Vec<T>,
    has_more: bool,
    /// What to give as `before` for the next page.
    next_before: Option<String>,
}

impl<I> List<I> {
    /// One more than the page takes: whether there is more shows by that.
    pub(crate) fn asked(&self) -> u32 {
        self.limit + 1
    }

    /// The page out of `rows`, of which there are at most [`Self::asked`].
    pub(crate) fn page<R, T>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> String) -> Page<T>
    where
        T: From<R>,
    {
        let limit = self.limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_before = rows.last().filter(|_| has_more).map(id);
        Page {
            data: rows.into_iter().map(T::from).collect(),
            has_more,
            next_before,
        }
    }
}

impl<I: FromStr<Err: Display>> List<I> {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut list = Self {
            limit: LIMIT_DEFAULT,
            before: None,
        };
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(format!("`{name}` is given twice.")));
            }
            match name.as_str() {
                "limit" => list.limit = limit(value)?,
                "before" => list.before = Some(id("before", value)?),
                _ => {
                    let name: String = name.chars().take(64).collect();
                    let detail = format!(
                        "There is no parameter `{name}`; a list takes `limit` and `before`."
                    );
                    return Err(Problem::parameter(detail));
                }
            }
        }
        Ok(list)
    }
}

fn limit(value: &str) -> Result<u32, Problem> {
    let parsed = value
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
    parsed.ok_or_else(|| {
        Problem::parameter(format!("`limit` is a whole number from 1 to {LIMIT_MAX}."))
    })
}

fn id<I: FromStr<Err: Display>>(name: &str, value: &str) -> Result<I, Problem> {
    value
        .parse()
        .map_err(|error| Problem::parameter(format!("`{name}`: {error}.")))
}

impl<S: Sync, I: FromStr<Err: Display>> FromRequestParts<S> for List<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        Self::parse(
            &pairs
                .map_err(|_| Problem::parameter("The query cannot be read."))?
                .0,
        )
    }
}

/// The id at the end of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<I>(pub(crate) I);

impl<S: Send + Sync, I: FromStr<Err: Display>> FromRequestParts<S> for Id<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path(text) =
            text.map_err(|_| Problem::parameter("The id in the path is not UTF-8 text."))?;
        id("id", &text).map(Self)
    }
}
