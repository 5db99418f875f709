//! Flux's controllers, in the versions that the engines are named after, and the definitions of the objects that they work on.
//!
//! They are built from their modules, unpatched, into images of their official names. The machine's own Docker engine never sees those
//! names: the archive goes straight into a cluster's node.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::archive::{self, Image};
use super::cache::{Cache, Look, Progress};
use super::content::{Care, Key};
use super::error::ToolchainError;
use super::gotools::{Go, GoTool, HELM_CONTROLLER_1_4, HELM_CONTROLLER_1_6, KUSTOMIZE_CONTROLLER};
use crate::events::Events;

/// Of the cache entry.
const NAME: &str = "flux";
/// What decides the result beside its parts; counted up when the steps below change.
const RECIPE: &str = "1";
/// The user that the official images run as.
const USER: &str = "65534:65534";
/// Whose definitions both engines use: the newer ones read what the older controller writes.
const DEFINITIONS: [&GoTool; 2] = [&HELM_CONTROLLER_1_6, &KUSTOMIZE_CONTROLLER];
/// source-controller itself is not needed, only the objects that charts reach the controllers by.
const SOURCES: &str = "github.com/fluxcd/source-controller";

/// The engines that are controllers, by the names that scenarios call them.
pub(super) const ENGINES: [(&str, &GoTool); 2] = [("flux-2.7", &HELM_CONTROLLER_1_4), ("flux-2.9", &HELM_CONTROLLER_1_6)];

/// A controller's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// As a pod names it.
    pub image: String,
    /// "v1.6.4"
    pub version: String,
}

/// What Flux is installed from.
#[derive(Debug, Clone)]
pub struct Flux {
    /// By the name of the engine, such as `flux-2.9`.
    pub helm: Vec<(String, Controller)>,
    pub kustomize: Controller,
    /// The images, as `ctr images import` reads them.
    pub archive: PathBuf,
    /// CustomResourceDefinitions, one or more in each file.
    pub definitions: PathBuf,
}

impl Flux {
    /// The images in the archive.
    pub fn built(&self) -> Vec<String> {
        tools().map(|tool| controller(tool).image).collect()
    }

    /// The images that the controllers run from and that are not in the archive.
    pub fn foreign(&self) -> Vec<String> {
        let built = self.built();
        let used = self.helm.iter().map(|(_, controller)| controller).chain([&self.kustomize]);
        used.map(|controller| controller.image.clone())
            .filter(|image| !built.contains(image))
            .collect()
    }

    /// With other images for some engines. Their versions are their tags.
    pub(super) fn with(mut self, images: &BTreeMap<String, String>) -> Self {
        for (engine, controller) in &mut self.helm {
            if let Some(image) = images.get(engine) {
                let tag = image.split('@').next().and_then(|named| named.rsplit('/').next()?.split_once(':'));
                *controller = Controller {
                    image: image.clone(),
                    version: tag.map_or("unknown", |(_, tag)| tag).to_owned(),
                };
            }
        }
        self
    }
}

/// The image of an engine's helm-controller, as it is built here.
pub fn controller_image(engine: &str) -> Option<String> {
    let (_, tool) = ENGINES.into_iter().find(|(name, _)| *name == engine)?;
    Some(controller(tool).image)
}

/// Whether an engine is one of Flux's.
pub(super) fn is_flux(engine: &str) -> bool {
    ENGINES.iter().any(|(name, _)| *name == engine)
}

fn controller(tool: &GoTool) -> Controller {
    Controller {
        image: format!("docker.io/fluxcd/{}:{}", tool.binary(), tool.version()),
        version: tool.version().to_owned(),
    }
}

fn tools() -> impl Iterator<Item = &'static GoTool> {
    ENGINES.into_iter().map(|(_, tool)| tool).chain([&KUSTOMIZE_CONTROLLER])
}

/// The hash over everything that decides the result.
fn key(go: Option<&Go>) -> Key {
    let keys: Vec<Key> = tools().map(|tool| tool.key(go)).collect();
    let parts = keys.iter().map(|key| ("tool", key.full().as_bytes()));
    Key::of([("recipe", RECIPE.as_bytes())].into_iter().chain(parts))
}

/// Where it all is, if it is in the cache.
pub(super) fn cached(cache: &Cache, go: Option<&Go>) -> Option<PathBuf> {
    match cache.look(NAME, &key(go), Care::Quick) {
        Look::Present(path) => Some(path),
        _ => None,
    }
}

/// `helm-controller v1.4.3 and v1.6.4, kustomize-controller v1.9.5`
pub(super) fn versions() -> String {
    format!(
        "{} {} and {}, {} {}",
        HELM_CONTROLLER_1_6.binary(),
        HELM_CONTROLLER_1_4.version(),
        HELM_CONTROLLER_1_6.version(),
        KUSTOMIZE_CONTROLLER.binary(),
        KUSTOMIZE_CONTROLLER.version()
    )
}

