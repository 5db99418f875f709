//! Evidence: a detached, serialisable copy of everything that can be observed.

mod fold;
pub mod model;
pub mod wording;

pub use fold::{Engine, EngineEnd, Evidence, Life, Log, Look, PrintedLine, Version};
pub use model::{Answer, Basis, Change, EngineStart, Entry, Fact, Header, Hook, LogLine, ObjectRef, ReleaseRecord, Timeline, Vantage};
