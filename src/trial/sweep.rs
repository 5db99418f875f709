//! Removes what trials leave, beside whatever comes next.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// Work that nobody waits for until the end of a run, and that is not interrupted: each removal has a deadline of its own.
#[derive(Clone, Default)]
pub struct Sweeper(Arc<Mutex<JoinSet<Option<String>>>>);

impl Sweeper {
    /// Begins a removal.
    pub fn sweep<E: Display>(&self, removal: impl Future<Output = Result<(), E>> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move { removal.await.err().map(|error| error.to_string()) });
    }

    /// Waits for all that was begun, and tells what failed.
    pub async fn finish(&self) -> Vec<String> {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_waited_for_and_failures_are_told() {
        let sweeper = Sweeper::default();
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        sweeper.sweep(async move { held.await.map_err(|_| "nobody let go") });
        sweeper.sweep(async { Err("it is still there") });
        let finish = sweeper.finish();
        release.send(()).unwrap();
        assert_eq!(finish.await, ["it is still there"]);
        assert!(sweeper.finish().await.is_empty());
    }
}