/// Makes what is missing.
///
/// # Errors
/// When a module cannot be had or does not build.
pub(super) async fn prepare(cache: &Cache, go: Option<&Go>, events: &Events, cancel: &CancellationToken) -> Result<Flux, ToolchainError> {
    let key = key(go);
    let build = |dir: PathBuf, progress: Progress| async move {
        let mut images = Vec::new();
        for tool in tools() {
            let binary = tool.binaries(cache, go, events, cancel).await?.join(tool.binary());
            progress.say(format!("the image of {}", tool.title));
            images.push(image(tool, &binary, &dir, cancel).await?);
        }
        let layers: Vec<PathBuf> = images.iter().flat_map(|image| image.layers.clone()).collect();
        let written = archive::write(images, &dir, cancel).await?;
        let archive = archive_in(&dir);
        fs::rename(&written, &archive).map_err(ToolchainError::file("naming an archive", &written))?;
        for layer in layers {
            fs::remove_file(&layer).map_err(ToolchainError::file("removing a layer", &layer))?;
        }
        progress.say("the definitions of its objects");
        definitions(go, &dir, cancel).await
    };
    let step = format!("Make the images of Flux ({})", versions());
    let made = cache.entry((NAME, &key, &step), events, cancel, build).await?;
    Ok(Flux {
        helm: ENGINES.map(|(name, tool)| (name.to_owned(), controller(tool))).into(),
        kustomize: controller(&KUSTOMIZE_CONTROLLER),
        archive: archive_in(&made),
        definitions: definitions_in(&made),
    })
}

fn archive_in(dir: &Path) -> PathBuf {
    dir.join("images.tar")
}

fn definitions_in(dir: &Path) -> PathBuf {
    dir.join("definitions")
}

async fn image(tool: &GoTool, binary: &Path, dir: &Path, cancel: &CancellationToken) -> Result<Image, ToolchainError> {
    let inside = format!("usr/local/bin/{}", tool.binary());
    let place = |tree: &Path| {
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        fs::copy(binary, tree.join(&inside)).map(drop)
    };
    let Controller { image, .. } = controller(tool);
    Ok(Image {
        layers: vec![archive::layer(dir, tool.name, place, cancel).await?],
        reference: image,
        entrypoint: vec![format!("/{inside}")],
        user: USER.to_owned(),
        ..Image::default()
    })
}

/// The files as they lie in the modules.
async fn definitions(go: Option<&Go>, dir: &Path, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    let folder = definitions_in(dir);
    fs::create_dir(&folder).map_err(ToolchainError::file("making a folder", &folder))?;
    let api = HELM_CONTROLLER_1_6.required(&format!("{SOURCES}/api"));
    let mut sources = vec![HELM_CONTROLLER_1_6.sources_of(SOURCES, api, go, dir, cancel).await?];
    for tool in DEFINITIONS {
        sources.push(tool.sources(tool.version(), go, dir, cancel).await?);
    }
    for source in sources {
        let bases = source.join("config/crd/bases");
        let read = || ToolchainError::file("reading definitions", &bases);
        for entry in fs::read_dir(&bases).map_err(read())? {
            let from = entry.map_err(read())?.path();
            let (Some(name), Ok(text)) = (from.file_name(), fs::read(&from)) else {
                continue;
            };
            // Contents only: Go's module cache is read-only.
            fs::write(folder.join(name), text).map_err(ToolchainError::file("writing definitions", &folder))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_have_their_official_names() {
        let names: Vec<_> = tools().map(|tool| controller(tool).image).collect();
        assert!(names[0].starts_with("docker.io/fluxcd/helm-controller:v1.4."), "{names:?}");
        assert!(names[1].starts_with("docker.io/fluxcd/helm-controller:v1.6."), "{names:?}");
        assert!(names[2].starts_with("docker.io/fluxcd/kustomize-controller:v1."), "{names:?}");
    }

    #[test]
    fn other_images_have_the_version_of_their_tag() {
        let flux = Flux {
            helm: ENGINES.map(|(name, tool)| (name.to_owned(), controller(tool))).into(),
            kustomize: controller(&KUSTOMIZE_CONTROLLER),
            archive: "archive".into(),
            definitions: "definitions".into(),
        };
        assert_eq!(flux.foreign(), [] as [String; 0]);
        let newer = flux.helm[1].1.clone();
        let swapped = flux.clone().with(&BTreeMap::from([("flux-2.7".to_owned(), newer.image.clone())]));
        assert_eq!((&swapped.helm[0].1, swapped.foreign().len()), (&newer, 0), "one that is built");
        let own = "registry.example.invalid:5000/flux/helm-controller:v9@sha256:00";
        let other = flux.with(&BTreeMap::from([("flux-2.9".to_owned(), own.to_owned())]));
        assert_eq!((other.helm[1].1.version.as_str(), other.foreign()), ("v9", vec![own.to_owned()]));
    }

    #[test]
    fn sources_are_of_the_version_that_the_controller_knows() {
        assert!(HELM_CONTROLLER_1_6.required(&format!("{SOURCES}/api")).starts_with("v1."));
    }
}
