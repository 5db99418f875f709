//! The image that kind makes nodes of: Debian, kind's own files, and Kubernetes. Nothing of a scenario is in it, so that a change of
//! ours does not make a new one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::archive::{self, Image};
use super::cache::{Cache, Key, Progress};
use super::debian;
use super::error::{ToolchainError, last_line};
use super::gotools::{COREDNS, ETCD, Go, KIND, KUBECTL, KUBERNETES};
use super::images::{self, BuildContainer, KEY_LABEL};
use crate::command::{Command, CommandError};
use crate::events::Events;

const SCRIPTS: [(&str, &str); 7] = [
    ("configure.sh", include_str!("../../images/node/configure.sh")),
    ("follow-pod-cidr.sh", include_str!("../../images/node/follow-pod-cidr.sh")),
    ("follow-pod-cidr.service", include_str!("../../images/node/follow-pod-cidr.service")),
    ("import.sh", include_str!("../../images/node/import.sh")),
    ("proxy-files.sh", include_str!("../../images/node/proxy-files.sh")),
    ("manifests/default-cni.yaml", include_str!("../../images/node/manifests/default-cni.yaml")),
    ("manifests/default-storage.yaml", include_str!("../../images/node/manifests/default-storage.yaml")),
];
/// What decides the image beside its parts and scripts; counted up when the steps below change.
const RECIPE: &str = "1";

/// What the image is made from.
pub(super) struct Parts<'a> {
    pub cache: &'a Cache,
    pub go: Option<&'a Go>,
    /// Of the kind that will use it: its module has the files that the image must have.
    pub kind_version: &'a str,
}

/// The parts, made.
pub(super) struct Made {
    pub root: PathBuf,
    pub kubectl: PathBuf,
    pub kubernetes: PathBuf,
    pub etcd: PathBuf,
    pub coredns: PathBuf,
    pub pause: PathBuf,
    pub kind_files: PathBuf,
}

