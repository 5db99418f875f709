//! Ends the timeline of a trial: the diagnosis that is reported, and the recording that gives it again.

use std::path::PathBuf;

use super::Trial;
use super::stage::Stage;
use crate::diagnosis::{Detector, Diagnosis};
use crate::evidence::recording::{Conclusion, EXTENSION, Ending, Preamble, RecordedTrial};
use crate::evidence::{Header, Recording, Timeline};
use crate::outcome::{Outcome, Profile, RecordingReport};
use crate::replay::Replay;

/// Where trials are recorded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recordings {
    /// Each trial into a file of this folder, however it ended.
    Folder(PathBuf),
    /// Into the folder of its scenario, if it passed.
    BesideScenarios,
}

impl Recordings {
    /// The file of a trial: `<scenario>--<engine>--<variant>.rekindle`, and `--faithful` before the ending in that profile.
    pub fn file(&self, trial: &Trial<'_>) -> PathBuf {
        let id = &trial.id;
        let profile = match id.profile {
            Profile::Fast => "",
            Profile::Faithful => "--faithful",
        };
        let name = format!("{}--{}--{}{profile}.{EXTENSION}", id.scenario, id.engine, id.variant);
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::BesideScenarios => trial.scenario.folder.join("recordings").join(name),
        }
    }

    fn wants(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::BesideScenarios => outcome.verdict.passed(),
        }
    }
}

/// Puts the diagnosis into the outcome as it may be told, and writes the recording where one is wanted.
pub async fn conclude(stage: &Stage<'_>, outcome: &mut Outcome) {
    let concluded = stage.watch.concluded();
    if let Some(concluded) = &concluded {
        outcome.diagnosis = concluded.diagnosis.clone();
    }
    let Some(recordings) = stage.ground.recordings.as_ref().filter(|recordings| recordings.wants(outcome)) else {
        return;
    };
    let file = recordings.file(stage.trial);
    let timeline = stage.recorder.timeline();
    let preamble = preamble(outcome, timeline.header.clone());
    let work = Work {
        file: file.clone(),
        preamble,
        timeline,
        verdict: outcome.verdict.to_string(),
        concluded: concluded.map(|moment| (moment.entries, moment.diagnosis)),
        detectors: stage.trial.detectors,
    };
    // It takes a few hundredths of a second, in which other trials want to look.
    let written = tokio::task::spawn_blocking(move || work.carry_out()).await;
    let failure = match written {
        Ok(Ok(diagnosis)) => {
            outcome.diagnosis = diagnosis.unwrap_or_else(|| outcome.diagnosis.clone());
            None
        }
        Ok(Err(reason)) => Some(reason),
        Err(error) => Some(error.to_string()),
    };
    outcome.recording = Some(RecordingReport { file, failure });
}

/// What the recording of a trial begins with.
pub fn preamble(outcome: &Outcome, header: Header) -> Preamble {
    let id = &outcome.trial;
    let mut preamble = Preamble::new(header);
    preamble.engines.insert(id.engine.clone(), outcome.engine_version.clone());
    preamble.trial = Some(RecordedTrial {
        scenario: id.scenario.clone(),
        engine: id.engine.clone(),
        variant: id.variant.to_string(),
        profile: id.profile.to_string(),
    });
    preamble
}

struct Work {
    file: PathBuf,
    preamble: Preamble,
    timeline: Timeline,
    verdict: String,
    /// How many entries the diagnosis rests on, and what it was.
    concluded: Option<(usize, Diagnosis)>,
    detectors: &'static [&'static Detector],
}

impl Work {
    /// Writes the recording, and makes sure that it gives the diagnosis again. Returns that diagnosis, if there was one.
    fn carry_out(self) -> Result<Option<Diagnosis>, String> {
        let Self { file, detectors, .. } = self;
        let mut recording = Recording {
            preamble: self.preamble,
            entries: self.timeline.entries,
            ending: None,
        };
        let diagnose = |recording: &Recording, entries| Replay { recording, detectors }.diagnosis(entries);
        // Said anew: what was learnt of Secrets in the last moments is out of the timeline, and may still be in what was said live.
        let concluded = self.concluded.map(|(entries, live)| (entries, live, diagnose(&recording, entries)));
        let conclusion = |(entries, _, diagnosis): &(usize, Diagnosis, Diagnosis)| {
            let diagnosis = serde_json::to_value(diagnosis).map_err(|error| error.to_string())?;
            Ok::<_, String>(Conclusion {
                entries: *entries,
                diagnosis,
            })
        };
        recording.ending = Some(Ending {
            entries: recording.entries.len(),
            verdict: Some(self.verdict),
            conclusion: concluded.as_ref().map(conclusion).transpose()?,
        });
        recording.write(&file).map_err(|error| error.to_string())?;

        let read = Recording::read(&file).map_err(|error| error.to_string())?;
        let bug = |what: &str| Err(format!("{} {what}; that is a bug in rekindle, please report it", file.display()));
        if read != recording {
            return bug("does not hold all that was recorded");
        }
        match concluded {
            Some((_, live, diagnosis)) if live.identity() != diagnosis.identity() => bug("gives another diagnosis than the run"),
            Some((entries, _, diagnosis)) if diagnose(&read, entries) != diagnosis => bug("does not give its diagnosis again"),
            Some((_, _, diagnosis)) => Ok(Some(diagnosis)),
            None => Ok(None),
        }
    }
}
