//! `?wait=`: an answer that waits until a run has ended, or for so long.

use std::future::Future;
use std::time::Duration;

use model::RunState;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::problem::Problem;

/// The longest wait.
const WAIT_MAX_SECS: u32 = 30;
/// How often the database is asked meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// How long to wait for a run's end.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// Answer when the run has ended, or after so many seconds.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u32>,
}

impl Wait {
    /// Reads until the state that `read` gives is final, or the time is over.
    /// Returns what was read last.
    pub(crate) async fn until_ended<T, F>(self, mut read: impl FnMut() -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<(RunState, T), Problem>>,
    {
        let secs = self.wait.unwrap_or(0);
        if secs > WAIT_MAX_SECS {
            let detail = format!("`wait` is a whole number of seconds from 0 to {WAIT_MAX_SECS}.");
            return Err(Problem::parameter(detail));
        }
        let until = Instant::now() + Duration::from_secs(secs.into());
        loop {
            let (state, view) = read().await?;
            if state.is_final() || Instant::now() >= until {
                return Ok(view);
            }
            tokio::time::sleep_until(until.min(Instant::now() + LOOK)).await;
        }
    }
}
