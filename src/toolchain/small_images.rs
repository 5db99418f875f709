//! The images that scenarios and states run: `tools`, a small Debian with curl and kubectl for hooks; `standin`, one static binary; and
//! `named-user`, the same with a user who has a name and no number.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::archive::{self, Image};
use super::cache::{Cache, Progress};
use super::content::{Key, hash_file};
use super::debian;
use super::error::{ToolchainError, last_line};
use super::gotools::{Go, KUBECTL};
use super::images::{self, KEY_LABEL};
use crate::command::{Command, CommandError};
use crate::events::Events;

/// What decides an image beside its parts; counted up when the steps below change.
const RECIPE: &str = "1";
const STANDIN_LIMIT: u64 = 20_000_000;
const NOBODY: &str = "65532:65532";
/// The user of the image that names one. Nothing in the image says who that is, so that only another `runAsUser` lets it start.
const NAMED_USER: &str = "runner";

/// The reference of an image: its name and what it was made from.
fn reference(name: &str, key: &Key) -> String {
    format!("rekindle.local/{name}:{}", key.short())
}

/// The key and the reference of the tools image.
pub(super) fn tools(go: Option<&Go>) -> (Key, String) {
    let (kubectl, root) = (KUBECTL.key(go), debian::TOOLS.key());
    let parts = [
        ("recipe", RECIPE.as_bytes()),
        ("kubectl", kubectl.full().as_bytes()),
        ("root", root.full().as_bytes()),
    ];
    let key = Key::of(parts);
    let reference = reference("tools", &key);
    (key, reference)
}

/// Makes the tools image and loads it into the engine.
pub(super) async fn make_tools(
    cache: &Cache,
    go: Option<&Go>,
    (root, kubectl): (&Path, &Path),
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), ToolchainError> {
    let (key, reference) = tools(go);
    let kubectl = kubectl.to_owned();
    let place = move |tree: &Path| {
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        fs::copy(&kubectl, tree.join("usr/local/bin/kubectl")).map(drop)
    };
    let image = Image {
        reference,
        layers: vec![root.to_owned()],
        command: vec!["sh".to_owned()],
        ..Image::default()
    };
    make(cache, ("tools", &key), image, place, events, cancel).await
}

/// The standin's binary and what names its image.
pub(super) struct Standin {
    pub binary: PathBuf,
    pub key: Key,
    pub reference: String,
    /// The reference of the image with the named user.
    pub named_user: String,
}

impl Standin {
    /// Finds the static binary, or builds it from the source tree that this program was built in.
    pub async fn find(events: &Events, cancel: &CancellationToken) -> Result<Self, ToolchainError> {
        let exe = std::env::current_exe().map_err(ToolchainError::file("finding the running program", "/proc/self/exe"))?;
        let binary = match Self::ready(&exe) {
            Some(binary) => binary,
            None => build_standin(&exe, events, cancel).await?,
        };
        let size = binary
            .metadata()
            .map_err(ToolchainError::file("reading the standin", &binary))?
            .len();
        if size > STANDIN_LIMIT {
            return Err(ToolchainError::LargeStandin {
                path: binary,
                megabytes: size / 1_000_000,
            });
        }
        let hash = hash_file(&binary).map_err(ToolchainError::file("reading the standin", &binary))?;
        let key = Key::of([("recipe", RECIPE.as_bytes()), ("binary", hash.as_bytes())]);
        let (reference, named_user) = (reference("standin", &key), reference("named-user", &key));
        Ok(Self {
            binary,
            key,
            reference,
            named_user,
        })
    }

    /// The binary that needs no building: in the source tree when it is newer than its sources, else beside the program.
    pub fn ready(exe: &Path) -> Option<PathBuf> {
        let in_tree = source_tree(exe).and_then(|tree| {
            let binary = built_path(&tree);
            let built = binary.metadata().and_then(|metadata| metadata.modified()).ok()?;
            (newest_source(&tree)? <= built).then_some(binary)
        });
        let beside = exe.parent().map(|dir| dir.join("standin"));
        // Beside a program that was just built lies a standin of the same build, which is not static.
        in_tree.into_iter().chain(beside).find(|path| is_static_elf(path))
    }

    /// Makes the image and loads it into the engine.
    pub async fn make(&self, cache: &Cache, events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        self.make_as("standin", &self.reference, NOBODY, cache, events, cancel).await
    }

    /// The same with the named user.
    pub async fn make_named_user(&self, cache: &Cache, events: &Events, cancel: &CancellationToken) -> Result<(), ToolchainError> {
        self.make_as("named-user", &self.named_user, NAMED_USER, cache, events, cancel)
            .await
    }

    async fn make_as(
        &self,
        name: &str,
        reference: &str,
        user: &str,
        cache: &Cache,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), ToolchainError> {
        let binary = self.binary.clone();
        let place = move |tree: &Path| fs::copy(&binary, tree.join("standin")).map(drop);
        let image = Image {
            reference: reference.to_owned(),
            entrypoint: vec!["/standin".to_owned()],
            user: user.to_owned(),
            ..Image::default()
        };
        make(cache, (name, &self.key), image, place, events, cancel).await
    }
}

