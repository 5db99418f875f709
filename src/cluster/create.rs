//! Creating a cluster: kind does its work, and everything that need not wait for its end is done beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use super::archive::{self, Archive};
use super::config::{self, OWNER};
use super::docker::Container;
use super::inside::{LOAD, exec, last_words, load, load_archive, reworded};
use super::journal::{Entry, Journal};
use super::owner::Access;
use super::pool::Pool;
use super::{dns, docker, owner};
use crate::command::{Command, CommandError};
use crate::events::{Event, Events, Step};
use crate::wait::{Seen, WaitError, until};

/// kind's own steps give up after four minutes; a machine that is slower than this is of no use for the scenarios either.
const CREATE: Duration = Duration::from_secs(300);
/// From the end of kind to a cluster whose DNS answers.
const READY: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// A look by the Docker client costs some forty milliseconds of processor time, while Docker fills the node's volume.
const DOCKER_LOOK: Duration = Duration::from_millis(250);
/// The service account that every pod without one of its own runs as.
const DEFAULT_ACCOUNT: &str = "default";
/// What the script in the node answers instead of loading.
const NOT_MOUNTED: &str = "not-mounted";

/// kind outlives a caller that is killed. Where the machine has the two commands, the kernel ends kind with its caller, and a lock that
/// kind's own children inherit says when the last of them is gone.
const MAKER: &str = "lock=$1; shift
if command -v setpriv >/dev/null && command -v flock >/dev/null; then
  exec setpriv --pdeathsig KILL flock --no-fork \"$lock\" \"$@\"
fi
exec \"$@\"";

/// What a creation needs to know.
pub struct Plan<'a> {
    pub kind: &'a Path,
    pub images: &'a [String],
    pub archive: &'a Archive,
    /// An archive of engines that work in the cluster, and the images in it.
    pub engines: Option<(&'a Path, &'a [String])>,
    pub entry: &'a Entry,
    pub journal: &'a Journal,
    pub api_port: u16,
}

