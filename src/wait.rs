//! The only place that waits.
//!
//! Everything that waits has a condition, a deadline, and says what it last saw.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why a wait ended without what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("{what} did not come about within {}s; last seen: {last}", deadline.as_secs_f32())]
    Deadline { what: String, deadline: Duration, last: String },
    #[error("waiting for {what} was interrupted")]
    Interrupted { what: String },
}

/// What one look at the condition saw.
pub enum Seen<T> {
    /// The condition holds.
    Done(T),
    /// Not yet; this is what was seen instead, as it would stand after "last seen:".
    NotYet(String),
}

/// Looks every `interval` until the condition holds.
///
/// # Errors
/// [`WaitError::Deadline`] with what was last seen, [`WaitError::Interrupted`] when the run is cancelled.
pub async fn until<T, F>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    cancel: &CancellationToken,
    mut look: impl FnMut() -> F,
) -> Result<T, WaitError>
where
    F: Future<Output = Seen<T>>,
{
    let end = Instant::now() + deadline;
    let mut last = "nothing yet".to_owned();
    loop {
        let seen = tokio::select! {
            seen = tokio::time::timeout_at(end, look()) => seen,
            () = cancel.cancelled() => return Err(WaitError::Interrupted { what: what.to_owned() }),
        };
        match seen {
            Ok(Seen::Done(value)) => return Ok(value),
            Ok(Seen::NotYet(seen)) => last = seen,
            Err(_) => {
                return Err(WaitError::Deadline {
                    what: what.to_owned(),
                    deadline,
                    last,
                });
            }
        }
        if Instant::now() >= end {
            return Err(WaitError::Deadline {
                what: what.to_owned(),
                deadline,
                last,
            });
        }
        pause(interval.min(end.saturating_duration_since(Instant::now())), cancel).await;
    }
}

/// Lets time pass that is itself what is measured (a stability window, a documented duration); ends early when the run is cancelled.
#[allow(clippy::disallowed_methods, reason = "the one place where time may pass by itself")]
pub async fn pause(duration: Duration, cancel: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = cancel.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn says_what_it_last_saw() {
        let mut n = 0;
        let error = until::<(), _>(
            "the flood",
            Duration::from_secs(3),
            Duration::from_secs(1),
            &CancellationToken::new(),
            || {
                n += 1;
                let seen = Seen::NotYet(format!("{n} drops"));
                async { seen }
            },
        )
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "the flood did not come about within 3s; last seen: 4 drops");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_ended_too() {
        let error = until::<(), _>(
            "it",
            Duration::from_secs(3),
            Duration::from_secs(1),
            &CancellationToken::new(),
            std::future::pending,
        )
        .await
        .unwrap_err();
        assert!(error.to_string().ends_with("last seen: nothing yet"), "{error}");
    }
}
