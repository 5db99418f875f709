//! rekindle lights documented Kubernetes deployment failures again, proves that each is detected for the right reason, applies the
//! remedy and proves that it lasts.
//!
//! The flow, one way, one room per stage:
//!
//! ```text
//! scenario ─► cluster ─► engine ─► evidence ─► diagnosis ─► remedy ─► evidence ─► outcome ─► report
//!                                     │                                   (again)
//!                                     └─► recording ─► replay
//! ```
#![cfg(feature = "harness")]

pub mod cli;
pub mod cluster;
pub mod command;
pub mod compare;
pub mod diagnosis;
pub mod engine;
pub mod events;
pub mod evidence;
pub mod exit_code;
pub mod follow;
pub mod import;
pub mod look;
pub mod outcome;
pub mod remedy;
pub mod replay;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod scenario;
pub mod toolchain;
pub mod trial;
pub mod wait;
mod whole;