/// Completes `image` with a layer that `place` fills, and loads it.
async fn make(
    cache: &Cache,
    (name, key): (&str, &Key),
    mut image: Image,
    place: impl FnOnce(&Path) -> std::io::Result<()>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), ToolchainError> {
    let step_name = format!("Make the image {}", image.reference);
    let step = events.step(&step_name);
    let owner = format!("{name}-image");
    let _alone = cache.lock(&owner, Some(&Progress::new(events, &step_name)), cancel).await?;
    if images::inspect(&[&image.reference], cancel).await?.contains_key(&image.reference) {
        step.cached();
        return Ok(());
    }
    let work = tempfile::Builder::new()
        .prefix(&format!(".building-{owner}."))
        .tempdir_in(cache.root())
        .map_err(ToolchainError::file("making a folder to build in", cache.root()))?;
    image.layers.push(archive::layer(work.path(), name, place, cancel).await?);
    image.labels.push((KEY_LABEL, key.full().to_owned()));
    let archive = archive::write(vec![image], work.path(), cancel).await?;
    images::load(&archive, cancel).await?;
    step.done();
    Ok(())
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn built_path(tree: &Path) -> PathBuf {
    tree.join("target/standin").join(triple()).join("release/standin")
}

/// The folder above the program whose Cargo.toml is this crate's.
fn source_tree(exe: &Path) -> Option<PathBuf> {
    let ours = |dir: &&Path| fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"rekindle\""));
    exe.ancestors().skip(1).find(ours).map(Path::to_owned)
}

/// When the newest of the files was written that the standin is built from.
fn newest_source(tree: &Path) -> Option<SystemTime> {
    let folder = fs::read_dir(tree.join("src/bin/standin"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let single = ["src/bin/standin.rs", "Cargo.lock"].map(|name| tree.join(name));
    folder.chain(single).filter_map(|path| path.metadata().ok()?.modified().ok()).max()
}

async fn build_standin(exe: &Path, events: &Events, cancel: &CancellationToken) -> Result<PathBuf, ToolchainError> {
    let tree = source_tree(exe).ok_or_else(|| ToolchainError::NoStandin { exe: exe.to_owned() })?;
    let name = "Build the standin";
    let step = events.step(name);
    let progress = Progress::new(events, name);
    let build = Command::new("cargo", Duration::from_mins(30))
        .dir(&tree)
        .args([
            "build",
            "--release",
            "--bin",
            "standin",
            "--no-default-features",
            "--target",
            &triple(),
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", tree.join("target/standin"))
        .on_line(move |_, line| progress.say(line.trim()));
    build.run(cancel).await.map_err(|error| match error {
        CommandError::Interrupted { .. } => ToolchainError::Interrupted,
        error => ToolchainError::Build {
            what: "the standin".to_owned(),
            line: last_line(&error),
        },
    })?;
    let binary = built_path(&tree);
    // Cargo leaves a binary alone that no change concerns; its time must not make us ask again.
    let touched = fs::File::options()
        .append(true)
        .open(&binary)
        .and_then(|file| file.set_modified(SystemTime::now()));
    touched.map_err(ToolchainError::file("reading the standin just built", &binary))?;
    if !is_static_elf(&binary) {
        return Err(ToolchainError::Build {
            what: "the standin".to_owned(),
            line: "the binary is not static".to_owned(),
        });
    }
    step.done();
    Ok(binary)
}

/// Whether a file is an ELF executable of this machine's word size and order that asks for no interpreter: it runs in an image that
/// holds nothing else.
pub(super) fn is_static_elf(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    // 64 bits, little endian: the machines that kind runs on.
    if bytes.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return false;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    count > 0
        && (0..count).all(|n| {
            let at = usize::try_from(table + n * size).ok().and_then(|at| number(at, 4));
            at.is_some_and(|kind| kind != u64::from(PT_INTERP))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn static_is_what_asks_for_no_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            fs::write(dir.path().join("file"), bytes).unwrap();
            is_static_elf(&dir.path().join("file"))
        };
        assert!(check(&elf(&[1, 1, 4])));
        assert!(!check(&elf(&[6, 3, 1])));
        assert!(!check(&elf(&[1, 1])[..100]), "cut off");
        assert!(!check(b"#!/bin/sh\n"));
        assert!(!is_static_elf(&dir.path().join("none")));
        // Test programs are linked dynamically.
        assert!(!is_static_elf(&std::env::current_exe().unwrap()));
    }

    #[test]
    fn a_standin_older_than_its_source_is_not_taken() {
        let tree = tempfile::tempdir().unwrap();
        let exe = tree.path().join("target/debug/rekindle");
        for (path, content) in [
            (tree.path().join("Cargo.toml"), b"[package]\nname = \"rekindle\"\n".to_vec()),
            (tree.path().join("src/bin/standin.rs"), b"fn main() {}".to_vec()),
            (built_path(tree.path()), elf(&[1])),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(Standin::ready(&exe), Some(built_path(tree.path())));
        let source = fs::File::options()
            .append(true)
            .open(tree.path().join("src/bin/standin.rs"))
            .unwrap();
        source.set_modified(SystemTime::now() + Duration::from_mins(1)).unwrap();
        assert_eq!(Standin::ready(&exe), None);
    }
}
