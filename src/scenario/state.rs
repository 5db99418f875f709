//! Live states: plain manifests that show one failure, or its near miss, without any engine.
//!
//! A state is a file of manifests; the first lines of comment say what it shows, and what is to be expected of it:
//!
//! ```yaml
//! # The ServiceAccount may read Jobs, and not their status.
//! # settled: Deployment/agent Available
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration::Span;
use super::load::ScenarioError;

/// Until when a state has to be diagnosed, or to have settled, where it does not say otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// One file of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The failure that its folder is about.
    pub slug: String,
    /// `broken`, `healthy-optional`: the name of the file.
    pub name: String,
    pub file: PathBuf,
    /// What it shows.
    pub about: String,
    /// The slugs of all causes that are to be found, sorted; none where it is healthy.
    pub expects: Vec<String>,
    /// What has to be so before nothing counts as healthy; empty where everything has to be up.
    pub settled: Vec<Condition>,
    pub deadline: Duration,
}

/// Something that has to be so: `Deployment/web Available`, `Pod/web waiting=CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    /// The name of an object, or what its name begins with before a dash.
    pub name: String,
    pub field: Field,
    pub value: String,
}

/// What of an object is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `Available=True`; `True` where nothing else is said.
    Condition(String),
    /// `phase=Pending`
    Phase,
    /// `waiting=CrashLoopBackOff`: the reason for which a container waits.
    Waiting,
    /// `restarts=2`: at least so many of a container.
    Restarts,
    /// `event=FailedCreate`: an event about it with this reason.
    Event,
}

impl State {
    /// Where what a look saw of it is kept: `recordings/broken.rekindle` beside it.
    pub fn recording(&self) -> PathBuf {
        self.file.with_file_name("recordings").join(format!("{}.rekindle", self.name))
    }

    /// Whether nothing is to be found.
    pub fn is_healthy(&self) -> bool {
        self.expects.is_empty()
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.slug, self.name)
    }
}

