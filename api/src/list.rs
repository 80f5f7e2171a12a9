//! Lists: what they take from the URL, and the page they give back. A cursor says
//! where the page before ended; entries added meanwhile do not shift it.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Entries a page holds unless asked otherwise.
const LIMIT_DEFAULT: u32 = 50;
/// Entries a page holds at most: a page is made in memory.
pub(crate) const LIMIT_MAX: u32 = 200;
/// What a cursor begins with: others can follow. Then come the digits of the id.
const CURSOR_KIND: &str = "1-";

/// A page asked for: the entries before `before`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked<I> {
    limit: u32,
    pub(crate) before: Option<I>,
}

/// A page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The entries.
    pub(crate) data: Vec<T>,
    /// Whether there are more.
    pub(crate) has_more: bool,
    /// What to give as `cursor` for the next page.
    pub(crate) next_cursor: Option<String>,
    /// The parameters that stay the same from page to page, each before a `&`.
    #[serde(skip)]
    same: String,
}

impl<I: FromStr<Err: Display>> Asked<I> {
    /// Reads the parameters `limit` and `cursor` of a list whose ids begin with
    /// `prefix`.
    pub(crate) fn new(
        limit: Option<u32>,
        cursor: Option<&str>,
        prefix: &str,
    ) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("`limit` is a whole number from 1 to {LIMIT_MAX}.");
            return Err(Problem::parameter(detail));
        }
        let before = cursor.map(|cursor| {
            let id = cursor
                .strip_prefix(CURSOR_KIND)
                .and_then(|hex| format!("{prefix}{hex}").parse().ok());
            id.ok_or_else(|| {
                Problem::parameter(
                    "`cursor` is not one of this list's: give the `next_cursor` of the page before.",
                )
            })
        });
        Ok(Self {
            limit,
            before: before.transpose()?,
        })
    }

    /// One more than the page takes: whether there is more shows by that.
    pub(crate) fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// The page out of `rows`, of which there are at most [`Self::rows`].
    pub(crate) fn page<R, T>(&self, mut rows: Vec<R>, id: impl Fn(&R) -> String) -> Page<T>
    where
        T: From<R>,
    {
        let limit = self.limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(id);
        Page {
            data: rows.into_iter().map(T::from).collect(),
            has_more,
            next_cursor: next.map(|id| {
                let digits = id.rsplit('_').next().unwrap_or_default();
                format!("{CURSOR_KIND}{digits}")
            }),
            same: format!("limit={limit}&"),
        }
    }
}

impl<T> Page<T> {
    /// The page of a list that was narrowed by a parameter.
    pub(crate) fn narrowed(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.same.push_str(&format!("{name}={value}&"));
        }
        self
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let link = self
            .next_cursor
            .as_ref()
            .map(|cursor| format!("<?{}cursor={cursor}>; rel=\"next\"", self.same));
        let mut response = Json(self).into_response();
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}
