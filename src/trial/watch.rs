//! Diagnoses while it happens: after every few facts, what can be said is said anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::diagnosis::moments::{Course, Moment, TOGETHER};
use crate::diagnosis::{Detector, Diagnosis};
use crate::evidence::{Bookmark, Evidence, Recorder};
use crate::wait::pause;

/// The live diagnosis of one trial.
#[derive(Debug)]
pub struct Watch {
    course: Arc<Mutex<Course>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts to look at what the recorder takes in. `on_look` is called after every look.
    pub fn start(
        recorder: Recorder,
        detectors: &'static [&'static Detector],
        mut on_look: impl FnMut(&Evidence, &Diagnosis) + Send + 'static,
    ) -> Self {
        let course = Arc::new(Mutex::new(Course::new(recorder.header(), detectors, Timestamp::now())));
        let shared = course.clone();
        let task = tokio::spawn(async move {
            let never = CancellationToken::new();
            let mut mark = Bookmark::default();
            loop {
                recorder.news().await;
                pause(TOGETHER, &never).await;
                let mut course = lock(&shared);
                let news = recorder.since(&mut mark);
                if news.anew {
                    course.retake(&news.entries, Timestamp::now);
                } else {
                    course.take(&news.entries, Timestamp::now);
                }
                on_look(course.evidence(), course.latest());
            }
        });
        Self { course, task }
    }

    /// Reads the evidence and the diagnosis as they are now.
    pub fn read<T>(&self, read: impl FnOnce(&Evidence, &Diagnosis) -> T) -> T {
        let course = lock(&self.course);
        read(course.evidence(), course.latest())
    }

    /// On how many entries what is said now rests.
    pub fn entries(&self) -> usize {
        lock(&self.course).entries()
    }

    /// All changes of the certain causes so far.
    pub fn moments(&self) -> Vec<Moment> {
        lock(&self.course).moments().to_vec()
    }

    /// The diagnosis as it is now, which is the trial's answer.
    pub fn conclude(&self) -> Diagnosis {
        lock(&self.course).conclude().diagnosis.clone()
    }

    /// The trial's answer, if it came to one. A value that has turned out to be a Secret's since is taken out of it.
    pub fn concluded(&self) -> Option<Moment> {
        lock(&self.course).concluded().cloned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}
