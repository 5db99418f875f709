//! Evidence: a detached, serialisable copy of everything that can be observed.

pub mod address;
pub mod collect;
pub mod declared;
mod fold;
mod gates;
pub mod health;
mod index;
mod intake;
mod left;
mod life;
pub mod loops;
pub mod manifest;
pub mod model;
pub mod moment;
pub mod names;
mod recorder;
pub mod recording;
mod redact;
mod release;
mod script;
pub mod wording;
pub mod writers;

pub use collect::{CollectError, Collector};
pub use fold::{Engine, EngineEnd, Evidence, Log, Look, PrintedLine};
pub use intake::Intake;
pub use left::left;
pub use life::{Life, Version};
pub use model::{
    Answer, Basis, Change, EngineStart, Entry, Fact, Header, Hook, LogLine, ObjectRef, ReleaseRecord, TemplateLookup, Timeline, Vantage,
    Writer,
};
pub use names::Names;
pub use recorder::{Bookmark, News, Recorder};
pub use recording::Recording;
pub use redact::scrubbed;