impl Parts<'_> {
    pub fn key(&self) -> Key {
        let tools = [&KUBECTL, &KUBERNETES, &ETCD, &COREDNS].map(|tool| tool.key(self.go));
        let root = debian::NODE.key();
        let fixed = [("recipe", RECIPE.as_bytes()), ("kind", self.kind_version.as_bytes()), ("root", root.full().as_bytes())];
        let tools = tools.iter().map(|key| ("tool", key.full().as_bytes()));
        Key::of(fixed.into_iter().chain(tools).chain(SCRIPTS.iter().map(|(name, text)| (*name, text.as_bytes()))))
    }

    pub fn reference(&self) -> String {
        format!("rekindle.local/node:{}-{}", KUBERNETES.version(), self.key().short())
    }

    /// kind's own files for node images, from the module of the very version in use.
    pub async fn kind_files(&self, cancel: &CancellationToken) -> Result<PathBuf, ToolchainError> {
        let sources = KIND.sources(self.kind_version, self.go, self.cache.root(), cancel).await?;
        Ok(sources.join("images/base/files"))
    }

    /// The pause binary, compiled from Kubernetes's own source.
    pub async fn pause(&self, events: &Events, cancel: &CancellationToken) -> Result<PathBuf, ToolchainError> {
        let key = Key::of([("version", KUBERNETES.version().as_bytes()), ("architecture", std::env::consts::ARCH.as_bytes())]);
        let step = format!("Compile pause of Kubernetes {}", KUBERNETES.version());
        let build = |dir: PathBuf, _: Progress| async move {
            debian::ensure_packages(events, cancel).await?;
            let sources = KUBERNETES.sources(KUBERNETES.version(), self.go, self.cache.root(), cancel).await?;
            let version = format!("-DVERSION={}", KUBERNETES.version());
            let compile = Command::new("gcc", Duration::from_secs(120))
                .args(["-Os", "-Wall", "-static", "-s", &version, "-o"])
                .args([dir.join("pause"), sources.join("build/pause/linux/pause.c")]);
            compile.run(cancel).await.map(drop).map_err(ToolchainError::step("compiling pause"))
        };
        Ok(self.cache.entry(("pause", &key, &step), events, cancel, build).await?.join("pause"))
    }

    /// Assembles the image in the engine. The caller has found that it is not there.
    pub async fn assemble(&self, made: &Made, events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        let reference = self.reference();
        let name = format!("Assemble the node image {reference}");
        let step = events.step(&name);
        let progress = Progress::new(events, &name);
        // Whoever holds this is the only build of this cache: what carries its label besides is a dead one's.
        let _alone = self.cache.lock("node-image", Some(&progress), cancel).await?;
        if images::inspect(&[&reference], cancel).await?.contains_key(&reference) {
            step.cached();
            return Ok(());
        }
        images::remove_leftovers(self.cache, cancel).await?;
        let work = tempfile::Builder::new()
            .prefix(".building-node-image.")
            .tempdir_in(self.cache.root())
            .map_err(ToolchainError::file("making a folder to build in", self.cache.root()))?;

        progress.say("importing the root file system");
        let base = images::import(&made.root, self.cache, cancel).await?;
        let container = BuildContainer::start(&base, self.cache, cancel).await?;
        let assembled = self.fill(&container, made, work.path(), &progress, cancel).await;
        let committed = match assembled {
            Ok(()) => {
                progress.say("committing");
                let key = format!("LABEL {KEY_LABEL}={}", self.key().full());
                let entrypoint = r#"ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]"#.to_owned();
                let env = "ENV container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
                let changes = [key, entrypoint, env, "CMD []".to_owned()];
                container.commit(&changes, &reference, cancel).await
            }
            failed => failed,
        };
        let removed = container.remove().await;
        if committed.is_err() && !cancel.is_cancelled() {
            images::remove_leftovers(self.cache, cancel).await?;
        }
        committed.and(removed)?;
        step.done();
        Ok(())
    }

    async fn fill(
        &self,
        container: &BuildContainer,
        made: &Made,
        work: &Path,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), ToolchainError> {
        let wanted = component_names(&made.kubernetes.join("kubeadm"), cancel).await?;
        let pause = wanted.iter().find(|name| component_of(name) == "pause").cloned().unwrap_or_default();

        progress.say("adding kind's files and Kubernetes");
        let overlay = work.join("overlay");
        place_overlay(&overlay, made).map_err(ToolchainError::file("laying out the node's files", &overlay))?;
        container.copy(&overlay, "/", cancel).await?;
        let configure = ["bash", "/build/node/configure.sh", KUBERNETES.version(), &pause];
        container.exec(&[], &configure).run(cancel).await.map_err(ToolchainError::step("configuring the node's root file system"))?;

        progress.say("collecting what kube-proxy needs");
        let proxy = work.join("proxy-files.tar");
        let collect = container.exec(&[], &["bash", "/build/node/proxy-files.sh"]).stdout_file(&proxy);
        collect.run(cancel).await.map_err(ToolchainError::step("collecting kube-proxy's files"))?;

        progress.say("packing the component images");
        let mut components = Vec::new();
        for name in &wanted {
            components.push(component_image(name, made, &proxy, work, cancel).await?);
        }
        let archive = archive::write(components, work, cancel).await?;

        progress.say("importing the component images");
        let import = container.exec(&["--interactive"], &["bash", "/build/node/import.sh"]).stdin_file(&archive);
        let imported = import.run(cancel).await.map_err(ToolchainError::step("importing the component images"))?.text();
        match wanted.iter().find(|name| !imported.lines().any(|line| line.trim() == name.as_str())) {
            None => Ok(()),
            Some(name) => Err(ToolchainError::NotANodeImage { image: self.reference(), reason: format!("{name} did not arrive in containerd") }),
        }
    }
}

/// `registry/path/kube-proxy:v1.2.3` is `kube-proxy`.
fn component_of(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last)
}

/// The names under which kubeadm will look for the component images.
async fn component_names(kubeadm: &Path, cancel: &CancellationToken) -> Result<Vec<String>, ToolchainError> {
    let list = ["config", "images", "list", "--kubernetes-version", KUBERNETES.version()];
    let output = Command::new(kubeadm, Duration::from_secs(60)).args(list).run(cancel).await;
    let text = output.map_err(ToolchainError::step("asking kubeadm for the images that it needs"))?.text();
    Ok(text.lines().map(str::trim).filter(|line| line.contains('/')).map(str::to_owned).collect())
}

