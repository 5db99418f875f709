//! What turns a bare machine into one that can make clusters: the Docker engine, kind, Helm, kubectl, the node image and the images
//! that scenarios run.
//!
//! Nothing is downloaded as a binary but Debian packages: tools are built from their Go modules, which the checksum database verifies.
//! Everything that is made is kept under the hash of what it was made from ([`cache`]), so that a second start finds it, an
//! interrupted one goes on where it was, and a change makes exactly what depends on it.

mod archive;
mod cache;
mod content;
mod debian;
mod docker;
mod error;
mod flux;
mod gotools;
mod host;
mod images;
mod node_image;
mod runtime;
mod small_images;
mod survey;
mod tools;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::events::Events;
use cache::Cache;
pub use error::ToolchainError;
pub use flux::{Controller, Flux, controller_image};
use gotools::{COREDNS, ENGINES, ETCD, Go, KIND, KUBECTL, KUBERNETES};
use node_image::{Made, Parts};
use small_images::Standin;
pub use survey::{Survey, survey};

/// Where results are kept, and what is not to be made here.
#[derive(Debug, Clone)]
pub struct Options {
    /// A node image that somebody else made; without one it is built.
    pub node_image: Option<String>,
    /// Images that somebody else made for the controllers of Flux, by the name of the engine; they are in the Docker engine, or among
    /// those that are built.
    pub flux_images: BTreeMap<String, String>,
    /// The engines that will be used, by name; others are not made.
    pub engines: Vec<String>,
    /// Results under the hash of their content, such as `$XDG_CACHE_HOME/rekindle`: can be removed at any time.
    pub cache: PathBuf,
    /// What must be remembered, such as `$XDG_STATE_HOME/rekindle`: whether we started the engine, and with which runtime.
    pub state: PathBuf,
}

impl Options {
    /// Our own node image, and no engine.
    pub fn new(cache: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            node_image: None,
            flux_images: BTreeMap::new(),
            engines: Vec::new(),
            cache: cache.into(),
            state: state.into(),
        }
    }
}

/// All that clusters are made and used with.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub kind: PathBuf,
    /// By the name of the engine; those of them that were asked for and are programs.
    pub engines: BTreeMap<String, Engine>,
    /// Where one of its engines was asked for.
    pub flux: Option<Flux>,
    pub kubectl: PathBuf,
    pub kind_version: String,
    /// A reference in the Docker engine, for `kind create cluster --image`.
    pub node_image: String,
    /// Of the node image: "v1.34.4".
    pub kubernetes_version: String,
    /// To be loaded into every cluster after its start.
    pub images: Images,
}

/// An engine that is a program of this machine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub binary: PathBuf,
    /// "v4.3.1"
    pub version: String,
}

/// The images that scenarios run.
#[derive(Debug, Clone)]
pub struct Images {
    /// A small Debian with sh, curl, jq and kubectl.
    pub tools: Image,
    /// The program that plays servers and controllers, at `/standin`.
    pub standin: Image,
    /// The same program, as a user who has a name and no number.
    pub named_user: Image,
}

/// An image in the Docker engine.
#[derive(Debug, Clone)]
pub struct Image {
    /// "rekindle.local/tools:0123456789ab"; the tag is the beginning of the key of its content.
    pub reference: String,
}

