//! Live progress for people, on standard error: a picture that changes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::text::Paint;
use crate::events::Event;

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A picture that changes: for a terminal.
    Live,
    /// A line when something ended: for logs.
    Plain,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// What suits standard error. `dumb`: it is a terminal that cannot move its cursor.
    pub fn detect(quiet: bool, dumb: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Live,
            (false, false) => Self::Plain,
        }
    }
}

/// A reporter at work; it reads events until it is told to finish.
#[derive(Debug)]
pub struct Reporter {
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts to tell what the events say.
    pub fn start(receiver: UnboundedReceiver<Event>, mode: Mode, paint: Paint) -> Self {
        let finish = CancellationToken::new();
        let screen: Box<dyn Screen> = match mode {
            Mode::Live => Box::new(Live::new()),
            Mode::Plain => Box::new(Plain),
            Mode::Quiet => Box::new(Nothing),
        };
        let task = tokio::spawn(watch(receiver, Progress::new(paint), screen, finish.clone()));
        Self { finish, task }
    }

    /// Tells what was sent until now and takes the picture away. Events that somebody sends later are not told.
    pub async fn finish(self) {
        self.finish.cancel();
        // Progress that could not be drawn must not cost a run its result.
        let _ = self.task.await;
    }
}

async fn watch(mut receiver: UnboundedReceiver<Event>, mut progress: Progress, mut screen: Box<dyn Screen>, finish: CancellationToken) {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let event = tokio::select! {
            biased;
            event = receiver.recv() => event,
            () = finish.cancelled() => None,
            _ = tick.tick() => {
                screen.draw(&mut progress, start.elapsed());
                continue;
            }
        };
        let Some(event) = event else { break };
        let lines = progress.take(&event, start.elapsed(), screen.columns());
        screen.print(&lines);
    }
    screen.clear();
}

/// Where lines go.
trait Screen: Send {
    /// The width at which lines are wrapped, where they are.
    fn columns(&self) -> Option<usize>;
    /// Lines that stay.
    fn print(&mut self, lines: &[String]);
    /// A moment passed.
    fn draw(&mut self, progress: &mut Progress, now: Duration);
    /// Takes away what does not stay.
    fn clear(&mut self) {}
}

struct Nothing;

impl Screen for Nothing {
    fn columns(&self) -> Option<usize> {
        None
    }

    fn print(&mut self, _lines: &[String]) {}

    fn draw(&mut self, _progress: &mut Progress, _now: Duration) {}
}

struct Plain;

impl Screen for Plain {
    fn columns(&self) -> Option<usize> {
        None
    }

    fn print(&mut self, lines: &[String]) {
        let mut stderr = std::io::stderr().lock();
        for line in lines {
            // Nobody may be reading; that does not end a run.
            let _ = writeln!(stderr, "{line}");
        }
    }

    fn draw(&mut self, progress: &mut Progress, now: Duration) {
        let lines = progress.still(now);
        self.print(&lines);
    }
}

struct Live {
    multi: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Live {
    fn new() -> Self {
        Self {
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15)),
            bars: Vec::new(),
        }
    }
}

impl Screen for Live {
    fn columns(&self) -> Option<usize> {
        Some(size().0)
    }

    fn print(&mut self, lines: &[String]) {
        for line in lines {
            let _ = self.multi.println(line);
        }
    }

    fn draw(&mut self, progress: &mut Progress, now: Duration) {
        let (columns, rows) = size();
        // The last column stays free: some terminals wrap a line that fills it.
        let lines = progress.live(now, columns.saturating_sub(1), rows);
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        while self.bars.len() < lines.len() {
            let bar = self.multi.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            self.bars.push(bar);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line);
        }
    }

    fn clear(&mut self) {
        let _ = self.multi.clear();
        self.bars.clear();
    }
}

/// Columns and rows of the terminal on standard error.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Events;
    use std::sync::{Arc, Mutex};

    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Screen for Kept {
        fn columns(&self) -> Option<usize> {
            None
        }

        fn print(&mut self, lines: &[String]) {
            self.0.lock().unwrap().extend_from_slice(lines);
        }

        fn draw(&mut self, _progress: &mut Progress, _now: Duration) {}
    }

    #[tokio::test]
    async fn finishing_tells_all_that_was_sent_though_a_sender_lives() {
        let (events, receiver) = Events::channel();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let finish = CancellationToken::new();
        let task = tokio::spawn(watch(
            receiver,
            Progress::new(Paint::PLAIN),
            Box::new(Kept(kept.clone())),
            finish.clone(),
        ));
        for n in 0..100 {
            events.note(format!("note {n}"));
        }
        let reporter = Reporter { finish, task };
        reporter.finish().await;
        events.note("too late");
        assert_eq!(kept.lock().unwrap().len(), 100);
    }
}
