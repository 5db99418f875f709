//! Ctrl-C and SIGTERM: the first ends the run in order, with reports and without clusters left behind; the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::terminal;
use crate::events::Events;
use crate::exit_code::{self, ExitCode};

/// Whether somebody wants an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    pub cancel: CancellationToken,
    /// The exit code of the first signal; 0 before there is one.
    code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Listens for both signals from now on. To be called in the runtime.
    ///
    /// # Errors
    /// Where the system refuses to tell of signals.
    pub fn listen() -> std::io::Result<Self> {
        let interrupt = Self::default();
        for (kind, exit) in [
            (SignalKind::interrupt(), exit_code::INTERRUPTED),
            (SignalKind::terminate(), exit_code::TERMINATED),
        ] {
            let mut signals = signal(kind)?;
            let interrupt = interrupt.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    interrupt.received(exit);
                }
            });
        }
        Ok(interrupt)
    }

    fn received(&self, exit: ExitCode) {
        let first = self.code.compare_exchange(0, exit.code, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !first {
            // The picture of the progress may stand on the line.
            terminal::complain("\nended at once; `rekindle clean` removes what may have been left");
            std::process::exit(i32::from(exit.code));
        }
        self.cancel.cancel();
    }

    /// Says so among the progress, which would draw over a line that came from elsewhere.
    pub fn tell(&self, events: &Events) {
        let (cancel, events) = (self.cancel.clone(), events.clone());
        tokio::spawn(async move {
            cancel.cancelled().await;
            events.note("interrupted: what was made is removed, what is known is reported; once more ends it at once");
        });
    }

    /// The exit code that a signal asks for, if there was one.
    pub fn exit(&self) -> Option<ExitCode> {
        match self.code.load(Ordering::SeqCst) {
            code if code == exit_code::INTERRUPTED.code => Some(exit_code::INTERRUPTED),
            code if code == exit_code::TERMINATED.code => Some(exit_code::TERMINATED),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_cancels_and_sets_the_code() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.exit(), None);
        interrupt.received(exit_code::TERMINATED);
        assert!(interrupt.cancel.is_cancelled());
        assert_eq!(interrupt.exit(), Some(exit_code::TERMINATED));
    }
}