/// Sets up what is missing and says where everything is.
///
/// # Errors
/// [`ToolchainError`]: one sentence with what to do. What was complete by then is kept.
pub async fn prepare(options: &Options, events: &Events, cancel: &CancellationToken) -> Result<Toolchain, ToolchainError> {
    let cache = Cache::open(&options.cache)?;
    let found = tools::Found::look(cancel).await?;
    let go = found.go.as_ref();
    let packages = if debian::NODE.is_cached(&cache) && debian::TOOLS.is_cached(&cache) {
        Vec::new()
    } else {
        debian::missing_packages(cancel).await?
    };
    let engine = docker::ensure(&options.state, &packages, events, cancel).await?;
    events.step(format!("Docker engine {}", engine.version)).cached();

    let kind = tools::pick(&KIND, found.kind, &cache, go, events, cancel).await?;
    let kubernetes_version = match &options.node_image {
        Some(image) => node_image::foreign_version(image, &cache, cancel).await?,
        None => KUBERNETES.version().to_owned(),
    };
    let standin = Standin::find(events, cancel).await?;
    let parts = Parts {
        cache: &cache,
        go,
        kind_version: &kind.version,
    };
    let node = options.node_image.clone().unwrap_or_else(|| parts.reference());
    let (_, tools_reference) = small_images::tools(go);
    let wanted = [&node, &tools_reference, &standin.reference, &standin.named_user];
    let present = images::inspect(&wanted.map(String::as_str), cancel).await?;
    let make_node = options.node_image.is_none() && !present.contains_key(&node);
    let make_tools = !present.contains_key(&tools_reference);

    if make_node || make_tools {
        require_disk(&cache, go, make_node)?;
    }
    let todo = Todo {
        node: make_node,
        tools: make_tools,
    };
    let made = Branches {
        cache: &cache,
        go,
        events,
        parts: &parts,
    }
    .run(todo, cancel)
    .await?;
    let kubectl = tools::pick_for(&KUBECTL, &kubernetes_version, found.kubectl, &cache, go, events, cancel).await?;
    if let Some(made) = made.node {
        parts.assemble(&made, events, cancel).await?;
    }
    if let Some((root, kubectl)) = made.tools {
        small_images::make_tools(&cache, go, (&root, &kubectl), events, cancel).await?;
    }
    if !present.contains_key(&standin.reference) {
        standin.make(&cache, events, cancel).await?;
    }
    if !present.contains_key(&standin.named_user) {
        standin.make_named_user(&cache, events, cancel).await?;
    }
    // Last, because nothing else waits for it.
    let mut engines = BTreeMap::new();
    for tool in ENGINES
        .iter()
        .filter(|tool| options.engines.iter().any(|wanted| wanted == tool.name))
    {
        let helm = tools::pick(tool, found.helm.clone(), &cache, go, events, cancel).await?;
        let engine = Engine {
            binary: helm.path,
            version: helm.version,
        };
        engines.insert(tool.name.to_owned(), engine);
    }
    let flux = match options.engines.iter().any(|engine| flux::is_flux(engine)) {
        true => Some(flux::prepare(&cache, go, events, cancel).await?.with(&options.flux_images)),
        false => None,
    };
    Ok(Toolchain {
        kind: kind.path,
        kind_version: kind.version,
        engines,
        flux,
        kubectl: kubectl.path,
        node_image: node,
        kubernetes_version,
        images: Images {
            tools: Image {
                reference: tools_reference,
            },
            standin: Image {
                reference: standin.reference,
            },
            named_user: Image {
                reference: standin.named_user,
            },
        },
    })
}

/// Stops the Docker engine if it was rekindle that started it, nobody else uses it through rekindle, and no container runs. The record
/// of the start outlives a killed run, so that the next one can do it.
///
/// # Errors
/// [`ToolchainError`] when the engine could not be asked or does not end.
pub async fn release_docker(options: &Options, cancel: &CancellationToken) -> Result<(), ToolchainError> {
    docker::release(&options.state, cancel).await
}

/// Space for all that is not there yet, before the first of it is made: a build that fails in the middle has wasted minutes.
fn require_disk(cache: &Cache, go: Option<&Go>, node: bool) -> Result<(), ToolchainError> {
    let mut need = 0.0;
    let tools: &[&gotools::GoTool] = if node {
        &[&KUBECTL, &KUBERNETES, &ETCD, &COREDNS]
    } else {
        &[&KUBECTL]
    };
    need += tools
        .iter()
        .filter(|tool| !tool.is_cached(cache, go))
        .map(|tool| tool.disk)
        .sum::<f64>();
    let roots: &[&debian::Root] = if node {
        &[&debian::NODE, &debian::TOOLS]
    } else {
        &[&debian::TOOLS]
    };
    need += roots
        .iter()
        .filter(|root| !root.is_cached(cache))
        .map(|root| root.disk)
        .sum::<f64>();
    // The image itself, and what it is assembled in.
    need += if node { 3.0 } else { 0.5 };
    host::require_disk(cache.root(), need, "what is not built yet")
}