impl Plan<'_> {
    fn node(&self) -> &str {
        self.entry.control_plane()
    }

    /// Makes the network and the cluster, and returns when it can be used. Leaves what it made when it fails.
    ///
    /// # Errors
    /// With the node's last words when kind fails or the cluster does not become ready.
    pub async fn run(&self, events: &Events, cancel: &CancellationToken) -> Result<Access, ClusterError> {
        let entry = self.entry;
        let name = format!("Create cluster {}", entry.cluster);
        let step = events.step(name.as_str());
        if let Some(dir) = entry.kubeconfig.parent() {
            std::fs::create_dir_all(dir).map_err(|source| ClusterError::Folder {
                doing: "made",
                path: dir.to_owned(),
                source,
            })?;
        }
        let maker = self.journal.maker_lock(&entry.run_id);
        docker::create_network(&entry.network, &entry.run_id, &maker).await?;

        // One failure ends the other parts, and all of them have ended when this returns: nothing may be made behind a clean-up's back.
        let parts = cancel.child_token();
        let stop = |error: ClusterError| {
            parts.cancel();
            error
        };
        let (kind, inside) = tokio::join!(async { self.kind(&name, events, &parts).await.map_err(stop) }, async {
            self.furnish(&parts).await.map_err(stop)
        },);
        first_cause([kind, inside], cancel)?;

        let access = owner::open(&entry.cluster, &entry.kubeconfig).await?;
        let pool = Pool::of(entry, &access.client, events);
        let (usable, cold) = tokio::join!(async { self.usable(&access, &step, &parts).await.map_err(stop) }, async {
            pool.put_back_all(&parts).await.map_err(|error| stop(error.into()))
        },);
        first_cause([usable, cold], cancel)?;
        step.done();
        Ok(access)
    }

    async fn kind(&self, name: &str, events: &Events, cancel: &CancellationToken) -> Result<(), ClusterError> {
        let entry = self.entry;
        let (step, events) = (name.to_owned(), events.clone());
        let pool = u32::try_from(entry.pool().len()).unwrap_or(u32::MAX);
        let (images, mounted) = (&self.archive.dir, archive::MOUNTED);
        let config = config::kind_config(&entry.cluster, &entry.run_id, self.api_port, pool, images, mounted);
        let mut command = Command::new("sh", CREATE)
            .args(["-c", MAKER, "sh"])
            .arg(self.journal.maker_lock(&entry.run_id))
            .arg(self.kind)
            .args(["create", "cluster", "--retain", "--wait", "0s", "--config", "-"])
            .args(["--name", &entry.cluster, "--image", &entry.node_image])
            .arg("--kubeconfig")
            .arg(&entry.kubeconfig)
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &entry.network)
            .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
            .env_remove("KUBECONFIG")
            .env_remove("KIND_CLUSTER_NAME")
            .stdin_bytes(config)
            .on_line(move |_, line| {
                let line = line.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                if !line.is_empty() {
                    let (step, detail) = (step.clone(), line.to_owned());
                    events.send(Event::StepProgress { step, detail });
                }
            });
        // A node without a way out has no use for a proxy, and would ask it for addresses inside the cluster.
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
            command = command.env(proxy, "");
        }
        match command.run(cancel).await {
            Ok(_) => Ok(()),
            Err(CommandError::Interrupted { .. }) => Err(ClusterError::Interrupted {
                what: "creating the cluster",
            }),
            Err(source) => Err(ClusterError::Create {
                name: entry.cluster.clone(),
                source: reworded(source),
                node: last_words(self.node()).await,
            }),
        }
    }

    /// Fills the node from the moment it runs: with its images, and with what its API has to know.
    async fn furnish(&self, cancel: &CancellationToken) -> Result<(), ClusterError> {
        let published = |container: Container| container.api_port.zip(container.address).ok_or("its port is not published");
        let (port, address) = self.container(cancel, published).await?;
        let parts = cancel.child_token();
        let stop = |error: ClusterError| {
            parts.cancel();
            error
        };
        let loaded = async {
            self.load(&parts).await?;
            match self.engines {
                Some((archive, images)) => load_archive(archive, images, self.node(), &parts).await,
                None => Ok(()),
            }
        };
        let (images, configured) = tokio::join!(async { loaded.await.map_err(stop) }, async {
            self.configure(port, &address, &parts).await.map_err(stop)
        },);
        first_cause([images, configured], cancel)
    }

    /// Gives the cluster its DNS configuration and its owner's mark as soon as its API answers, and closes the node's way out.
    async fn configure(&self, port: u16, address: &str, cancel: &CancellationToken) -> Result<(), ClusterError> {
        let entry = self.entry;
        // kubeadm writes these files before it starts the API server. The first is missing before Kubernetes 1.29, and the second one
        // gets its rights only some time after the API server answers.
        let wait = "until [ -s /etc/kubernetes/manifests/kube-apiserver.yaml ]; do sleep 0.1; done; \
                    cat /etc/kubernetes/super-admin.conf 2>/dev/null || cat /etc/kubernetes/admin.conf";
        let inner = exec(self.node(), wait, CREATE, cancel)
            .await
            .map_err(|source| self.failed("wait for the node's API server", source))?;
        let server = format!("https://127.0.0.1:{port}");
        let inside = Path::new("/etc/kubernetes/admin.conf");
        let access = owner::open_inner(&entry.cluster, inside, &inner.text(), &server).await?;

        let patience = |what: &'static str| Patience { what, deadline: CREATE };
        patience("the API server")
            .until_done(cancel, || dns::configure(&access.client))
            .await?;
        patience("the owner's mark")
            .until_done(cancel, || plant(&access.client, entry))
            .await?;
        exec(self.node(), &config::seal_script(), LOAD, cancel)
            .await
            .map_err(|source| ClusterError::Seal {
                node: self.node().to_owned(),
                source,
            })?;
        patience("CoreDNS's Deployment")
            .until_some(cancel, || dns::slim(&access.client, address))
            .await?;
        Ok(())
    }

    /// Loads the images while kubeadm makes its keys, which takes one core. A pool node gets them when it is leased.
    async fn load(&self, cancel: &CancellationToken) -> Result<(), ClusterError> {
        let node = self.node();
        if self.images.is_empty() {
            return Ok(());
        }
        // Where the engine does not see this machine's files, such as in a virtual machine, the mounted folder is empty.
        let script = format!(
            "until [ -S /run/containerd/containerd.sock ] && ctr --namespace=k8s.io version >/dev/null 2>&1; do sleep 0.1; done
             [ -s {0}/{1} ] || {{ echo {NOT_MOUNTED}; exit 0; }}
             ctr --namespace=k8s.io images import {0}/{1}",
            archive::MOUNTED,
            self.archive.file
        );
        match exec(node, &script, CREATE, cancel).await {
            Ok(output) if output.text() == NOT_MOUNTED => load(self.images, node, cancel).await,
            Ok(_) => Ok(()),
            Err(CommandError::Interrupted { .. }) => Err(ClusterError::Interrupted { what: "loading images" }),
            Err(source) => Err(ClusterError::Load {
                image: self.images.join(" "),
                node: node.to_owned(),
                source: reworded(source),
            }),
        }
    }

    /// Waits for the node's container, and for what is wanted of it.
    async fn container<T>(
        &self,
        cancel: &CancellationToken,
        wanted: impl Fn(Container) -> Result<T, &'static str>,
    ) -> Result<T, ClusterError> {
        let waited = until("the node's container", CREATE, DOCKER_LOOK, cancel, || async {
            match docker::container(self.node(), cancel).await {
                Ok(Some(container)) if container.running => match wanted(container) {
                    Ok(found) => Seen::Done(found),
                    Err(missing) => Seen::NotYet(missing.to_owned()),
                },
                Ok(Some(_)) => Seen::NotYet("it is not running".to_owned()),
                Ok(None) => Seen::NotYet("it does not exist".to_owned()),
                Err(error) => Seen::NotYet(error.to_string()),
            }
        });
        waited.await.map_err(|source| not_ready(&self.entry.cluster, source, String::new()))
    }

    fn failed(&self, what: &'static str, source: CommandError) -> ClusterError {
        ClusterError::docker(what, source)
    }

    /// Waits until a pod can be created and finds its way: the node is ready, names resolve, its account is there.
    async fn usable(&self, access: &Access, step: &Step, cancel: &CancellationToken) -> Result<(), ClusterError> {
        let waited = until("a usable cluster", READY, LOOK, cancel, || async {
            let missing = match missing(&access.client, self.node()).await {
                Ok(None) => return Seen::Done(()),
                Ok(Some(missing)) => missing,
                Err(error) => error.to_string(),
            };
            step.progress(format!("waiting: {missing}"));
            Seen::NotYet(missing)
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(source) => {
                let node = match source {
                    WaitError::Deadline { .. } => last_words(self.node()).await,
                    WaitError::Interrupted { .. } => String::new(),
                };
                Err(not_ready(&self.entry.cluster, source, node))
            }
        }
    }
}

