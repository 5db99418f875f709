//! rekindle lights documented Kubernetes deployment failures again, proves that each is detected for the right reason, applies the
//! remedy and proves that it lasts.
//!
//! The flow, one way, one room per stage:
//!
//! ```text
//! scenario ─► cluster ─► engine ─► evidence ─► diagnosis ─► remedy ─► evidence ─► outcome ─► report
//! ```
#![cfg(feature = "harness")]

pub mod cli;
pub mod cluster;
pub mod command;
pub mod diagnosis;
pub mod engine;
pub mod events;
pub mod evidence;
pub mod outcome;
pub mod toolchain;
pub mod remedy;
pub mod scenario;
pub mod wait;
