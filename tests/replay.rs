//! Every detector on every recording in the repository, at every moment of it: one test per recording, no cluster.
//!
//! The recordings are those that `rekindle record` wrote. A broken scenario has to be diagnosed as it expects by the moment at which its run
//! took its diagnosis, as early as it claims, and never otherwise; a healthy twin and a remedied release have to stay undiagnosed. Of a live
//! state there is what one look saw, which has one moment.

mod less;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial as Test};
use rekindle::diagnosis::detectors::DETECTORS;
use rekindle::diagnosis::moments::Course;
use rekindle::diagnosis::{Diagnosis, diagnose};
use rekindle::evidence::names::stays;
use rekindle::evidence::{Evidence, Fact, Names, Recording, Timeline, left};
use rekindle::outcome::{ExpectedCause, Profile, Variant, Verdict, judge};
use rekindle::replay::Replay;
use rekindle::run::{self, Options};
use rekindle::scenario::{self, Knowable, Scenario, State};
use rekindle::trial::Recordings;

const SCENARIOS: &str = "scenarios";
const STATES: &str = "tests/states";
/// What all recordings together may weigh in the repository.
const BYTES: u64 = 30 << 20;

type Tested = Result<(), Failed>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios = match scenario::load_all(Path::new(SCENARIOS)) {
        Ok(scenarios) => Arc::new(scenarios),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let states = match scenario::load_states(Path::new(STATES)) {
        Ok(states) => states,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let files = files(&scenarios);
    let mut tests: Vec<Test> = files
        .iter()
        .map(|file| {
            let (file, scenarios) = (file.clone(), scenarios.clone());
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Test::test(name, move || replays(&file, &scenarios))
        })
        .collect();
    // Before the first recording is made there is nothing to be complete; that is shown as ignored, and not as passed.
    let none = files.is_empty();
    let (known, all) = (files.clone(), scenarios);
    tests.push(Test::test("every_trial_is_recorded", move || complete(&known, &all)).with_ignored_flag(none));
    tests.push(Test::test("recordings_stay_small", move || small(&files)).with_ignored_flag(none));
    tests.extend(states.into_iter().map(|state| {
        // One that was not recorded yet is shown as ignored, and not as passed.
        let recorded = state.recording().is_file();
        Test::test(format!("states::{state}"), move || looks_at(&state)).with_ignored_flag(!recorded)
    }));
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Every recording beside a scenario, sorted.
fn files(scenarios: &[Scenario]) -> Vec<PathBuf> {
    let folders: BTreeSet<PathBuf> = scenarios.iter().map(|scenario| scenario.folder.join("recordings")).collect();
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// There is a recording of each trial, and none of something else.
fn complete(files: &[PathBuf], scenarios: &[Scenario]) -> Tested {
    let options = Options::new(scenarios.to_vec(), Profile::Fast, rekindle::toolchain::Options::new("", ""));
    let wanted: BTreeSet<PathBuf> = run::trials(&options)
        .iter()
        .map(|trial| Recordings::BesideScenarios.file(trial))
        .collect();
    let there: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let list = |files: Vec<&PathBuf>| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = wanted.difference(&there).collect();
    if !missing.is_empty() {
        return Err(format!("not recorded: {}; run `rekindle record` and commit what it writes", list(missing)).into());
    }
    let foreign: Vec<_> = there.difference(&wanted).collect();
    if !foreign.is_empty() {
        return Err(format!("no trial has these recordings: {}; remove them", list(foreign)).into());
    }
    Ok(())
}

fn small(files: &[PathBuf]) -> Tested {
    let bytes: u64 = files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
    if bytes > BYTES {
        return Err(format!("all recordings together have {bytes} bytes, more than {BYTES}").into());
    }
    Ok(())
}

/// What one look saw of a live state.
fn looks_at(state: &State) -> Tested {
    let recording = Recording::read(&state.recording())?;
    let timeline = Timeline {
        header: recording.header().clone(),
        entries: recording.entries,
    };
    renamed(timeline.clone())?;
    let diagnosis = diagnose(&Evidence::of(&timeline));
    let found: Vec<&str> = diagnosis.causes.iter().map(|cause| cause.slug.as_str()).collect();
    if found == state.expects {
        return Ok(());
    }
    Err(wrong("the end of the look", &diagnosis).into())
}

/// One recording at every moment.
fn replays(file: &Path, scenarios: &[Scenario]) -> Tested {
    let recording = Recording::read(file)?;
    let trial = recording.preamble.trial.as_ref().ok_or("it does not say of which trial it is")?;
    let name = format!("{}--{}--{}.rekindle", trial.scenario, trial.engine, trial.variant);
    if file.file_name().is_none_or(|file| file != name.as_str()) {
        return Err(format!("it is a recording of {trial}, and belongs into {name}").into());
    }
    let scenario = scenarios
        .iter()
        .find(|scenario| scenario.id == trial.scenario)
        .ok_or_else(|| format!("there is no scenario {}", trial.scenario))?;
    let ending = recording.ending.as_ref().ok_or("it has no end")?;
    let is_twin = trial.variant == Variant::Twin.to_string();
    let fixed = !is_twin && scenario.fixed_upstream.contains_key(&trial.engine);
    let verdict = if fixed { Verdict::FixedUpstream } else { Verdict::Pass };
    if ending.verdict.as_deref() != Some(verdict.as_str()) {
        return Err(format!(
            "its trial ended with {:?}, and only one that passed is worth keeping",
            ending.verdict
        )
        .into());
    }
    let replay = Replay {
        recording: &recording,
        detectors: DETECTORS,
    };
    let concluded = replay.prefix(None)?;
    let expected: &[ExpectedCause] = if is_twin || fixed { &[] } else { &scenario.causes };
    // Only until the cause is the expected one: then what was done about it has been seen.
    let before: &[ExpectedCause] = if is_twin || fixed { &[] } else { &scenario.before };

    let mut course = Course::new(recording.header().clone(), DETECTORS, recording.header().observed_at);
    let (mut right_since, mut gave_up, mut remedy, mut mended) = (None, None, false, false);
    for (index, entry) in recording.entries.iter().enumerate() {
        course.take(std::slice::from_ref(entry), || entry.at);
        let diagnosis = course.latest();
        for cause in &diagnosis.causes {
            let same = |expected: &ExpectedCause| {
                expected.slug == cause.slug
                    && expected
                        .subject
                        .as_ref()
                        .is_none_or(|subject| *subject == cause.subject.to_string())
            };
            let of_before = right_since.is_none() && !remedy && before.iter().any(same);
            if !expected.iter().any(same) && !of_before {
                return Err(wrong(&format!("entry {}, at {}", index + 1, entry.at), diagnosis).into());
            }
        }
        match entry.fact {
            // What was there before an upgrade was installed with success.
            Fact::EngineEnded { exit_code } if exit_code != Some(0) && gave_up.is_none() => gave_up = Some(index),
            Fact::RemedyStarted { .. } => remedy = true,
            _ => {}
        }
        if remedy {
            if mended && !diagnosis.causes.is_empty() {
                return Err(wrong(
                    &format!("entry {}, at {}, when it had been mended,", index + 1, entry.at),
                    diagnosis,
                )
                .into());
            }
            mended |= diagnosis.causes.is_empty();
        } else {
            let right = judge::exactly(expected, diagnosis);
            right_since = right.then(|| right_since.unwrap_or(index));
        }
        if index + 1 == concluded.entries {
            if !judge::exactly(expected, diagnosis) {
                return Err(wrong("the moment at which its run took its diagnosis", diagnosis).into());
            }
            left_behind(course.evidence(), expected, &scenario.id)?;
            let timeline = Timeline {
                header: recording.header().clone(),
                entries: recording.entries[..=index].to_vec(),
            };
            renamed(timeline.clone())?;
            let redacted = diagnose(&Evidence::of(&timeline.redacted([3; 32])));
            if !judge::exactly(expected, &redacted) {
                return Err(wrong("the same moment, redacted once more,", &redacted).into());
            }
        }
    }
    if !expected.is_empty() {
        if remedy && !course.latest().causes.is_empty() {
            return Err(wrong("its end, after the remedy", course.latest()).into());
        }
        let early = right_since.zip(gave_up).is_some_and(|(right, gave_up)| right < gave_up);
        if scenario.knowable(&trial.engine) == Knowable::Early && !early {
            return Err("the right diagnosis came only after the engine had given up".into());
        }
    }
    Ok(())
}

/// With other names the causes are the same, as certain as before, and no name is left.
fn renamed(timeline: Timeline) -> Tested {
    let kinds = |diagnosis: &Diagnosis| {
        let causes = diagnosis.causes.iter().chain(&diagnosis.suspected);
        let mut kinds: Vec<_> = causes.map(|cause| (cause.slug.clone(), cause.certainty)).collect();
        kinds.sort();
        kinds
    };
    let before = diagnose(&Evidence::of(&timeline));
    let mut own = BTreeSet::from([timeline.header.namespace.clone()]);
    for entry in &timeline.entries {
        if let Fact::Object { object, .. } = &entry.fact {
            let names = ["/metadata/name", "/metadata/namespace"]
                .iter()
                .filter_map(|name| object.pointer(name)?.as_str());
            // An event is called after its object, and a number.
            own.extend(names.filter(|name| !name.contains(':')).map(|name| match object["kind"].as_str() {
                Some("Event") => name.rsplit_once('.').map_or(name, |(name, _)| name).to_owned(),
                _ => name.to_owned(),
            }));
        }
    }
    let names = Names::of([&timeline]);
    let timeline = names.timeline(timeline);
    let after = diagnose(&Evidence::of(&timeline));
    if kinds(&before) != kinds(&after) {
        return Err(format!("with other names it is {:?} and not {:?}", kinds(&after), kinds(&before)).into());
    }
    let text = serde_json::to_string(&timeline)? + &serde_json::to_string(&after)?;
    let word = |at: usize, length: usize| {
        let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        !letter(at.checked_sub(1).and_then(|at| text.as_bytes().get(at))) && !letter(text.as_bytes().get(at + length))
    };
    for name in own.iter().filter(|name| !stays(name)) {
        if let Some((at, _)) = text.match_indices(name.as_str()).find(|(at, _)| word(*at, name.len())) {
            let (from, to) = (
                text.floor_char_boundary(at.saturating_sub(80)),
                text.ceil_char_boundary((at + 80).min(text.len())),
            );
            return Err(format!("{name} is still there: …{}…", &text[from..to]).into());
        }
    }
    Ok(())
}

/// Whoever comes at that moment and has watched nothing is told the same; less only where it is known what is missing, and never something
/// else. What went before may leave only that which it led to, such as the loop that a scenario is about.
fn left_behind(evidence: &Evidence, expected: &[ExpectedCause], scenario: &str) -> Tested {
    let look = rekindle::look::of(left(evidence));
    if judge::exactly(expected, &look.diagnosis) {
        return Ok(());
    }
    if less::is_known(scenario, expected, &look.diagnosis) {
        return Ok(());
    }
    Err(wrong("one look at what is left", &look.diagnosis).into())
}

fn wrong(when: &str, diagnosis: &Diagnosis) -> String {
    let causes: Vec<_> = diagnosis
        .causes
        .iter()
        .map(|cause| format!("{} at {}: {}", cause.slug, cause.subject, cause.statement))
        .collect();
    match causes.as_slice() {
        [] => format!("at {when}, no cause is certain"),
        causes => format!("at {when}, certain is {}", causes.join("; ")),
    }
}
