//! Packs a chart or a folder of manifests as a source of Flux's would serve it.

use std::fs;
use std::io;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::scenario::placeholders::filled;

/// Why a chart could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error("reading its folder failed: {0}")]
    Folder(#[from] io::Error),
    #[error("its Chart.yaml cannot be read: {0}")]
    Metadata(Box<serde_saphyr::Error>),
    #[error("its Chart.yaml names no {0}")]
    Incomplete(&'static str),
}

/// A packed chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// `<name>/…`, in a tar file under gzip; the same files always give the same bytes.
    pub bytes: Vec<u8>,
    /// Of these bytes, in hexadecimal.
    pub sha256: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

/// Packs the chart in a folder.
///
/// # Errors
/// A clause that fits after the folder's name.
pub fn pack(folder: &Path) -> Result<Package, ChartError> {
    let text = fs::read_to_string(folder.join("Chart.yaml"))?;
    let Metadata { name, version } = serde_saphyr::from_str(&text).map_err(|error| ChartError::Metadata(Box::new(error)))?;
    for (field, value) in [("name", &name), ("version", &version)] {
        if value.is_empty() {
            return Err(ChartError::Incomplete(field));
        }
    }
    let mut tar = archive();
    add(&mut tar, folder, Path::new(&name), &|_, bytes| bytes)?;
    packed(name, version, tar)
}

/// Packs a folder of manifests; `values` fills in what stands in `${…}`.
///
/// # Errors
/// When it cannot be read.
pub fn pack_manifests(folder: &Path, name: &str, values: &Value) -> Result<Package, ChartError> {
    let mut tar = archive();
    let fill = |_: &Path, bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => filled(&text, values).into_bytes(),
        Err(other) => other.into_bytes(),
    };
    add(&mut tar, folder, Path::new(""), &fill)?;
    let mut package = packed(name.to_owned(), String::new(), tar)?;
    // Manifests bear no version; as with a bucket, their content is their revision.
    package.version = format!("latest@sha256:{}", package.sha256);
    Ok(package)
}

type Archive = tar::Builder<GzEncoder<Vec<u8>>>;

fn archive() -> Archive {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    // No times, no owners: the digest is that of the content.
    tar.mode(tar::HeaderMode::Deterministic);
    tar
}

fn packed(name: String, version: String, tar: Archive) -> Result<Package, ChartError> {
    let bytes = tar.into_inner()?.finish()?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Package {
        name,
        version,
        bytes,
        sha256,
    })
}

fn add(tar: &mut Archive, folder: &Path, at: &Path, change: &dyn Fn(&Path, Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, inside) = (entry.path(), at.join(entry.file_name()));
        // Of a link what it leads to counts.
        if fs::metadata(&path)?.is_dir() {
            add(tar, &path, &inside, change)?;
        } else {
            let bytes = change(&path, fs::read(&path)?);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, inside, bytes.as_slice())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(metadata: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("templates")).unwrap();
        fs::write(folder.path().join("Chart.yaml"), metadata).unwrap();
        fs::write(folder.path().join("templates/a.yaml"), "kind: ConfigMap").unwrap();
        folder
    }

    #[test]
    fn the_files_lie_below_the_charts_name() {
        let folder = chart("name: pub\nversion: 1.2.3\n");
        let package = pack(folder.path()).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("pub", "1.2.3"));
        assert_eq!(package, pack(folder.path()).unwrap(), "the same files give the same bytes");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(package.bytes.as_slice()));
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["pub/Chart.yaml", "pub/templates/a.yaml"]);
    }

    #[test]
    fn manifests_are_filled_in_and_named_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("app")).unwrap();
        fs::write(folder.path().join("app/job.yaml"), "image: ${images.tools} ${DOMAIN}").unwrap();
        let values = serde_json::json!({"images": {"tools": "tools:1"}});
        let package = pack_manifests(folder.path(), "jobs", &values).unwrap();
        assert_eq!(package.version, format!("latest@sha256:{}", package.sha256));
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(package.bytes.as_slice()));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut entry, &mut text).unwrap();
        assert_eq!(
            (entry.path().unwrap().display().to_string().as_str(), text.as_str()),
            ("app/job.yaml", "image: tools:1 ${DOMAIN}")
        );
    }

    #[test]
    fn what_is_no_chart_says_why() {
        let said = |metadata: &str| pack(chart(metadata).path()).unwrap_err().to_string();
        assert_eq!(said("name: pub\n"), "its Chart.yaml names no version");
        assert!(said("name: [").starts_with("its Chart.yaml cannot be read: "));
        let none = tempfile::tempdir().unwrap();
        assert!(pack(none.path()).unwrap_err().to_string().starts_with("reading its folder failed"));
    }
}
