//! The machine of the cold pool that a trial has leased, and the autoscaler that starts it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Autoscaler, AutoscalerError, Lease, PoolError};

/// A machine that does not exist until a pod wants it.
pub struct ColdMachine {
    client: kube::Client,
    namespace: String,
    provisioning: Duration,
    lease: Lease,
    autoscaler: Mutex<Option<Autoscaler>>,
    cancel: CancellationToken,
}

/// Why the machine or its autoscaler failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    Autoscaler(#[from] AutoscalerError),
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl ColdMachine {
    /// Lets an autoscaler look after the pods of a namespace.
    pub fn new(client: &kube::Client, namespace: &str, provisioning: Duration, lease: Lease, cancel: &CancellationToken) -> Self {
        let autoscaler = Autoscaler::start(client, namespace, &lease, provisioning, cancel);
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            provisioning,
            lease,
            autoscaler: Mutex::new(Some(autoscaler)),
            cancel: cancel.clone(),
        }
    }

    /// What pods select it by, and tolerate.
    pub fn label(&self) -> (&'static str, &str) {
        self.lease.label()
    }

    /// Takes the machine away again, as if nobody had ever wanted it.
    ///
    /// # Errors
    /// When the autoscaler had failed, or the machine does not go.
    pub async fn cool(&self) -> Result<(), MachineError> {
        let mut autoscaler = self.autoscaler.lock().await;
        if let Some(running) = autoscaler.take() {
            running.stop().await?;
        }
        self.lease.cool(&self.cancel).await?;
        *autoscaler = Some(Autoscaler::start(
            &self.client,
            &self.namespace,
            &self.lease,
            self.provisioning,
            &self.cancel,
        ));
        Ok(())
    }

    /// Ends the autoscaler and gives the machine to the next.
    ///
    /// # Errors
    /// When the autoscaler had failed, or the machine does not go.
    pub async fn give_back(self) -> Result<(), MachineError> {
        let stopped = match self.autoscaler.into_inner() {
            Some(running) => running.stop().await.map(drop),
            None => Ok(()),
        };
        // Giving back is clean-up, and not interrupted: it has a deadline of its own.
        self.lease.give_back(&CancellationToken::new()).await?;
        Ok(stopped?)
    }

    /// Ends the autoscaler and leaves the machine as it is, for another process.
    ///
    /// # Errors
    /// When the autoscaler had failed, or it cannot be noted that the machine is to stay.
    pub async fn keep(self) -> Result<(), MachineError> {
        if let Some(running) = self.autoscaler.into_inner() {
            running.stop().await?;
        }
        Ok(self.lease.keep()?)
    }
}
