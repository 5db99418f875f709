//! Slots for trials: how many of them the machine bears at once, also when each is a process of its own.
//!
//! A slot is an `flock` on a file, never a process id: the kernel frees it however its holder ends.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::journal::{JournalError, io};
use super::lock::{Lock, take};
use crate::wait::{Seen, WaitError, until};

/// How long to wait for a slot: every other trial of a large suite may come first.
const TURN: Duration = Duration::from_hours(2);
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error(transparent)]
    File(#[from] JournalError),
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The right to carry out one trial; free again when this is dropped or the process ends.
#[derive(Debug)]
pub struct Slot {
    _held: Lock,
}

impl Slot {
    /// Takes one of so many slots of a state folder, in turn with every other process that uses it.
    ///
    /// # Errors
    /// When none gets free before the deadline, or the folder cannot be used.
    pub async fn take(state: &Path, count: usize, cancel: &CancellationToken) -> Result<Self, SlotError> {
        let folder = state.join("slots");
        std::fs::create_dir_all(&folder).map_err(|source| io("made", &folder, source))?;
        let look = || async {
            for number in 0..count.max(1) {
                match try_take(&folder.join(number.to_string())) {
                    Ok(Some(slot)) => return Seen::Done(Ok(slot)),
                    Ok(None) => {}
                    Err(error) => return Seen::Done(Err(error)),
                }
            }
            Seen::NotYet(format!("all {count} are taken by other trials"))
        };
        Ok(until("a slot for a trial", TURN, LOOK, cancel, look).await??)
    }
}

/// How long a start may be put off: on a machine that is always busy, trials start all the same.
const PUT_OFF: Duration = Duration::from_secs(5);
/// How many processes want to run at once at the most, per core, where one more trial does not make all others late.
const RUNNABLE_PER_CORE: usize = 2;
/// How many looks have to find it so, one after the other.
const CALM: usize = 3;

/// Returns when the machine has time for one more trial, or when it has been put off for long enough. What a trial does first takes several
/// seconds of a processor, and where many begin at the same moment the time runs out for all of them: so one starts at a time, also when each
/// is a process of its own.
///
/// # Errors
/// When the state folder cannot be used.
pub async fn calm(state: &Path, cancel: &CancellationToken) -> Result<(), JournalError> {
    let path = state.join("slots").join("start");
    let look = || async {
        match take(&path, File::try_lock) {
            Ok(Some(lock)) => Seen::Done(Ok(lock)),
            Ok(None) => Seen::NotYet("others start".to_owned()),
            Err(error) => Seen::Done(Err(error)),
        }
    };
    let _turn = match until("the turn to start", TURN, LOOK, cancel, look).await {
        Ok(turn) => turn?,
        // Whoever runs the trial hears of an interruption, too.
        Err(_) => return Ok(()),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let calm = AtomicUsize::new(0);
    let look = || async {
        let runnable = runnable();
        if runnable > cores * RUNNABLE_PER_CORE {
            calm.store(0, Relaxed);
        } else if calm.fetch_add(1, Relaxed) + 1 >= CALM {
            return Seen::Done(());
        }
        Seen::NotYet(format!("{runnable} processes want to run"))
    };
    // Whichever way it ends, the trial starts.
    let _ = until("a machine with time to spare", PUT_OFF, LOOK * 2, cancel, look).await;
    Ok(())
}

/// How many processes run or want to; nothing where the system does not tell.
fn runnable() -> usize {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("procs_running "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn try_take(path: &Path) -> Result<Option<Slot>, JournalError> {
    Ok(take(path, File::try_lock)?.map(|lock| Slot { _held: lock }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_as_there_are_and_no_more() {
        let state = tempfile::tempdir().unwrap();
        let never = CancellationToken::new();
        let first = Slot::take(state.path(), 2, &never).await.unwrap();
        let second = Slot::take(state.path(), 2, &never).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(matches!(
            Slot::take(state.path(), 2, &stop).await,
            Err(SlotError::Wait(WaitError::Interrupted { .. }))
        ));
        let waiting = tokio::spawn({
            let state = state.path().to_owned();
            async move { Slot::take(&state, 2, &CancellationToken::new()).await }
        });
        drop(first);
        waiting.await.unwrap().unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn a_start_is_not_put_off_for_ever() {
        assert!(runnable() > 0, "this test itself runs");
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("slots")).unwrap();
        let started = std::time::Instant::now();
        calm(state.path(), &CancellationToken::new()).await.unwrap();
        assert!(
            started.elapsed() >= LOOK * 2 && started.elapsed() < PUT_OFF * 3,
            "{:?}",
            started.elapsed()
        );
    }

    #[tokio::test]
    async fn the_slot_of_a_dead_process_is_free() {
        let state = tempfile::tempdir().unwrap();
        let slot = state.path().join("slots/0");
        std::fs::create_dir_all(slot.parent().unwrap()).unwrap();
        let cancel = CancellationToken::new();
        let holder = crate::command::Command::new("flock", Duration::from_secs(30))
            .arg(&slot)
            .args(["sleep", "30"]);
        let held = tokio::spawn({
            let cancel = cancel.clone();
            async move { holder.run(&cancel).await }
        });
        until(
            "the other process to take the slot",
            Duration::from_secs(10),
            LOOK,
            &CancellationToken::new(),
            || async {
                match try_take(&slot) {
                    Ok(None) => Seen::Done(()),
                    other => Seen::NotYet(format!("{other:?}")),
                }
            },
        )
        .await
        .unwrap();
        cancel.cancel();
        assert!(held.await.unwrap().is_err());
        Slot::take(state.path(), 1, &CancellationToken::new()).await.unwrap();
    }
}
