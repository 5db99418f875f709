//! Reads and checks scenario folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::file::{Broken, Fate, Given, GivenRelease, ProfileFile, ScenarioFile, Step, Values};
use super::inequality::Inequality;
use super::{Content, Pace, Scenario, Settings};
use crate::engine::{self, Told};
use crate::outcome::Profile;
use crate::remedy::{Deed, Plan};

/// How long a scenario is looked at after the engine gave up, where it does not say otherwise: the last facts are still on their way.
const OBSERVE: Duration = Duration::from_secs(3);

/// The shortest time for which a Kustomization waits, whatever its `timeout` says (kustomize-controller, `GetTimeout`).
const KUSTOMIZATION: Duration = Duration::from_secs(30);

/// Why scenarios could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("there are no scenarios in {}: {reason}; name the folder with --scenarios", folder.display())]
    NoFolder { folder: PathBuf, reason: String },
    #[error("{}: {reason}", file.display())]
    Unreadable { file: PathBuf, reason: std::io::Error },
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid {
        file: PathBuf,
        line: u64,
        column: u64,
        message: String,
    },
}

/// Loads every scenario below a folder, sorted by id, with its forms.
///
/// # Errors
/// At the first that does not hold: file, line, field, what was found and what would be right.
pub fn load_all(folder: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let no_folder = |reason: String| ScenarioError::NoFolder {
        folder: folder.to_owned(),
        reason,
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| no_folder(error.to_string()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("scenario.yaml"))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(no_folder("no folder in it holds a scenario.yaml".to_owned()));
    }
    let mut scenarios = Vec::new();
    for file in files {
        scenarios.extend(load(&file)?);
    }
    scenarios.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(scenarios)
}

fn load(path: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|reason| ScenarioError::Unreadable {
        file: path.to_owned(),
        reason,
    })?;
    let at = |location: Location, message: String| ScenarioError::Invalid {
        file: path.to_owned(),
        line: location.line(),
        column: location.column(),
        message,
    };
    let file: ScenarioFile = serde_saphyr::from_str(&text).map_err(|error| {
        let message = error.without_snippet().to_string();
        // The location stands in front already.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        at(error.location().unwrap_or(Location::UNKNOWN), message)
    })?;
    let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
    let loader = Loader {
        file: &file,
        folder: &folder,
        at: &at,
    };

    let expected = folder.file_name().unwrap_or_default().to_string_lossy();
    if file.slug != expected.split("--").next().unwrap_or_default() {
        let line = text
            .lines()
            .position(|line| line.starts_with("slug:"))
            .map_or(1, |index| index as u64 + 1);
        return Err(ScenarioError::Invalid {
            file: path.to_owned(),
            line,
            column: 1,
            message: format!("slug: `{}` stands in the folder `{expected}`; both have to be the same", file.slug),
        });
    }
    let mut scenarios = vec![loader.scenario(&Wanted {
        id: expected.into_owned(),
        title: &file.title,
        engines: &file.engines,
        told: file.engine,
        given: &file.given,
        broken: &file.broken,
        inequalities: &[],
        with_twin: true,
    })?];
    for (name, form) in &file.forms {
        scenarios.push(loader.scenario(&Wanted {
            id: format!("{}--{name}", file.slug),
            title: &form.title,
            engines: form.engines.as_ref().unwrap_or(&file.engines),
            told: form.engine.unwrap_or(file.engine),
            given: &form.given,
            broken: &form.broken(),
            inequalities: &form.inequalities,
            with_twin: false,
        })?);
    }
    Ok(scenarios)
}

/// The scenario itself or one of its forms, as written.
struct Wanted<'a> {
    id: String,
    title: &'a str,
    engines: &'a [Spanned<String>],
    told: Told,
    given: &'a Given,
    broken: &'a Broken,
    /// Beside the scenario's own.
    inequalities: &'a [Spanned<String>],
    with_twin: bool,
}

struct Loader<'a, F> {
    file: &'a ScenarioFile,
    folder: &'a Path,
    at: &'a F,
}