#[derive(Clone, Copy)]
struct Todo {
    node: bool,
    tools: bool,
}

/// What images are assembled from.
struct Assembled {
    node: Option<Made>,
    /// The root file system and kubectl.
    tools: Option<(PathBuf, PathBuf)>,
}

/// The two branches that can go on side by side: Go compiles, one tool after another, while debootstrap downloads and unpacks.
struct Branches<'a> {
    cache: &'a Cache,
    go: Option<&'a Go>,
    events: &'a Events,
    parts: &'a Parts<'a>,
}

struct Compiled {
    kubectl: PathBuf,
    /// kubernetes, etcd, coredns
    node: Option<[PathBuf; 3]>,
}

impl Branches<'_> {
    async fn run(&self, todo: Todo, cancel: &CancellationToken) -> Result<Assembled, ToolchainError> {
        if !todo.node && !todo.tools {
            return Ok(Assembled { node: None, tools: None });
        }
        // When one fails, the other one's children must end too, and be waited for.
        let both = cancel.child_token();
        let watched = async |result: Result<(), ToolchainError>| {
            if result.is_err() {
                both.cancel();
            }
            result
        };
        let (mut compiled, mut roots) = (None, None);
        let compiling = async {
            let result = self.compile(todo, &both).await.map(|result| compiled = Some(result));
            watched(result).await
        };
        let bootstrapping = async {
            let result = self.bootstrap(todo, &both).await.map(|result| roots = Some(result));
            watched(result).await
        };
        let (first, second) = tokio::join!(compiling, bootstrapping);
        match (first, second) {
            // The one that was ended because of the other says nothing of interest.
            (Err(error), Err(other)) => return Err(if error.is_interruption() { other } else { error }),
            (Err(error), Ok(())) | (Ok(()), Err(error)) => return Err(error),
            (Ok(()), Ok(())) => {}
        }
        let (Some(compiled), Some((node_root, tools_root, pause))) = (compiled, roots) else {
            return Err(ToolchainError::Interrupted);
        };
        let tools = tools_root.map(|root| (root, compiled.kubectl.clone()));
        let node = match (compiled.node, node_root, pause) {
            (Some([kubernetes, etcd, coredns]), Some(root), Some(pause)) => {
                let kind_files = self.parts.kind_files(cancel).await?;
                Some(Made {
                    root,
                    kubectl: compiled.kubectl,
                    kubernetes,
                    etcd,
                    coredns,
                    pause,
                    kind_files,
                })
            }
            _ => None,
        };
        Ok(Assembled { node, tools })
    }

    async fn compile(&self, todo: Todo, cancel: &CancellationToken) -> Result<Compiled, ToolchainError> {
        let Self { cache, go, events, .. } = self;
        let kubectl = KUBECTL.binaries(cache, *go, events, cancel).await?.join("kubectl");
        let node = if todo.node {
            let kubernetes = KUBERNETES.binaries(cache, *go, events, cancel).await?;
            let etcd = ETCD.binaries(cache, *go, events, cancel).await?.join("etcd");
            let coredns = COREDNS.binaries(cache, *go, events, cancel).await?.join("coredns");
            Some([kubernetes, etcd, coredns])
        } else {
            None
        };
        Ok(Compiled { kubectl, node })
    }

    async fn bootstrap(
        &self,
        todo: Todo,
        cancel: &CancellationToken,
    ) -> Result<(Option<PathBuf>, Option<PathBuf>, Option<PathBuf>), ToolchainError> {
        let mut result = (None, None, None);
        if todo.node {
            result.0 = Some(debian::NODE.tar(self.cache, self.events, cancel).await?);
        }
        if todo.tools {
            result.1 = Some(debian::TOOLS.tar(self.cache, self.events, cancel).await?);
        }
        if todo.node {
            result.2 = Some(self.parts.pause(self.events, cancel).await?);
        }
        Ok(result)
    }
}