/// Loads every state below a folder, which has a folder for each slug; sorted.
///
/// # Errors
/// At the first that does not hold: file, line, and what would be right.
pub fn load_states(folder: &Path) -> Result<Vec<State>, ScenarioError> {
    let mut states = Vec::new();
    for slug in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let files = entries(&slug)?.into_iter();
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
            states.push(load(&slug, &file)?);
        }
    }
    Ok(states)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    let unreadable = |reason| ScenarioError::Unreadable {
        file: folder.to_owned(),
        reason,
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn load(slug: &Path, file: &Path) -> Result<State, ScenarioError> {
    let text = std::fs::read_to_string(file).map_err(|reason| ScenarioError::Unreadable {
        file: file.to_owned(),
        reason,
    })?;
    let last = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    parse(last(slug), last(file), file, &text).map_err(|(line, message)| ScenarioError::Invalid {
        file: file.to_owned(),
        line,
        column: 1,
        message,
    })
}

/// The error holds the number of the line.
fn parse(slug: String, name: String, file: &Path, text: &str) -> Result<State, (u64, String)> {
    let mut state = State {
        expects: match name.split('-').next() {
            Some("broken") => vec![slug.clone()],
            Some("healthy") => Vec::new(),
            _ => return Err((1, format!("the name of a state begins with broken or healthy, and not {name}"))),
        },
        slug,
        name,
        file: file.to_owned(),
        about: String::new(),
        settled: Vec::new(),
        deadline: DEADLINE,
    };
    let header = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    for (line, number) in header.zip(1..) {
        let list = |words: &str| words.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        match line.split_once(':').filter(|(word, _)| is_word(word)) {
            Some(("expects", slugs)) if !state.is_healthy() => {
                state.expects = list(slugs);
                state.expects.sort();
            }
            Some(("settled", conditions)) => {
                for condition in list(conditions) {
                    state
                        .settled
                        .push(Condition::parse(&condition).map_err(|message| (number, message))?);
                }
            }
            Some(("deadline", span)) => state.deadline = Span::parse(span).map_err(|message| (number, message))?.0,
            Some((word, _)) => {
                let message = format!("`{word}:` says nothing here; expects (where it is broken), settled and deadline do");
                return Err((number, message));
            }
            None => {
                state.about.push_str(if state.about.is_empty() { "" } else { " " });
                state.about.push_str(line);
            }
        }
    }
    if state.about.is_empty() {
        return Err((1, "the first lines of a state are a comment that says what it shows".to_owned()));
    }
    Ok(state)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase())
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no condition; write it like Deployment/web Available or Pod/web waiting=CrashLoopBackOff");
        let (object, what) = text.split_once(' ').ok_or_else(wrong)?;
        let (kind, name) = object.split_once('/').ok_or_else(wrong)?;
        let (field, value) = what.trim().split_once('=').unwrap_or((what.trim(), "True"));
        if [kind, name, field, value].into_iter().any(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            field: match field {
                "phase" => Field::Phase,
                "waiting" => Field::Waiting,
                "restarts" => Field::Restarts,
                "event" => Field::Event,
                condition if condition.starts_with(|c: char| c.is_ascii_uppercase()) => Field::Condition(condition.to_owned()),
                _ => return Err(wrong()),
            },
            value: value.to_owned(),
        })
    }

    /// Whether it is about an object of this name: the object itself, or one of a controller that adds something to its own name.
    pub fn names(&self, name: &str) -> bool {
        name.strip_prefix(self.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = match &self.field {
            Field::Condition(condition) => condition,
            Field::Phase => "phase",
            Field::Waiting => "waiting",
            Field::Restarts => "restarts",
            Field::Event => "event",
        };
        write!(f, "{}/{} {field}={}", self.kind, self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::detectors::DETECTORS;
    use crate::scenario::placeholders::filled;

    fn read(name: &str, text: &str) -> Result<State, (u64, String)> {
        parse("secret-missing".into(), name.into(), Path::new("x.yaml"), text)
    }

    #[test]
    fn what_the_comment_says() {
        let text = "# A Pod that\n# waits: for ever.\n";
        assert_eq!(read("broken", text).unwrap_err().0, 2);
        let text = "# A Pod that waits.\n# And a second one.\napiVersion: v1\n# deadline: 3s\n";
        let state = read("broken", text).unwrap();
        assert_eq!(
            (state.to_string().as_str(), state.about.as_str()),
            ("secret-missing::broken", "A Pod that waits. And a second one.")
        );
        assert_eq!((state.expects, state.deadline), (vec!["secret-missing".to_owned()], DEADLINE));
        let text = "# Two.\n# expects: secret-missing, image-not-loaded\n# deadline: 1m30s\n";
        let state = read("broken-both", text).unwrap();
        assert_eq!(state.expects, ["image-not-loaded", "secret-missing"]);
        assert_eq!(state.deadline, Duration::from_secs(90));
    }

    #[test]
    fn conditions() {
        let text = "# A.\n# settled: Deployment/web Available, pod/web waiting=CrashLoopBackOff\n# settled: Pod/web restarts=2\n";
        let state = read("healthy-late", text).unwrap();
        assert!(state.is_healthy());
        let settled: Vec<String> = state.settled.iter().map(ToString::to_string).collect();
        assert_eq!(
            settled,
            [
                "Deployment/web Available=True",
                "pod/web waiting=CrashLoopBackOff",
                "Pod/web restarts=2"
            ]
        );
        assert!(state.settled[0].names("web") && state.settled[0].names("web-7f9c-x") && !state.settled[0].names("website"));
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_line() {
        for (name, text, line) in [
            ("better", "# A.\n", 1),
            ("broken", "apiVersion: v1\n", 1),
            ("healthy", "# A.\n# expects: secret-missing\n", 2),
            ("healthy", "# A.\n# B.\n# settled: web Available\n", 3),
            ("healthy", "# A.\n# settled: Pod/web ready\n", 2),
            ("broken", "# A.\n# deadline: soon\n", 2),
        ] {
            assert_eq!(read(name, text).unwrap_err().0, line, "{text}");
        }
    }

    /// Those of the repository.
    fn states() -> Vec<State> {
        load_states(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states")).unwrap()
    }

    #[test]
    fn each_slug_is_known_and_has_a_broken_and_a_healthy_state() {
        let known: BTreeSet<&str> = DETECTORS.iter().map(|detector| detector.slug).collect();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for state in states() {
            for slug in state.expects.iter().chain([&state.slug]) {
                assert!(known.contains(slug.as_str()), "{state}: there is no detector {slug}");
            }
            names.entry(state.slug).or_default().push(state.name);
        }
        for (slug, names) in names {
            for name in ["broken", "healthy"] {
                assert!(names.iter().any(|known| known == name), "{slug} has no {name}.yaml");
            }
        }
    }

    #[test]
    fn each_manifest_can_be_applied() {
        let values = json!({"namespace": "n", "images": {"tools": "t", "standin": "s", "named-user": "u"}});
        for state in states() {
            let text = filled(&std::fs::read_to_string(&state.file).unwrap(), &values);
            // The shell has names of its own there.
            for name in ["${namespace", "${images", "${durations"] {
                assert!(!text.contains(name), "{state} has a placeholder that nobody fills in");
            }
            for document in text.split("\n---") {
                let manifest: Value = serde_saphyr::from_str(document.trim_start_matches("---")).unwrap();
                for field in ["/apiVersion", "/kind", "/metadata/name"] {
                    assert!(manifest.pointer(field).is_some_and(Value::is_string), "{state}: {field} is missing");
                }
                assert!(manifest.pointer("/metadata/namespace").is_none(), "{state} names a namespace");
            }
        }
    }
}