impl<F: Fn(Location, String) -> ScenarioError> Loader<'_, F> {
    fn scenario(&self, wanted: &Wanted<'_>) -> Result<Scenario, ScenarioError> {
        let Wanted { id, broken, given, .. } = wanted;
        self.check_engines(wanted)?;
        let content = self.content("", &self.file.chart, &self.file.manifests)?;
        let values = |values: &Spanned<PathBuf>| self.present("values", values, "");
        let slug = broken.expect.causes.first().map_or(&self.file.slug, |cause| &cause.slug);
        let engines: Vec<String> = wanted.engines.iter().map(|engine| engine.value.clone()).collect();
        let twin = &self.file.twin;
        let settings = |path: &Option<Spanned<PathBuf>>, spec: &Values| {
            let values = path.as_ref().map(values).transpose()?;
            Ok::<_, ScenarioError>(Settings {
                values,
                spec: spec.clone(),
            })
        };
        Ok(Scenario {
            slug: slug.clone(),
            title: wanted.title.to_owned(),
            source: self.file.source.clone(),
            knowable: engines
                .iter()
                .filter_map(|engine| Some((engine.clone(), broken.knowable.on(engine)?)))
                .collect(),
            engines,
            told: wanted.told,
            release: self.file.release.clone(),
            folder: self.folder.to_owned(),
            content,
            given: self.given(given)?,
            broken: settings(&broken.values, &broken.spec)?,
            upgrade_from: broken.upgrade_from.as_ref().map(values).transpose()?,
            twin: wanted.with_twin.then(|| settings(&twin.values, &twin.spec)).transpose()?,
            twin_given: twin.given.as_ref().map(|given| self.given(given)).transpose()?,
            engine_fails: broken.expect.engine_fails.clone(),
            fixed_upstream: broken.expect.fixed_upstream.clone(),
            causes: broken.expect.causes.clone(),
            before: broken.expect.before.clone(),
            between: self.deeds("between", &broken.between, wanted)?,
            afterwards: self.deeds("afterwards", &broken.afterwards, wanted)?,
            remedies: self.remedies(&broken.remedies)?,
            remedy: broken.remedy.clone(),
            from_scratch: broken.from_scratch,
            paces: self.paces(wanted)?,
            id: id.clone(),
        })
    }

    fn given(&self, given: &Given) -> Result<Given, ScenarioError> {
        let mut found = given.clone();
        for file in &mut found.objects {
            file.value = self.present("given.objects", file, "")?;
        }
        for release in &mut found.releases {
            *release = self.release("given.releases", release)?;
        }
        Ok(found)
    }

    fn release(&self, field: &str, release: &GivenRelease) -> Result<GivenRelease, ScenarioError> {
        let mut found = release.clone();
        let folder = self
            .content(&format!("{field}."), &release.chart, &release.manifests)?
            .folder()
            .to_owned();
        for source in [&mut found.chart, &mut found.manifests].into_iter().flatten() {
            source.value.clone_from(&folder);
        }
        if let Some(values) = &mut found.values {
            values.value = self.present(&format!("{field}.values"), values, "")?;
        }
        Ok(found)
    }

    fn remedies(&self, written: &BTreeMap<String, Vec<Step>>) -> Result<BTreeMap<String, Vec<Step>>, ScenarioError> {
        let mut remedies = written.clone();
        for step in remedies.values_mut().flatten() {
            self.complete("remedies", step)?;
        }
        Ok(remedies)
    }

    /// Makes the paths of a step complete.
    fn complete(&self, field: &str, step: &mut Step) -> Result<(), ScenarioError> {
        match step {
            Step::Install(release) => *release = self.release(&format!("{field}.install"), release)?,
            Step::Apply(file) => file.value = self.present(&format!("{field}.apply"), file, "")?,
            _ => {}
        }
        Ok(())
    }

    /// What is done beside the engine: the release itself stays as it is.
    fn deeds(&self, field: &str, steps: &[Step], wanted: &Wanted<'_>) -> Result<Vec<Deed>, ScenarioError> {
        let fault = |fault: String| {
            let at = wanted.engines.first().map_or(Location::UNKNOWN, |engine| engine.defined);
            (self.at)(at, format!("{field} of {}: {fault}", wanted.id))
        };
        if field == "between" && !steps.is_empty() && wanted.broken.upgrade_from.is_none() {
            return Err(fault("there is no upgradeFrom after which it could be done".to_owned()));
        }
        let mut steps = steps.to_vec();
        for step in &mut steps {
            self.complete(field, step)?;
        }
        Plan::deeds(&steps).map_err(|error| fault(error.to_string()))
    }

    /// Each engine has to be one, to understand what it is told, and to have words of its own: without them any failure would pass for
    /// the documented one.
    fn check_engines(&self, wanted: &Wanted<'_>) -> Result<(), ScenarioError> {
        let Wanted { id, broken, .. } = wanted;
        for engine in wanted.engines {
            let name = engine.value.as_str();
            let fault = if !engine::NAMES.contains(&name) {
                format!("engines: there is no engine `{name}`; there are {}", engine::NAMES.join(", "))
            } else if let Err(fault) = engine::understands(name, wanted.told) {
                format!("engine of {id}: {fault}")
            } else if !name.starts_with("flux-") && self.is_for_flux(wanted) {
                format!(
                    "engines of {id}: `{name}` knows neither HelmReleases nor Kustomizations; `manifests`, `spec` and `awaited` are for Flux"
                )
            } else if name.starts_with("flux-") && self.is_for_helm(wanted) {
                format!("engines of {id}: `{name}` is in nobody's hands; `rollback` and the fates `uninstalled` and `killed` are for Helm")
            } else if broken.expect.fixed_upstream.contains_key(name) {
                if !broken.expect.engine_fails.contains_key(name) {
                    continue;
                }
                format!("expect of {id}: `{name}` stands under both engine-fails and fixed-upstream")
            } else if broken.expect.engine_fails.get(name).is_none_or(Vec::is_empty) {
                format!("expect.engine-fails of {id} holds no words of `{name}`; write what the engine says")
            } else if broken.knowable.on(name).is_none() {
                format!("knowable of {id} does not say when the cause can be known on `{name}`; write early or at-failure")
            } else {
                continue;
            };
            return Err((self.at)(engine.defined, fault));
        }
        Ok(())
    }

    /// The one of both that is named, if what it names is there.
    fn content(
        &self,
        field: &str,
        chart: &Option<Spanned<PathBuf>>,
        manifests: &Option<Spanned<PathBuf>>,
    ) -> Result<Content, ScenarioError> {
        match (chart, manifests) {
            (Some(chart), None) => Ok(Content::Chart(self.present(&format!("{field}chart"), chart, "Chart.yaml")?)),
            (None, Some(folder)) => Ok(Content::Manifests(self.present(&format!("{field}manifests"), folder, "")?)),
            (Some(one), Some(_)) => Err((self.at)(
                one.defined,
                format!("{field}chart and {field}manifests are both named; leave one of them out"),
            )),
            (None, None) => Err((self.at)(
                Location::UNKNOWN,
                format!("neither {field}chart nor {field}manifests is named; name one of them"),
            )),
        }
    }

    /// Whether something is said that only Flux understands.
    fn is_for_flux(&self, wanted: &Wanted<'_>) -> bool {
        let twin = wanted.with_twin.then_some(&self.file.twin);
        let of_release = |release: &GivenRelease| !release.spec.is_null() || !release.awaited || release.manifests.is_some();
        let of_given = |given: &Given| given.releases.iter().any(of_release);
        let specs = [Some(&wanted.broken.spec), twin.map(|twin| &twin.spec)];
        let givens = [Some(wanted.given), twin.and_then(|twin| twin.given.as_ref())];
        self.file.manifests.is_some()
            || specs.into_iter().flatten().any(|spec| !spec.is_null())
            || givens.into_iter().flatten().any(of_given)
    }

    /// Whether something is said that only somebody who runs Helm can do.
    fn is_for_helm(&self, wanted: &Wanted<'_>) -> bool {
        let twin = wanted.with_twin.then_some(&self.file.twin).and_then(|twin| twin.given.as_ref());
        let mut releases = wanted
            .given
            .releases
            .iter()
            .chain(twin.into_iter().flat_map(|given| &given.releases));
        let mut steps = wanted.broken.remedies.values().flatten();
        releases.any(|release| release.fate.is_some_and(Fate::is_for_helm)) || steps.any(|step| matches!(step, Step::Rollback(_)))
    }

    /// A path that the file names, if what it names is there.
    fn present(&self, field: &str, path: &Spanned<PathBuf>, inside: &str) -> Result<PathBuf, ScenarioError> {
        let full = self.folder.join(&path.value);
        let proof = if inside.is_empty() { full.clone() } else { full.join(inside) };
        if proof.exists() && !path.value.is_absolute() {
            return Ok(full);
        }
        let wanted = path.value.join(inside);
        Err((self.at)(
            path.defined,
            format!(
                "{field}: `{}` is not there; paths are relative to this file",
                wanted.display().to_string().trim_end_matches('/')
            ),
        ))
    }

    fn paces(&self, wanted: &Wanted<'_>) -> Result<BTreeMap<(Profile, String), Pace>, ScenarioError> {
        let profiles = &self.file.profiles;
        let mut paces = BTreeMap::new();
        for (profile, file) in [(Profile::Fast, &profiles.fast), (Profile::Faithful, &profiles.faithful)] {
            for engine in wanted.engines {
                let pace = self.pace(file, profile.as_str(), &engine.value, wanted)?;
                paces.insert((profile, engine.value.clone()), pace);
            }
        }
        Ok(paces)
    }

    fn pace(&self, profile: &ProfileFile, name: &str, engine: &str, wanted: &Wanted<'_>) -> Result<Pace, ScenarioError> {
        if self.file.manifests.is_some() && profile.timeout.0 < KUSTOMIZATION {
            let message = format!("timeout: profile {name} has less than 30s, and a Kustomization waits for no less");
            return Err((self.at)(
                wanted.engines.first().map_or(Location::UNKNOWN, |engine| engine.defined),
                message,
            ));
        }
        let mut durations: BTreeMap<_, _> = profile.durations.iter().map(|(name, span)| (name.clone(), span.0)).collect();
        for (duration, span) in profile.engines.get(engine).into_iter().flatten() {
            if durations.insert(duration.clone(), span.value.0).is_none() {
                let message = format!("engines: profile {name} has no duration `{duration}` that could be another on `{engine}`");
                return Err((self.at)(span.defined, message));
            }
        }
        let named = |field: &str, named: &Spanned<String>| {
            durations
                .get(&named.value)
                .copied()
                .ok_or_else(|| (self.at)(named.defined, format!("{field}: profile {name} has no duration `{}`", named.value)))
        };
        let observe = wanted
            .broken
            .observe
            .as_ref()
            .map(|observe| named("observe", observe))
            .transpose()?;
        let pool = wanted.given.pool.as_ref();
        let provisioning = pool.map(|pool| named("given.pool.provisioning", &pool.provisioning)).transpose()?;
        durations.insert("timeout".to_owned(), profile.timeout.0);
        for inequality in self.file.inequalities.iter().chain(wanted.inequalities) {
            Inequality::parse(&inequality.value)
                .and_then(|parsed| parsed.check(&durations))
                .map_err(|error| (self.at)(inequality.defined, format!("inequalities: in profile {name} on {engine}, {error}")))?;
        }
        durations.remove("timeout");
        Ok(Pace {
            timeout: profile.timeout.0,
            window: profile.window.0,
            durations,
            observe: observe.unwrap_or(OBSERVE),
            provisioning,
        })
    }
}

#[cfg(test)]
mod tests;
