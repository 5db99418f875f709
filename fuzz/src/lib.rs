//! What the fuzz targets share: where inputs come from, how they are changed, and what is done with them.
//!
//! libFuzzer changes bytes, and keeps what reached code that nothing reached before. Few bytes changed at random are JSON still, so that half
//! of the changes are made to documents instead. Inputs begin as what the scenarios have recorded: there is no corpus to keep up to date.

mod change;
mod random;
mod seeds;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzzer_mutate;
use rekindle::diagnosis::diagnose;
use rekindle::evidence::recording::Preamble;
use rekindle::evidence::{Change, Entry, Evidence, Fact, Header};
use rekindle::import::{self, Options};
use serde_json::{Value, json};

use change::{change, damaged};
use random::Random;

/// How often a change takes a new input from the recordings instead.
const NEW: usize = 12;

/// Reads what somebody has exported, and diagnoses every namespace of it.
pub fn imported(bytes: &[u8]) {
    if let Ok(imported) = import::from_bytes(bytes, &Options::new(None, [1; 32])) {
        for timeline in imported.timelines {
            let _ = diagnose(&Evidence::of(&timeline));
        }
    }
}

/// Reads a release record, packed as Helm packs it and not, and diagnoses what it tells.
pub fn released(bytes: &[u8]) {
    let secret = |release: &[u8]| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.a.v3", "namespace": "shop"},
            "data": {"release": STANDARD.encode(STANDARD.encode(release))}})
    };
    imported(secret(&gzip(bytes)).to_string().as_bytes());
    // Helm reads records that were never packed as well.
    imported(secret(bytes).to_string().as_bytes());
}

/// Diagnoses the lines of a recording, of which those count that are a fact.
pub fn diagnosed(bytes: &[u8]) {
    let Some((header, entries)) = parsed(bytes) else { return };
    let mut evidence = Evidence::new(header);
    for entry in &entries {
        evidence.apply(entry);
    }
    let _ = diagnose(&evidence);
}

fn parsed(bytes: &[u8]) -> Option<(Header, Vec<Entry>)> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let preamble: Preamble = serde_json::from_slice(lines.next()?).ok()?;
    let entries = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Some((preamble.header, entries))
}

/// Another export.
pub fn change_import(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(seed.into());
    let bytes = match beginning(data, size, &mut random) {
        None if random.below(8) == 0 => gzip(&seeds::recording(&mut random)),
        None => seeds::exported(&mut random),
        Some(bytes) => match seeds::unpacked(bytes) {
            // What is packed is changed inside; a change of the packed bytes is nearly always just a wrong sum.
            Some(inner) if random.below(8) != 0 => gzip(&text_changed(inner, &mut random)),
            _ if random.below(2) == 0 => return fuzzer_mutate(data, size, max_size),
            _ => text_changed(bytes.to_vec(), &mut random),
        },
    };
    put(&bytes, data, max_size)
}

/// Another release record.
pub fn change_release(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(seed.into());
    let bytes = match beginning(data, size, &mut random) {
        None => seeds::release(),
        Some(_) if random.below(2) == 0 => return fuzzer_mutate(data, size, max_size),
        Some(bytes) => text_changed(bytes.to_vec(), &mut random),
    };
    put(&bytes, data, max_size)
}

/// Other lines of a recording.
pub fn change_recording(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(seed.into());
    let bytes = match beginning(data, size, &mut random) {
        None => seeds::recording(&mut random),
        Some(_) if random.below(8) == 0 => return fuzzer_mutate(data, size, max_size),
        Some(bytes) => lines_changed(bytes, &mut random),
    };
    put(&bytes, data, max_size)
}

/// What is there to be changed; nothing where a new input is due.
fn beginning<'a>(data: &'a [u8], size: usize, random: &mut Random) -> Option<&'a [u8]> {
    (size > 2 && random.below(NEW) != 0).then(|| &data[..size])
}

/// A document with other values, or, where it is none, other bytes.
fn text_changed(bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) if random.below(4) != 0 => {
            for _ in 0..=random.below(3) {
                change(&mut value, random);
            }
            value.to_string().into_bytes()
        }
        _ => damaged(bytes, random),
    }
}

fn lines_changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=random.below(8) {
        if lines.len() < 2 {
            break;
        }
        let at = 1 + random.below(lines.len() - 1);
        match random.below(8) {
            0 => drop(lines.remove(at)),
            1 => {
                let other = 1 + random.below(lines.len() - 1);
                lines.swap(at, other);
            }
            2 => lines.truncate(at),
            3 => edited(&mut lines[at], |entry| {
                if let Fact::Object { change, .. } = &mut entry.fact {
                    *change = Change::Deleted;
                }
            }),
            _ => {
                let Ok(mut value) = serde_json::from_slice::<Value>(&lines[at]) else {
                    continue;
                };
                change(&mut value, random);
                lines[at] = value.to_string().into_bytes();
            }
        }
    }
    lines.join(&b'\n')
}

fn edited(line: &mut Vec<u8>, edit: impl FnOnce(&mut Entry)) {
    if let Ok(mut entry) = serde_json::from_slice::<Entry>(line) {
        edit(&mut entry);
        *line = serde_json::to_vec(&entry).expect("an entry has a form");
    }
}

fn put(bytes: &[u8], data: &mut [u8], max_size: usize) -> usize {
    let size = bytes.len().min(max_size).min(data.len());
    data[..size].copy_from_slice(&bytes[..size]);
    size
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("it is written to memory");
    gzip.finish().expect("it is written to memory")
}
