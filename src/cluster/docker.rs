//! What Docker has: looked at through its own command, by exact names and labels.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::ClusterError;
use super::config::RUN_LABEL;
use crate::command::{Command, Output};

/// How long a question to Docker may take. A daemon under load answers within seconds; one that does not answer at all is broken.
const ASK: Duration = Duration::from_secs(30);

/// Runs a command that holds a lock as long as it lives, also when its parent was killed; without one where there is no `flock`.
const HOLDING: &str = "lock=$1; shift
if command -v flock >/dev/null; then exec flock --no-fork \"$lock\" \"$@\"; fi
exec \"$@\"";

/// A container as far as ownership and removal need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub running: bool,
    pub paused: bool,
    pub labels: BTreeMap<String, String>,
    /// The network it was created for, which is known before it is started and after that network is gone.
    pub network_mode: String,
    pub volumes: Vec<String>,
    /// The port of this machine that leads to the API server.
    pub api_port: Option<u16>,
    /// Its address in the network it was created for.
    pub address: Option<String>,
}

/// A network and who is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub containers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawContainer {
    id: String,
    name: String,
    state: RawState,
    config: RawConfig,
    host_config: RawHostConfig,
    #[serde(default)]
    mounts: Vec<RawMount>,
    network_settings: RawNetworkSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawState {
    running: bool,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawConfig {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawHostConfig {
    network_mode: String,
}

#[derive(Deserialize)]
struct RawMount {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Name")]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNetworkSettings {
    ports: Option<BTreeMap<String, Option<Vec<RawBinding>>>>,
    #[serde(default)]
    networks: BTreeMap<String, RawAttachment>,
}

#[derive(Deserialize)]
struct RawAttachment {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawBinding {
    host_port: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNetwork {
    name: String,
    labels: Option<BTreeMap<String, String>>,
    containers: Option<BTreeMap<String, RawEndpoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawEndpoint {
    name: String,
}

impl From<RawContainer> for Container {
    fn from(raw: RawContainer) -> Self {
        let ports = raw.network_settings.ports.unwrap_or_default();
        let attachment = raw.network_settings.networks.get(&raw.host_config.network_mode);
        let api = ports.get("6443/tcp").and_then(|bindings| bindings.as_ref()?.first());
        Self {
            id: raw.id,
            name: raw.name.trim_start_matches('/').to_owned(),
            running: raw.state.running,
            paused: raw.state.paused,
            labels: raw.config.labels.unwrap_or_default(),
            network_mode: raw.host_config.network_mode,
            volumes: raw
                .mounts
                .into_iter()
                .filter(|mount| mount.kind == "volume")
                .filter_map(|mount| mount.name)
                .collect(),
            api_port: api.and_then(|binding| binding.host_port.parse().ok()),
            address: attachment.map(|at| at.address.clone()).filter(|address| !address.is_empty()),
        }
    }
}

/// A `docker` command with the deadline that questions get.
pub fn docker<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    Command::new("docker", ASK).args(args)
}

async fn ask(what: &'static str, args: &[&str], cancel: &CancellationToken) -> Result<Output, ClusterError> {
    docker(args).run(cancel).await.map_err(|source| ClusterError::docker(what, source))
}

/// Looks at objects by id or name. What vanished since it was listed is left out: `inspect` then fails, but prints the rest.
async fn inspect<T: for<'de> Deserialize<'de>>(
    kind: &'static str,
    what: &'static str,
    names: &[String],
    cancel: &CancellationToken,
) -> Result<Vec<T>, ClusterError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let output = docker([kind, "inspect"])
        .args(names)
        .run_any_status(cancel)
        .await
        .map_err(|source| ClusterError::docker(what, source))?;
    serde_json::from_slice(&output.stdout).map_err(|_| ClusterError::DockerAnswer {
        what,
        last: output.last_line(),
    })
}

async fn listed(what: &'static str, args: &[&str], cancel: &CancellationToken) -> Result<Vec<String>, ClusterError> {
    let output = ask(what, args, cancel).await?;
    Ok(output.text().lines().map(str::to_owned).collect())
}

/// All containers that match one of the filters, in whatever state they are.
///
/// # Errors
/// When Docker does not answer.
pub async fn containers(filters: &[String], cancel: &CancellationToken) -> Result<Vec<Container>, ClusterError> {
    const WHAT: &str = "list its containers";
    let listings = filters.iter().map(|filter| async move {
        let args = ["ps", "--all", "--quiet", "--no-trunc", "--filter", filter.as_str()];
        listed(WHAT, &args, cancel).await
    });
    let mut ids: Vec<String> = futures::future::try_join_all(listings).await?.concat();
    ids.sort();
    ids.dedup();
    let raw: Vec<RawContainer> = inspect("container", WHAT, &ids, cancel).await?;
    Ok(raw.into_iter().map(Container::from).collect())
}

/// The container with exactly this name.
///
/// # Errors
/// When Docker does not answer.
pub async fn container(name: &str, cancel: &CancellationToken) -> Result<Option<Container>, ClusterError> {
    let found = containers(&[named(name)], cancel).await?;
    Ok(found.into_iter().find(|container| container.name == name))
}

/// A filter for one exact name: Docker's own matches any part of a name.
pub fn named(name: &str) -> String {
    format!("name=^/?{}$", name.replace('.', "\\."))
}

/// The network with exactly this name.
///
/// # Errors
/// When Docker does not answer.
pub async fn network(name: &str, cancel: &CancellationToken) -> Result<Option<Network>, ClusterError> {
    const WHAT: &str = "look at a network";
    let ids = listed(
        WHAT,
        &["network", "ls", "--quiet", "--no-trunc", "--filter", &format!("name={name}")],
        cancel,
    )
    .await?;
    let raw: Vec<RawNetwork> = inspect("network", WHAT, &ids, cancel).await?;
    Ok(raw.into_iter().find(|network| network.name == name).map(|raw| Network {
        name: raw.name,
        labels: raw.labels.unwrap_or_default(),
        containers: raw.containers.unwrap_or_default().into_values().map(|end| end.name).collect(),
    }))
}

/// Why a container of this name cannot be made now, if so.
///
/// A client that is killed in the middle of `docker run` does not stop the daemon, which shows the container only when it is complete, but
/// keeps its name from the first moment. So the name is tried out, with a container of ours that is never started.
///
/// # Errors
/// When Docker does not answer.
pub async fn name_taken(name: &str, image: &str, run_id: &str, cancel: &CancellationToken) -> Result<Option<String>, ClusterError> {
    const WHAT: &str = "try out a container's name";
    let label = format!("{RUN_LABEL}={run_id}");
    let args = [
        "container",
        "create",
        "--pull",
        "never",
        "--network",
        "none",
        "--label",
        label.as_str(),
        "--name",
        name,
        image,
    ];
    let tried = docker(args)
        .run_any_status(cancel)
        .await
        .map_err(|source| ClusterError::docker(WHAT, source))?;
    if tried.status.success() {
        ask(WHAT, &["container", "rm", "--force", "--volumes", tried.text().as_str()], cancel).await?;
        return Ok(None);
    }
    let reason = tried.last_line();
    // Without the image nothing can be under way that is made from it.
    Ok((!reason.contains("No such image")).then_some(reason))
}

/// Makes a network that carries the run's label; Docker chooses its addresses. The maker's lock is held meanwhile, and an interrupt waits
/// for the answer: a network that comes into being after it was looked for would stay.
///
/// # Errors
/// When Docker refuses, above all because all its address pools are in use.
pub async fn create_network(name: &str, run_id: &str, maker: &std::path::Path) -> Result<(), ClusterError> {
    let cancel = CancellationToken::new();
    let label = format!("{RUN_LABEL}={run_id}");
    let masquerade = "com.docker.network.bridge.enable_ip_masquerade=true";
    let args = [
        "network",
        "create",
        "--driver",
        "bridge",
        "--opt",
        masquerade,
        "--label",
        label.as_str(),
        name,
    ];
    let command = Command::new("sh", ASK)
        .args(["-c", HOLDING, "sh"])
        .arg(maker)
        .arg("docker")
        .args(args);
    match command.run(&cancel).await {
        Ok(_) => Ok(()),
        Err(crate::command::CommandError::Failed { last, .. }) if last.contains("fully subnetted") || last.contains("address pool") => {
            Err(ClusterError::Addresses { last })
        }
        Err(source) => Err(ClusterError::docker("create a network", source)),
    }
}

/// Those of the named volumes that exist, and all that carry the run's label.
///
/// # Errors
/// When Docker does not answer.
pub async fn volumes(names: &[String], run_id: &str, cancel: &CancellationToken) -> Result<Vec<String>, ClusterError> {
    const WHAT: &str = "list its volumes";
    let label = format!("label={RUN_LABEL}={run_id}");
    let labelled = ["volume", "ls", "--quiet", "--filter", label.as_str()];
    let (all, labelled) = tokio::try_join!(listed(WHAT, &["volume", "ls", "--quiet"], cancel), listed(WHAT, &labelled, cancel))?;
    Ok(all
        .into_iter()
        .filter(|volume| names.contains(volume) || labelled.contains(volume))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_understood_before_it_was_ever_started() {
        let raw = r#"{"Id":"1","Name":"/x-control-plane","State":{"Running":false},"Config":{"Labels":null},
            "HostConfig":{"NetworkMode":"rekindle-aa11"},"Mounts":[{"Type":"volume","Name":"v"},{"Type":"bind"}],
            "NetworkSettings":{"Ports":{"6443/tcp":null}}}"#;
        let container = Container::from(serde_json::from_str::<RawContainer>(raw).unwrap());
        assert_eq!((container.name.as_str(), container.api_port), ("x-control-plane", None));
        assert_eq!(container.volumes, ["v"]);
        assert_eq!(container.network_mode, "rekindle-aa11");
    }

    #[test]
    fn the_published_port_is_read() {
        let raw = r#"{"Ports":{"6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"40123"}]}}"#;
        let settings: RawNetworkSettings = serde_json::from_str(raw).unwrap();
        let ports = settings.ports.unwrap();
        assert!(settings.networks.is_empty());
        assert_eq!(ports["6443/tcp"].as_ref().unwrap()[0].host_port, "40123");
    }
}
