//! Live trials on a real cluster: one per scenario × engine × variant, the mutants that show that a verdict can also be another, and the
//! states that are only looked at.
//!
//! `--list` needs no cluster. The cluster is made when the first trial needs it, and removed when the last has ended.

mod flux;
mod looks;
mod mutants;
mod states;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial as Test};
use looks::Looks;
use rekindle::cli::Dirs;
use rekindle::cli::interrupt::Interrupt;
use rekindle::events::Events;
use rekindle::outcome::{Outcome, Profile, Variant, Verdict};
use rekindle::report::chain;
use rekindle::report::human::{Mode, Reporter};
use rekindle::report::text::Paint;
use rekindle::run::{self, Options, Standing};
use rekindle::scenario::{self, State};
use rekindle::trial::{Onlooker, Recordings, Trial};
use tokio::runtime::Runtime;

const SCENARIOS: &str = "scenarios";
const RECORDINGS: &str = "target/recordings";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let options = match options(Path::new(SCENARIOS)) {
        Ok(options) => Arc::new(options),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    arguments.test_threads = arguments.test_threads.or_else(|| Some(run::jobs(&options)));
    let states = match scenario::load_states(Path::new(states::STATES)) {
        Ok(states) => states,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let stage = Arc::new(Stage::default());
    let mut tests: Vec<Test> = run::trials(&options)
        .into_iter()
        .map(|trial| {
            let (id, options, stage) = (trial.id, options.clone(), stage.clone());
            let fixed = id.variant == Variant::Broken && trial.scenario.fixed_upstream.contains_key(&id.engine);
            let expected = if fixed { Verdict::FixedUpstream } else { Verdict::Pass };
            Test::test(id.to_string(), move || {
                let trials = run::trials(&options);
                let mut trial = trials.into_iter().find(|trial| trial.id == id).ok_or("it is gone")?;
                let shared = stage.shared(&options)?;
                trial.onlooker = shared.looks.as_ref().map(|looks| looks as &dyn Onlooker);
                judge(&stage.carry_out(&options, &trial, true)?, expected)?;
                match shared.looks.as_ref().map(|looks| looks.wrong(&id.to_string())) {
                    Some(wrong) if !wrong.is_empty() => Err(wrong.join("\n").into()),
                    _ => Ok(()),
                }
            })
        })
        .collect();
    tests.extend(mutants::ALL.iter().map(|mutant| {
        let (options, stage) = (options.clone(), stage.clone());
        Test::test(format!("mutants::{}", mutant.name), move || {
            let folder = tempfile::tempdir()?;
            let scenario = mutant.scenario(Path::new(SCENARIOS), folder.path())?;
            let trial = mutant.trial(&scenario);
            // That a mutant fails is what is wanted: its progress would read as trouble.
            judge(&stage.carry_out(&options, &trial, false)?, mutant.verdict)
        })
    }));
    tests.extend(states.into_iter().map(|state| {
        let (options, stage) = (options.clone(), stage.clone());
        Test::test(format!("states::{state}"), move || stage.show(&options, &state))
    }));
    tests.push(Test::test("flux::switched-controllers", {
        let options = options.clone();
        move || flux::switched_controllers(&options)
    }));
    let conclusion = libtest_mimic::run(&arguments, tests);
    let clean = stage.clear(&options);
    if conclusion.has_failed() || !clean {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn options(folder: &Path) -> Result<Options, String> {
    let dirs = Dirs::from_environment().map_err(|error| error.to_string())?;
    let scenarios = scenario::load_all(folder).map_err(|error| error.to_string())?;
    let toolchain = rekindle::toolchain::Options::new(dirs.cache, dirs.state);
    Ok(Options {
        park: !dirs.ci,
        // Of a trial that failed, what it saw is what its cause is found by.
        recordings: Some(Recordings::Folder(RECORDINGS.into())),
        ..Options::new(scenarios, Profile::Fast, toolchain)
    })
}

fn judge(outcome: &Outcome, expected: Verdict) -> Result<(), Failed> {
    if outcome.verdict == expected {
        return Ok(());
    }
    let mut words = format!(
        "{} instead of {expected}: {}\n{}\n",
        outcome.verdict, outcome.sentence, outcome.engine_words
    );
    if let Some(recording) = &outcome.recording {
        words.push_str(&format!("recording: {}\n", recording.file.display()));
    }
    words.push_str(&chain::diagnosis(&outcome.diagnosis, chain::Timing::default(), 100, Paint(false)));
    Err(words.into())
}

/// The cluster and the runtime that all trials share.
#[derive(Default)]
struct Stage {
    runtime: OnceLock<Runtime>,
    standing: Mutex<Option<Result<Arc<Shared>, String>>>,
}

struct Shared {
    standing: Standing,
    looks: Option<Looks>,
    interrupt: Interrupt,
    reporter: Reporter,
}

impl Stage {
    fn runtime(&self) -> &Runtime {
        self.runtime.get_or_init(|| Runtime::new().expect("a runtime starts"))
    }

    fn shared(&self, options: &Options) -> Result<Arc<Shared>, Failed> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = standing.get_or_insert_with(|| {
            self.runtime().block_on(async {
                let (events, receiver) = Events::channel();
                let reporter = Reporter::start(receiver, Mode::Plain, Paint(false));
                let interrupt = Interrupt::listen().map_err(|error| error.to_string())?;
                let standing = run::stand(options, &events, &interrupt.cancel)
                    .await
                    .map_err(|error| error.to_string())?;
                let looks = Looks::wanted(&standing.tools.kubectl);
                Ok(Arc::new(Shared {
                    standing,
                    looks,
                    interrupt,
                    reporter,
                }))
            })
        });
        shared.clone().map_err(Failed::from)
    }

    fn carry_out(&self, options: &Options, trial: &Trial<'_>, told: bool) -> Result<Outcome, Failed> {
        let shared = self.shared(options)?;
        let events = if told {
            shared.standing.ground.events.clone()
        } else {
            Events::silent()
        };
        let carried_out = shared.standing.carry_out(trial, &events, &shared.interrupt.cancel);
        Ok(self.runtime().block_on(carried_out))
    }

    /// Sets a live state up, and judges what is said of it.
    fn show(&self, options: &Options, state: &State) -> Result<(), Failed> {
        let shared = self.shared(options)?;
        let (standing, cancel) = (&shared.standing, &shared.interrupt.cancel);
        let judged = standing.show(state, cancel, async |live| {
            states::judge(state, live, &standing.ground.kubeconfig, cancel).await
        });
        self.runtime().block_on(judged)?
    }

    /// Removes the cluster; whether nothing is left.
    fn clear(&self, options: &Options) -> bool {
        let shared = self.standing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ok(shared)) = shared else { return true };
        let Some(shared) = Arc::into_inner(shared) else {
            eprintln!("error: a trial still holds the cluster");
            return false;
        };
        if let Some(looks) = &shared.looks {
            println!("{}", looks.table());
        }
        let events = shared.standing.ground.events.clone();
        let failures = self.runtime().block_on(async {
            let cleared = shared.standing.clear(options, &events).await;
            drop(events);
            shared.reporter.finish().await;
            cleared.failures
        });
        failures.iter().for_each(|failure| eprintln!("error: {failure}"));
        failures.is_empty()
    }
}
