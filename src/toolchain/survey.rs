//! What is there already and what would be made, without changing anything.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Look};
use super::content::{Care, Key};
use super::docker::{self, Answer};
use super::gotools::{COREDNS, ENGINES, ETCD, GoTool, KIND, KUBECTL, KUBERNETES};
use super::node_image::Parts;
use super::small_images::Standin;
use super::{Options, debian, flux, images, small_images, tools};

/// One thing that clusters need.
#[derive(Debug, Clone)]
pub struct Survey {
    pub name: String,
    pub present: bool,
    /// Its version and place, or what would be done and how long it takes.
    pub detail: String,
}

impl Survey {
    fn new(name: &str, present: bool, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            present,
            detail: detail.into(),
        }
    }
}

/// What [`super::prepare`] would find and make. Changes nothing; cached results are compared with their hashes.
pub async fn survey(options: &Options, cancel: &CancellationToken) -> Vec<Survey> {
    let cache = Cache::peek(&options.cache.canonicalize().unwrap_or_else(|_| options.cache.clone()));
    let mut all = Vec::new();
    let engine = match docker::ask(cancel).await {
        Ok(Answer::Ready(engine)) => {
            all.push(Survey::new("Docker engine", true, format!("{}, used as it is", engine.version)));
            true
        }
        other => {
            let detail = match other {
                Ok(Answer::Refuses(line)) => format!("runs, but refuses this user: {line}"),
                Ok(Answer::NoClient) => "would be installed and started".to_owned(),
                Ok(Answer::Silent(line)) => format!("would be started, and installed if need be ({line})"),
                Ok(Answer::Ready(_)) => String::new(),
                Err(error) => error.to_string(),
            };
            all.push(Survey::new("Docker engine", false, detail));
            false
        }
    };
    let found = match tools::Found::look(cancel).await {
        Ok(found) => found,
        Err(error) => {
            all.push(Survey::new("tools", false, error.to_string()));
            return all;
        }
    };
    let go = found.go.as_ref();
    let engines = ENGINES.iter().map(|engine| (*engine, &found.helm));
    for (tool, on_path) in [(&KIND, &found.kind), (&KUBECTL, &found.kubectl)].into_iter().chain(engines) {
        all.push(match on_path {
            Some(on_path) if tools::fits(tool, Some(on_path), tool.version()) => {
                Survey::new(tool.title, true, format!("{} at {}", on_path.version, on_path.path.display()))
            }
            _ => built(tool, &tool.key(go), &cache),
        });
    }
    let kind_version = found.kind.as_ref().filter(|kind| tools::fits(&KIND, Some(kind), KIND.version()));
    let parts = Parts {
        cache: &cache,
        go,
        kind_version: kind_version.map_or(KIND.version(), |kind| &kind.version),
    };
    let node = options.node_image.clone().unwrap_or_else(|| parts.reference());
    let exe = std::env::current_exe().unwrap_or_default();
    let tools_image = small_images::tools(go).1;
    let present = if engine {
        images::inspect(&[&node, &tools_image], cancel).await.unwrap_or_default()
    } else {
        BTreeMap::new()
    };

    let node_there = present.contains_key(&node);
    if node_there || options.node_image.is_some() {
        all.push(Survey::new(
            "node image",
            node_there,
            if node_there { node } else { format!("{node} would be pulled") },
        ));
    } else {
        for tool in [&KUBERNETES, &ETCD, &COREDNS] {
            all.push(built(tool, &tool.key(go), &cache));
        }
        all.push(root(&debian::NODE, &cache));
        all.push(Survey::new(
            "node image",
            false,
            format!("{node} would be assembled from these, about 30 s"),
        ));
    }
    if present.contains_key(&tools_image) {
        all.push(Survey::new("tools image", true, tools_image));
    } else {
        all.push(root(&debian::TOOLS, &cache));
        all.push(Survey::new(
            "tools image",
            false,
            format!("{tools_image} would be assembled, about 5 s"),
        ));
    }
    all.push(match flux::cached(&cache, go) {
        Some(path) => Survey::new("Flux", true, format!("{} in {}", flux::versions(), path.display())),
        None => Survey::new("Flux", false, format!("{} would be built, about 8 min", flux::versions())),
    });
    all.push(match Standin::ready(&exe) {
        Some(binary) => Survey::new("standin", true, binary.display().to_string()),
        None => Survey::new("standin", false, "would be built from the source tree, about 1 min"),
    });
    all
}

fn built(tool: &GoTool, key: &Key, cache: &Cache) -> Survey {
    match cache.look(tool.name, key, Care::Full) {
        Look::Present(path) => Survey::new(tool.title, true, format!("{} in {}", tool.version(), path.display())),
        Look::Absent => Survey::new(
            tool.title,
            false,
            format!("{} would be built, about {}", tool.version(), tool.about),
        ),
        Look::Corrupt(reason) => Survey::new(
            tool.title,
            false,
            format!("the cached one {reason}: would be built again, about {}", tool.about),
        ),
    }
}

fn root(root: &debian::Root, cache: &Cache) -> Survey {
    match cache.look(root.name, &root.key(), Care::Full) {
        Look::Present(path) => Survey::new(root.title, true, path.display().to_string()),
        Look::Absent => Survey::new(root.title, false, format!("would be made, about {}", root.about)),
        Look::Corrupt(reason) => Survey::new(
            root.title,
            false,
            format!("the cached one {reason}: would be made again, about {}", root.about),
        ),
    }
}