fn place_overlay(overlay: &Path, made: &Made) -> std::io::Result<()> {
    let (ours, bin) = (overlay.join("build/node"), overlay.join("usr/bin"));
    fs::create_dir_all(ours.join("manifests"))?;
    fs::create_dir_all(&bin)?;
    for (name, text) in SCRIPTS {
        fs::write(ours.join(name), text)?;
    }
    for binary in [made.kubernetes.join("kubeadm"), made.kubernetes.join("kubelet"), made.kubectl.clone()] {
        fs::copy(&binary, bin.join(binary.file_name().unwrap_or_default()))?;
    }
    copy_tree(&made.kind_files, &overlay.join("build/kind"))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            // Contents only: Go's module cache is read-only, and modes are set where the files are installed.
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

async fn component_image(name: &str, made: &Made, proxy: &Path, work: &Path, cancel: &CancellationToken) -> Result<Image, ToolchainError> {
    let component = component_of(name);
    let (binary, built) = match component {
        "etcd" => (made.etcd.clone(), ETCD.version()),
        "coredns" => (made.coredns.clone(), COREDNS.version()),
        "pause" => (made.pause.clone(), KUBERNETES.version()),
        other => (made.kubernetes.join(other), KUBERNETES.version()),
    };
    // pause is versioned by itself; its name is all that the node looks for. etcd's tag has a suffix and no "v".
    let fits = component == "pause" || name.contains(built.trim_start_matches('v'));
    if !fits || !binary.is_file() {
        return Err(ToolchainError::ForeignComponent { image: name.to_owned(), built: format!("{component} {built}") });
    }
    // Where the pods of kubeadm look for them.
    let place = match component {
        "pause" | "coredns" => component.to_owned(),
        _ => format!("usr/local/bin/{component}"),
    };
    let target = place.clone();
    let layer = archive::layer(
        work,
        component,
        move |tree| {
            let path = tree.join(&target);
            fs::create_dir_all(path.parent().unwrap_or(tree))?;
            fs::copy(&binary, path).map(drop)
        },
        cancel,
    )
    .await?;
    let layers = if component == "kube-proxy" { vec![proxy.to_owned(), layer] } else { vec![layer] };
    Ok(Image { reference: name.to_owned(), layers, entrypoint: vec![format!("/{place}")], ..Image::default() })
}

/// The Kubernetes version of a node image that somebody else made.
pub(super) async fn foreign_version(image: &str, cache: &Cache, cancel: &CancellationToken) -> Result<String, ToolchainError> {
    let mut id = images::id_of(image, cancel).await?;
    if id.is_none() {
        images::pull(image, cancel).await?;
        id = images::id_of(image, cancel).await?;
    }
    let missing = || ToolchainError::NoNodeImage { image: image.to_owned(), last: "it is not there after the pull".to_owned() };
    let id = id.ok_or_else(missing)?;
    // The id names the content: what was read once stays true.
    let key = Key::of([("image", id.as_bytes())]);
    let read = |dir: PathBuf, _: Progress| async move {
        let label = images::build_label(cache);
        let run = ["run", "--rm", "--network", "none", "--label", &label, "--entrypoint", "cat", image, "/kind/version"];
        let version = super::docker::Engine::command(Duration::from_secs(60), run).run(cancel).await;
        let version = version.map_err(|error| match error {
            CommandError::Interrupted { .. } => ToolchainError::Interrupted,
            error => ToolchainError::NotANodeImage { image: image.to_owned(), reason: last_line(&error) },
        })?;
        fs::write(dir.join("version"), version.text()).map_err(ToolchainError::file("writing a version", dir))
    };
    let step = format!("Read the Kubernetes version of {image}");
    let dir = cache.entry(("node-version", &key, &step), &Events::silent(), cancel, read).await?;
    let version = fs::read_to_string(dir.join("version")).map_err(ToolchainError::file("reading a version", &dir))?;
    if super::gotools::version_in(&version).is_some() {
        return Ok(version.trim().to_owned());
    }
    Err(ToolchainError::NotANodeImage { image: image.to_owned(), reason: format!("its /kind/version reads {version:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_told_by_the_last_part_of_their_name() {
        assert_eq!(component_of("registry.invalid/kube-proxy:v1.34.4"), "kube-proxy");
        assert_eq!(component_of("registry.invalid/coredns/coredns:v1.12.1"), "coredns");
        assert_eq!(component_of("registry.invalid:5000/pause:3.10.1"), "pause");
    }

    #[test]
    fn another_kind_makes_another_image() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::peek(dir.path());
        let parts = |kind_version| Parts { cache: &cache, go: None, kind_version };
        assert_ne!(parts("v0.33.0").reference(), parts("v0.33.1").reference());
        assert!(parts("v0.33.0").reference().starts_with(&format!("rekindle.local/node:{}-", KUBERNETES.version())));
    }
}
