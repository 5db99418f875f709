//! Takes in what an export holds, piece by piece, before any of it is noted: a value that tells by itself that it may not be kept is taken
//! out at once, and one of which only another piece tells so when everything has come in.

use std::fmt;

use serde_json::Value;

use super::model::{Change, Fact};
use super::recorder::taken;
use super::redact::Redactor;

/// What is learnt of pieces that come in one after the other. It comes to the same as [`super::Recorder::record_objects`] of all of them.
pub struct Intake(Redactor);

impl Intake {
    /// An intake with nothing. `key` is the key of the hashes that stand for Secret values.
    pub fn new(key: [u8; 32]) -> Self {
        let mut redactor = Redactor::new(key);
        redactor.learn_only(true);
        Self(redactor)
    }

    /// An object that is there, and before it what it says if it is a release record. Both have to be [swept](Intake::sweep).
    pub fn object(&mut self, object: Value) -> (Option<Fact>, Fact) {
        taken(&mut self.0, Change::Applied, object)
    }

    /// A fact that is no object, such as the line of a log. It has to be [swept](Intake::sweep).
    pub fn fact(&mut self, fact: &mut Fact) {
        self.0.fact(fact);
    }

    /// Words that are no evidence, as they may leave: with what is known by now.
    pub fn text(&mut self, text: &str) -> String {
        let text = self.0.text(text);
        self.0.search().text(&text).unwrap_or(text)
    }

    /// Takes out of a fact what has turned out to be a Secret's value since it came in. Nothing more may come in by then.
    pub fn sweep(&mut self, fact: &mut Fact) {
        self.0.search().fact(fact);
    }
}

/// What was learnt is nobody's to print.
impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}
