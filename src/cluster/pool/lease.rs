//! A node of the pool in the hands of one process.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::machine::{Machine, Started};
use super::{Ground, PoolError, routes};
use crate::cluster::config::POOL_LABEL;
use crate::cluster::lock::Lock;

/// How far a leased node is.
#[derive(Debug, Clone, Copy)]
enum State {
    Cold,
    /// A start was cut off: the kubelet may run, and it registers only once.
    Unclear,
    Up(Started),
    /// Given back: it may be somebody else's by now.
    Returned,
}

/// What a lease and the autoscalers that work for it share.
pub struct Held {
    ground: Arc<Ground>,
    node: String,
    name: String,
    state: Mutex<State>,
    lock: Lock,
}

impl Held {
    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run that the node's cluster belongs to, the value of its label `rekindle.dev/run-id`.
    pub fn run_id(&self) -> &str {
        &self.ground.run_id
    }

    fn machine(&self) -> Machine<'_> {
        Machine {
            ground: &self.ground,
            node: &self.node,
        }
    }

    pub async fn is_up(&self) -> bool {
        matches!(*self.state.lock().await, State::Up(_))
    }

    /// See [`Lease::start`].
    pub async fn start(&self, cancel: &CancellationToken) -> Result<Started, PoolError> {
        let mut state = self.state.lock().await;
        match *state {
            State::Up(started) => Ok(started),
            State::Returned => Err(PoolError::Returned {
                node: self.node.clone(),
                name: self.name.clone(),
            }),
            State::Cold | State::Unclear => {
                if matches!(*state, State::Unclear) {
                    self.machine().put_back(cancel).await?;
                }
                *state = State::Unclear;
                let started = self.machine().start(&self.name, cancel).await?;
                *state = State::Up(started);
                Ok(started)
            }
        }
    }

    async fn put_back(&self, then: State, cancel: &CancellationToken) -> Result<(), PoolError> {
        let mut state = self.state.lock().await;
        self.machine().put_back(cancel).await?;
        *state = then;
        routes::follow(&self.ground, cancel).await
    }
}

/// A node of the pool that is this process's own. Dropped without [`Lease::give_back`], it is put back by whoever leases it next.
pub struct Lease {
    held: Arc<Held>,
}

impl Lease {
    /// `up`: whether the node is up already.
    pub(super) fn new(ground: Arc<Ground>, node: String, name: &str, lock: Lock, up: bool) -> Self {
        let state = if up { State::Up(Started::default()) } else { State::Cold };
        Self {
            held: Arc::new(Held {
                ground,
                node,
                name: name.to_owned(),
                state: Mutex::new(state),
                lock,
            }),
        }
    }

    /// The name of the node, which is also the name of its container.
    pub fn node(&self) -> &str {
        self.held.node()
    }

    /// What pods put into their `nodeSelector`, and into a toleration with the effect `NoSchedule`: key and value.
    pub fn label(&self) -> (&'static str, &str) {
        (POOL_LABEL, self.held.name())
    }

    pub(in crate::cluster) fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    /// Starts the node, and returns when it is Ready; at once where it is up already.
    ///
    /// # Errors
    /// [`PoolError::Start`] and [`PoolError::NotUp`], with what the node said last.
    pub async fn start(&self, cancel: &CancellationToken) -> Result<Started, PoolError> {
        self.held.start(cancel).await
    }

    /// Puts the node back into its cold state, and keeps the lease: what is leased is a machine that does not exist yet again.
    ///
    /// # Errors
    /// [`PoolError::NotCold`] with what is left of it at the deadline.
    pub async fn cool(&self, cancel: &CancellationToken) -> Result<(), PoolError> {
        self.held.put_back(State::Cold, cancel).await
    }

    /// Puts the node back into its cold state and lets the next one have it. An autoscaler that still works for this lease cannot start
    /// it any more.
    ///
    /// # Errors
    /// As for [`Lease::cool`]; the next one that leases the node then puts it back first.
    pub async fn give_back(self, cancel: &CancellationToken) -> Result<(), PoolError> {
        self.held.put_back(State::Returned, cancel).await?;
        let path = self.held.ground.locks.join(format!("{}.lock", self.held.node));
        Ok(self.held.lock.note("").map_err(|source| super::io("written", &path, source))?)
    }

    /// Leaves the node as it is, for [`super::Pool::resume`] of another process.
    ///
    /// # Errors
    /// When that cannot be noted; then it is put back by whoever leases it next.
    pub fn keep(self) -> Result<(), PoolError> {
        let path = self.held.ground.locks.join(format!("{}.lock", self.held.node));
        let kept = format!("{}{}", self.held.name, super::KEPT);
        Ok(self.held.lock.note(&kept).map_err(|source| super::io("written", &path, source))?)
    }
}
