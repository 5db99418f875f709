//! Servers that answer on this machine and not in the cluster: containers beside it.

use std::mem::ManuallyDrop;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio_util::sync::CancellationToken;

use crate::cluster::RUN_LABEL;
use crate::command::{Command, CommandError};
use crate::evidence::{Answer, Fact, Recorder, Vantage};
use crate::scenario::Outside;

const PORT: u16 = 8080;
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a server beside the cluster could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    #[error("the container that answers for {url} outside the cluster did not start: {source}")]
    Start {
        url: String,
        source: Box<testcontainers::TestcontainersError>,
    },
    #[error("the container that answers for {url} outside the cluster does not answer: {reason}")]
    Silent { url: String, reason: String },
    #[error("the containers beside namespace {namespace} could not be removed: {source}")]
    Remove { namespace: String, source: Box<CommandError> },
}

/// Names the namespace of the trial that a container stands beside.
const TRIAL_LABEL: &str = "dev.rekindle.trial";
/// How long the removal of a container may take.
const REMOVAL: Duration = Duration::from_secs(30);

/// A server beside the cluster. End it with [`Beside::stop`]; dropped without that it is removed in the background, and its label lets the
/// cluster's removal or the next start remove it if even that was cut off.
pub struct Beside {
    id: String,
    // Its own removal on drop blocks the thread, and waits for ever on a connection that Docker has closed in the meantime.
    _container: ManuallyDrop<ContainerAsync<GenericImage>>,
    gone: bool,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.gone {
            let removal = removal(&self.id);
            tokio::spawn(async move { removal.run(&CancellationToken::new()).await });
        }
    }
}

fn removal(id: &str) -> Command {
    Command::new("docker", REMOVAL).args(["rm", "--force", "--volumes", id])
}

impl Beside {
    /// Starts the server, asks it from outside, and records the answer.
    ///
    /// # Errors
    /// When it does not start or does not answer: then the failure would not be the documented one.
    pub async fn start(outside: &Outside, image: &str, run_id: &str, namespace: &str, recorder: &Recorder) -> Result<Self, OutsideError> {
        let url = outside.url.to_string();
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let start_error = |source| OutsideError::Start {
            url: url.clone(),
            source: Box::new(source),
        };
        let container = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("listening on"))
            .with_exposed_port(ContainerPort::Tcp(PORT))
            .with_cmd(&outside.standin)
            .with_label(RUN_LABEL, run_id)
            .with_label(TRIAL_LABEL, namespace)
            .with_startup_timeout(DEADLINE)
            .with_host_config_modifier(|config| {
                // On loopback only: what is played here is nobody else's business.
                let binding = testcontainers::bollard::models::PortBinding {
                    host_ip: Some("127.0.0.1".to_owned()),
                    host_port: None,
                };
                config.port_bindings = Some([(format!("{PORT}/tcp"), Some(vec![binding]))].into());
                config.publish_all_ports = Some(false);
            })
            .start()
            .await
            .map_err(start_error)?;
        let port = container.get_host_port_ipv4(PORT).await.map_err(start_error)?;
        let beside = Self {
            id: container.id().to_owned(),
            _container: ManuallyDrop::new(container),
            gone: false,
        };
        let silent = |reason: String| OutsideError::Silent { url: url.clone(), reason };
        let status = tokio::time::timeout(DEADLINE, ask(port, &outside.url))
            .await
            .map_err(|_| silent(format!("nothing came within {}s", DEADLINE.as_secs())))?
            .map_err(silent)?;
        recorder.record(Fact::Request {
            url: url.clone(),
            vantage: Vantage::Outside,
            answer: Answer::Http { status },
        });
        Ok(beside)
    }

    /// Lets the server stand when this process ends, until [`remove_all`].
    pub fn keep(mut self) {
        self.gone = true;
    }

    /// Removes the server.
    ///
    /// # Errors
    /// When Docker does not.
    pub async fn stop(mut self) -> Result<(), CommandError> {
        // Cleaning up is not interrupted: it has a deadline of its own.
        let removed = removal(&self.id).run(&CancellationToken::new()).await;
        self.gone = removed.is_ok();
        removed.map(|_| ())
    }
}

/// Removes every server that was left standing beside a trial.
///
/// # Errors
/// When Docker does not.
pub async fn remove_all(namespace: &str) -> Result<(), OutsideError> {
    let failed = |source| OutsideError::Remove {
        namespace: namespace.to_owned(),
        source: Box::new(source),
    };
    let never = CancellationToken::new();
    let label = format!("label={TRIAL_LABEL}={namespace}");
    let list = Command::new("docker", REMOVAL).args(["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
    for id in list.run(&never).await.map_err(failed)?.text().lines() {
        removal(id).run(&never).await.map_err(failed)?;
    }
    Ok(())
}

/// Asks the container as the gateway in front of it would.
async fn ask(port: u16, url: &url::Url) -> Result<u16, String> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::get(url.path())
        .header("host", url.host_str().unwrap_or_default())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    connection.abort();
    Ok(response.status().as_u16())
}
