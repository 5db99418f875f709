//! Reads the files of a tar archive while it comes in. Nothing of it is written anywhere: a name is a name and no path.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read as _};

use tar::{Archive, EntryType};

use super::limits::Limits;
use super::links;
use super::source::{Visitor, Want, told};

/// The size of a header, and of everything in an archive.
pub const BLOCK: usize = 512;
/// The longest name of a file.
const NAME: u64 = 4 << 10;
/// How long the names of all links may be together; a real bundle has one for each log.
const LINKS: usize = 4 << 20;
const LINK: &str = "links are not followed";
/// The most that may stand before a file about it.
const ABOUT: u64 = 64 << 10;

/// Whether an archive begins with these bytes.
pub fn begins(head: &[u8]) -> bool {
    head.len() == BLOCK && &head[257..262] == b"ustar"
}

/// Reads every file of an archive, as far as it goes.
pub fn read(reader: &mut dyn BufRead, limits: &Limits, visitor: &mut dyn Visitor) {
    let mut read = Read {
        last: "its beginning".to_owned(),
        ..Read::default()
    };
    if let Err(error) = entries(reader, limits, visitor, &mut read) {
        visitor.left_out(&format!("what comes after {}", read.last), &told(&error));
    }
    for (name, target) in &read.links {
        if !read.seen.contains(target) {
            visitor.left_out(name, LINK);
        }
    }
}

/// How far an archive was read.
#[derive(Default)]
struct Read {
    /// The file that was read last.
    last: String,
    /// The names of all files, of which there may be many.
    seen: HashSet<u64>,
    hash: RandomState,
    /// The links that lead to a name of the archive, which may come later, and that name.
    links: Vec<(String, u64)>,
    /// How long their own names are together.
    names: usize,
}

impl Read {
    /// Remembers a link; whether there is room for it, and it leads to a name of the archive. That of a hard link is told from the top.
    fn link(&mut self, kind: EntryType, name: &str, to: Option<&str>) -> bool {
        let from = if kind == EntryType::Symlink { name } else { "top" };
        let Some(target) = to.and_then(|to| links::target(from, to)) else {
            return false;
        };
        self.names += name.len();
        let room = self.names <= LINKS;
        if room {
            self.links.push((name.to_owned(), self.hash.hash_one(target)));
        }
        room
    }
}

fn entries(reader: &mut dyn BufRead, limits: &Limits, visitor: &mut dyn Visitor, read: &mut Read) -> io::Result<()> {
    let mut archive = Archive::new(reader);
    // A name that is longer than a header has room for stands in an entry of its own before it. Those are read here and not by the
    // archive, which would take one of any length.
    let mut long: Option<Vec<u8>> = None;
    let mut long_link: Option<Vec<u8>> = None;
    for (number, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if number >= limits.entries {
            visitor.left_out(&format!("what comes after {}", read.last), "there are too many files");
            return Ok(());
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                long = Some(bytes(&mut entry, NAME)?);
                continue;
            }
            EntryType::XHeader => {
                let about = bytes(&mut entry, ABOUT)?;
                long = told_about(&about, b"path=").or(long);
                long_link = told_about(&about, b"linkpath=").or(long_link);
                continue;
            }
            EntryType::GNULongLink => {
                long_link = Some(bytes(&mut entry, NAME)?);
                continue;
            }
            EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = long.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let name = as_text(&name);
        let link = long_link
            .take()
            .or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
        let link = link.as_deref().map(as_text);
        let problem = match kind {
            EntryType::Directory => continue,
            EntryType::Regular | EntryType::Continuous => problem(&name, limits),
            EntryType::Symlink | EntryType::Link if read.link(kind, &name, link.as_deref()) => continue,
            EntryType::Symlink | EntryType::Link => Some(LINK),
            _ => Some("it is neither a file nor a folder"),
        };
        if let Some(problem) = problem {
            visitor.left_out(&name, problem);
            continue;
        }
        if !read.seen.insert(read.hash.hash_one(links::name(&name))) {
            visitor.left_out(&name, "another file of that name came before it");
            continue;
        }
        if visitor.wants(&name) != Want::Nothing {
            visitor.file(&name, &mut BufReader::with_capacity(BLOCK << 6, &mut entry))?;
        }
        read.last = name;
    }
    Ok(())
}

fn as_text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
}

fn bytes(entry: &mut impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a name in it is longer than names are"));
    }
    Ok(bytes)
}

/// What stands before a file about it: lines such as `27 path=a/long/name`, each with its own length before it.
fn told_about(about: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = about;
    while let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()?;
        let line = rest.get(blank + 1..length)?;
        rest = rest.get(length..)?;
        if let Some(name) = line.strip_prefix(key) {
            return Some(name.strip_suffix(b"\n").unwrap_or(name).to_vec());
        }
    }
    None
}

/// What is wrong with a name: nobody who packs a folder writes such a one.
fn problem(name: &str, limits: &Limits) -> Option<&'static str> {
    let mut parts = name.split('/');
    if name.starts_with('/') {
        Some("its name is the path of a machine")
    } else if parts.clone().any(|part| part == "..") {
        Some("its name leads out of the bundle")
    } else if parts.by_ref().count() > limits.depth {
        Some("folders lie too deep within each other")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_told() {
        let limits = Limits::default();
        assert!(problem("a/../../etc/passwd", &limits).is_some());
        assert!(problem("/etc/passwd", &limits).is_some());
        assert!(problem(&"a/".repeat(1000), &limits).is_some());
        assert!(problem("./a/b..c/d.json", &limits).is_none());
    }

    #[test]
    fn no_more_links_are_remembered_than_there_is_room_for() {
        let mut read = Read::default();
        let name = "a".repeat(1 << 20);
        let remembered = (0..10).filter(|_| read.link(EntryType::Symlink, &name, Some("b"))).count();
        assert_eq!((remembered, read.links.len()), (4, 4));
        assert!(!Read::default().link(EntryType::Symlink, "a/b", Some("../../c")));
        // Where a symbolic link leads is told from its own folder, where a hard one does from the top.
        let mut read = Read::default();
        assert!(read.link(EntryType::Symlink, "x/a", Some("b")) && read.link(EntryType::Link, "x/a", Some("x/b")));
        assert_eq!(read.links[0].1, read.links[1].1);
    }

    #[test]
    fn a_name_is_read_from_what_stands_before_a_file() {
        let of = |about| told_about(about, b"path=");
        assert_eq!(of(b"10 size=7\n12 path=a/b\n"), Some(b"a/b".to_vec()));
        assert_eq!(of(b"14 linkpath=c\n"), None);
        assert_eq!(of(b"99 path=a\n"), None);
        assert_eq!(of(b"0 path=a\n"), None);
        assert_eq!(of(b"x"), None);
    }
}