/// The first cause of a failure is the one that is not an interruption; among several, that of the part that comes first.
fn first_cause<const N: usize>(parts: [Result<(), ClusterError>; N], cancel: &CancellationToken) -> Result<(), ClusterError> {
    if cancel.is_cancelled() {
        return Err(ClusterError::Interrupted {
            what: "creating the cluster",
        });
    }
    let mut failures: Vec<ClusterError> = parts.into_iter().filter_map(Result::err).collect();
    failures.sort_by_key(ClusterError::interrupted);
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn not_ready(name: &str, source: WaitError, node: String) -> ClusterError {
    match source {
        WaitError::Interrupted { .. } => ClusterError::Interrupted {
            what: "creating the cluster",
        },
        source => ClusterError::NotReady {
            name: name.to_owned(),
            source,
            node,
        },
    }
}

/// Tries against an API server that is only just starting, where any answer but success may still change.
struct Patience {
    what: &'static str,
    deadline: Duration,
}

impl Patience {
    async fn until_done<F>(self, cancel: &CancellationToken, mut attempt: impl FnMut() -> F) -> Result<(), ClusterError>
    where
        F: Future<Output = Result<(), kube::Error>>,
    {
        self.until_some(cancel, || {
            let attempt = attempt();
            async { attempt.await.map(Some) }
        })
        .await
    }

    async fn until_some<F>(self, cancel: &CancellationToken, mut attempt: impl FnMut() -> F) -> Result<(), ClusterError>
    where
        F: Future<Output = Result<Option<()>, kube::Error>>,
    {
        let waited = until(self.what, self.deadline, LOOK, cancel, || {
            let attempt = attempt();
            async {
                match attempt.await {
                    Ok(Some(())) => Seen::Done(()),
                    Ok(None) => Seen::NotYet("it does not exist".to_owned()),
                    Err(error) => Seen::NotYet(error.to_string()),
                }
            }
        });
        waited.await.map_err(|source| not_ready(self.what, source, String::new()))
    }
}

async fn plant(client: &kube::Client, entry: &Entry) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": OWNER, "namespace": "kube-system" },
        "data": { "run-id": entry.run_id, "cluster": entry.cluster },
    }))
    .map_err(kube::Error::SerdeError)?;
    match maps.create(&PostParams::default(), &map).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        result => result.map(drop),
    }
}

/// What still keeps a pod in the namespace `default` from running on this node, if anything.
async fn missing(client: &kube::Client, node: &str) -> Result<Option<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let status = nodes.get(node).await?.status;
    let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
    if !conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    {
        return Ok(Some(format!("node {node} is not ready")));
    }
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    if accounts.get_opt(DEFAULT_ACCOUNT).await?.is_none() {
        return Ok(Some("the namespace default has no ServiceAccount".to_owned()));
    }
    dns::fault(client).await
}

/// Where the kubeconfig of a run's cluster lies. The folder is the run's own, so that it can go with it.
pub fn kubeconfig_path(state: &Path, cluster: &str) -> PathBuf {
    folder(state, cluster).join("kubeconfig")
}

/// The folder of a cluster's own files.
pub fn folder(state: &Path, cluster: &str) -> PathBuf {
    state.join("clusters").join(cluster)
}
