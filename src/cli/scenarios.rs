//! What the commands know about scenarios, and how names on the command line choose among them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::{Failure, unknown};
use crate::exit_code;
use crate::scenario::{self, Scenario, ScenarioError};

/// One scenario, as far as `list`, `explain` and the choice of `run` need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `<slug>` or `<slug>--<form>`
    pub id: String,
    pub slug: String,
    pub title: String,
    /// The document that it comes from.
    pub source: String,
    pub engines: Vec<String>,
    #[serde(skip)]
    pub readme: PathBuf,
}

/// All scenarios of a folder, sorted by their ids.
///
/// # Errors
/// Where the folder is not there; where a scenario's file is wrong.
pub fn load(dir: &Path) -> Result<Vec<Scenario>, Failure> {
    scenario::load_all(dir).map_err(|error| match error {
        ScenarioError::NoFolder { .. } => Failure::usage(error.to_string()),
        _ => Failure::new(exit_code::SCENARIO, error.to_string()),
    })
}

impl Entry {
    /// Whether a name on the command line means this one: its id, its slug, or the scenario that it is a form of.
    pub fn means(&self, name: &str) -> bool {
        self.id == name || self.slug == name || self.family() == name
    }

    fn family(&self) -> &str {
        self.id.split_once("--").map_or(self.id.as_str(), |(family, _)| family)
    }
}

impl From<&Scenario> for Entry {
    fn from(scenario: &Scenario) -> Self {
        Self {
            id: scenario.id.clone(),
            slug: scenario.slug.clone(),
            title: scenario.title.clone(),
            source: scenario.source.clone(),
            engines: scenario.engines.clone(),
            readme: scenario.readme(),
        }
    }
}

/// The scenarios that are meant: an id means one, a slug all of its forms, nothing means all.
///
/// # Errors
/// Where a name means none, with the nearest name.
pub fn select(entries: Vec<Entry>, names: &[String]) -> Result<Vec<Entry>, Failure> {
    if names.is_empty() {
        return Ok(entries);
    }
    for name in names {
        if !entries.iter().any(|entry| entry.means(name)) {
            return Err(unknown("scenario", name, known(&entries)));
        }
    }
    Ok(entries
        .into_iter()
        .filter(|entry| names.iter().any(|name| entry.means(name)))
        .collect())
}

/// Makes sure that something of it would be run.
///
/// # Errors
/// Where none of these scenarios is for one of these engines: with the engines that they are for.
pub fn require_one(chosen: &[Entry], engines: &[String]) -> Result<(), Failure> {
    let for_them: BTreeSet<&str> = chosen.iter().flat_map(|entry| &entry.engines).map(String::as_str).collect();
    if engines.is_empty() || engines.iter().any(|engine| for_them.contains(engine.as_str())) {
        return Ok(());
    }
    let (names, list) = (
        chosen.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(),
        for_them.into_iter().collect::<Vec<_>>(),
    );
    let message = format!(
        "{} cannot be run on {}: it is for {}",
        names.join(", "),
        engines.join(", "),
        list.join(", ")
    );
    Err(Failure::new(exit_code::USAGE, message))
}

/// Every name that means something.
pub fn known(entries: &[Entry]) -> BTreeSet<&str> {
    entries.iter().flat_map(|entry| [entry.id.as_str(), entry.slug.as_str()]).collect()
}

/// The engines that are meant; an empty answer means each that a scenario is for.
///
/// # Errors
/// Where no scenario is for such an engine, with the nearest name.
pub fn engines(entries: &[Entry], names: &[String]) -> Result<Vec<String>, Failure> {
    if names.iter().any(|name| name == "all") {
        return Ok(Vec::new());
    }
    let known: BTreeSet<&str> = entries.iter().flat_map(|entry| &entry.engines).map(String::as_str).collect();
    match names.iter().find(|name| !known.contains(name.as_str())) {
        Some(name) => Err(unknown("engine", name, known)),
        None => Ok(names.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            slug: id.split("--").next().unwrap_or(id).to_owned(),
            title: String::new(),
            source: String::new(),
            engines: vec!["helm-3".to_owned(), "helm-4".to_owned()],
            readme: PathBuf::new(),
        }
    }

    #[test]
    fn engines_that_none_of_them_is_for_are_refused() {
        let only = Entry {
            engines: vec!["helm-4".to_owned()],
            ..entry("a--b")
        };
        let said = |engines: &[&str]| {
            let engines: Vec<String> = engines.iter().map(|name| (*name).to_owned()).collect();
            require_one(std::slice::from_ref(&only), &engines).map_err(|failure| failure.message)
        };
        assert_eq!(said(&[]), Ok(()));
        assert_eq!(said(&["helm-3", "helm-4"]), Ok(()));
        assert_eq!(said(&["helm-3"]), Err("a--b cannot be run on helm-3: it is for helm-4".to_owned()));
    }

    #[test]
    fn a_slug_means_all_of_its_forms() {
        let entries = vec![entry("a"), entry("a--flux"), entry("b")];
        let ids = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            select(entries.clone(), &names).map(|entries| entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[]).unwrap(), ["a", "a--flux", "b"]);
        assert_eq!(ids(&["a"]).unwrap(), ["a", "a--flux"]);
        assert_eq!(ids(&["a--flux"]).unwrap(), ["a--flux"]);
        assert_eq!(
            ids(&["a--flix"]).unwrap_err().message,
            "there is no scenario `a--flix`; did you mean `a--flux`?"
        );
    }

    #[test]
    fn engines_are_those_of_scenarios() {
        let entries = [entry("a")];
        let engines = |names: &[&str]| engines(&entries, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(engines(&["all"]).unwrap().is_empty());
        assert_eq!(engines(&["helm-3"]).unwrap(), ["helm-3"]);
        assert_eq!(
            engines(&["helm3"]).unwrap_err().message,
            "there is no engine `helm3`; did you mean `helm-3`?"
        );
    }
}
