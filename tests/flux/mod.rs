//! The two helm-controllers, each in the other's place: what is documented of an engine has to be that of its version, and not of its name.

use libtest_mimic::Failed;
use rekindle::cli::interrupt::Interrupt;
use rekindle::events::Events;
use rekindle::outcome::{Variant, Verdict};
use rekindle::run::{self, Options};
use rekindle::toolchain;
use tokio::runtime::Runtime;

const SCENARIO: &str = "ttl-deleted-job";
/// The trials of others would see other controllers, so it has a cluster of its own.
const CLUSTER: &str = "rekindle-switched";

/// The older breaks where the newer is said to have mended it, and the newer does not break where the older is said to.
pub fn switched_controllers(options: &Options) -> Result<(), Failed> {
    let images = [("flux-2.7", "flux-2.9"), ("flux-2.9", "flux-2.7")]
        .map(|(engine, other)| Some((engine.to_owned(), toolchain::controller_image(other)?)))
        .into_iter()
        .collect::<Option<_>>()
        .ok_or("an engine has no controller")?;
    let mut scenarios = options.scenarios.clone();
    scenarios.retain(|scenario| scenario.id == SCENARIO);
    for scenario in &mut scenarios {
        scenario.twin = None;
    }
    let switched = Options {
        scenarios,
        engines: ["flux-2.7", "flux-2.9"].map(str::to_owned).into(),
        cluster: Some(CLUSTER.to_owned()),
        park: false,
        toolchain: toolchain::Options {
            flux_images: images,
            ..options.toolchain.clone()
        },
        ..options.clone()
    };
    let runtime = Runtime::new()?;
    let report = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        run::run(&switched, &Events::silent(), &interrupt.cancel)
            .await
            .map_err(|none| Failed::from(none.error.to_string()))
    })?;
    let verdict = |engine: &str| {
        let of = |variant| move |outcome: &&rekindle::outcome::Outcome| outcome.trial.engine == engine && outcome.trial.variant == variant;
        report
            .outcomes
            .iter()
            .find(of(Variant::Broken))
            .map(|outcome| (outcome.verdict, outcome.sentence.clone()))
    };
    for (engine, expected) in [("flux-2.7", Verdict::NotReproduced), ("flux-2.9", Verdict::WrongFailure)] {
        let (found, sentence) = verdict(engine).ok_or("a trial is missing")?;
        if found != expected {
            return Err(format!("{engine} with the other's controller: {found} instead of {expected}: {sentence}").into());
        }
    }
    Ok(())
}
