//! Opens what somebody names: a file, an archive or a folder. Nothing is written anywhere and nothing is followed, whatever the names in it
//! say.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use rustix::fs::OFlags;

use super::archive;
use super::error::ImportError;
use super::limits::Limits;
use super::links;
use super::logs::BYTES;

/// How much of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Nothing,
    /// The end is enough.
    End,
    All,
}

/// Who reads the files of a bundle.
pub trait Visitor {
    fn wants(&mut self, path: &str) -> Want;
    /// # Errors
    /// When the file could not be read to its end.
    fn file(&mut self, path: &str, reader: &mut dyn BufRead) -> io::Result<()>;
    /// Something was not read, and why.
    fn left_out(&mut self, what: &str, why: &str);
}

/// What was opened.
pub enum Opened {
    Folder,
    /// A tar archive, unpacked.
    Archive(Box<dyn BufRead>),
    /// One file, unpacked.
    Single(Box<dyn BufRead>),
    /// A recording of rekindle's.
    Recording,
}

/// Why reading ended before the end of what there is.
#[derive(Debug, thiserror::Error)]
pub enum Bound {
    #[error("it unpacks to more than {} MiB", .0 >> 20)]
    Bytes(u64),
    #[error("it unpacks to more than {0} times its size")]
    Ratio(u64),
}

/// What was read so far of everything together.
#[derive(Debug, Clone)]
pub struct Spent {
    limits: Limits,
    unpacked: Rc<Cell<u64>>,
    packed: Rc<Cell<u64>>,
}

impl Spent {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            unpacked: Rc::default(),
            packed: Rc::default(),
        }
    }

    fn unpacked(&self, bytes: usize) -> io::Result<()> {
        let unpacked = self.unpacked.get() + bytes as u64;
        self.unpacked.set(unpacked);
        if unpacked > self.limits.bytes {
            return Err(io::Error::other(Bound::Bytes(self.limits.bytes)));
        }
        if unpacked > self.limits.small && unpacked / self.limits.ratio > self.packed.get() {
            return Err(io::Error::other(Bound::Ratio(self.limits.ratio)));
        }
        Ok(())
    }
}

/// Counts what comes out of the file.
struct Packed<R>(R, Spent);

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.packed.set(self.1.packed.get() + read as u64);
        Ok(read)
    }
}

/// Counts what it becomes, and ends where that is too much.
struct Unpacked<R>(R, Spent);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.unpacked(read)?;
        Ok(read)
    }
}

const CHUNK: usize = 128 << 10;

/// Opens what lies at a path.
///
/// # Errors
/// When there is nothing that can be read.
pub fn open(path: &Path, limits: &Limits) -> Result<Opened, ImportError> {
    let of_reading = |source: io::Error| ImportError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ImportError::Missing { path: path.to_owned() }),
        Err(error) => return Err(of_reading(error)),
    };
    if metadata.is_dir() {
        return Ok(Opened::Folder);
    }
    if !metadata.is_file() {
        return Err(ImportError::Special { path: path.to_owned() });
    }
    let file = File::open(path).map_err(of_reading)?;
    stream(path, Box::new(file), limits)
}

/// Finds out what a stream of bytes is, by what it begins with.
///
/// # Errors
/// When it ends or is damaged before that can be said.
pub fn stream(path: &Path, bytes: Box<dyn Read>, limits: &Limits) -> Result<Opened, ImportError> {
    let cut_off = |error: io::Error| ImportError::CutOff {
        path: path.to_owned(),
        reason: told(&error),
    };
    let spent = Spent::new(*limits);
    let mut packed = BufReader::with_capacity(CHUNK, Packed(bytes, spent.clone()));
    let gzip = packed.fill_buf().map_err(cut_off)?.starts_with(&[0x1f, 0x8b]);
    let unpacked: Box<dyn Read> = if gzip {
        Box::new(MultiGzDecoder::new(packed))
    } else {
        Box::new(packed)
    };
    let mut unpacked = Unpacked(unpacked, spent);
    let mut head = Vec::new();
    Read::by_ref(&mut unpacked)
        .take(archive::BLOCK as u64)
        .read_to_end(&mut head)
        .map_err(cut_off)?;
    let recording = gzip && head.starts_with(br#"{"kind":"rekindle-recording""#);
    let archive = archive::begins(&head);
    let rest: Box<dyn BufRead> = Box::new(BufReader::with_capacity(CHUNK, Cursor::new(head).chain(unpacked)));
    Ok(match (recording, archive) {
        (true, _) => Opened::Recording,
        (_, true) => Opened::Archive(rest),
        _ => Opened::Single(rest),
    })
}

/// Why reading ended, as a clause.
pub fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it was cut off".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => format!("it is damaged: {error}"),
        _ => error.to_string(),
    }
}

/// Reads every file below a folder, sorted by name.
pub fn folder(root: &Path, limits: &Limits, visitor: &mut dyn Visitor) {
    let spent = Spent::new(*limits);
    let mut files = 0;
    // The last one is the next; so that the first name comes first, they are put on in reverse.
    let mut next: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 0)];
    while let Some((path, depth)) = next.pop() {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let kind = match if depth == 0 {
            fs::metadata(&path)
        } else {
            fs::symlink_metadata(&path)
        } {
            Ok(metadata) => metadata.file_type(),
            Err(error) => {
                visitor.left_out(&name, &error.to_string());
                continue;
            }
        };
        if kind.is_dir() {
            if depth > limits.depth {
                visitor.left_out(&name, "folders lie too deep within each other");
                continue;
            }
            match fs::read_dir(&path) {
                Ok(entries) => {
                    // More names than files that are read need not be held either.
                    let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).take(limits.entries).collect();
                    below.sort_unstable();
                    next.extend(below.into_iter().rev().map(|path| (path, depth + 1)));
                }
                Err(error) => visitor.left_out(&name, &error.to_string()),
            }
            continue;
        }
        if kind.is_symlink() {
            let to = fs::read_link(&path).ok().and_then(|to| links::target(&name, to.to_str()?));
            let own = to.is_some_and(|to| fs::symlink_metadata(root.join(to)).is_ok_and(|target| target.is_file()));
            if !own {
                visitor.left_out(&name, "links are not followed");
            }
            continue;
        }
        if !kind.is_file() {
            visitor.left_out(&name, "it is neither a file nor a folder");
            continue;
        }
        files += 1;
        if files > limits.entries {
            visitor.left_out("the rest", "there are too many files");
            return;
        }
        let want = visitor.wants(&name);
        if want == Want::Nothing {
            continue;
        }
        let read = file(&path, want, &spent).and_then(|mut reader| visitor.file(&name, &mut reader));
        if let Err(error) = read {
            visitor.left_out(&name, &told(&error));
            if error.get_ref().is_some_and(|bound| bound.is::<Bound>()) {
                return;
            }
        }
    }
}

fn file(path: &Path, want: Want, spent: &Spent) -> io::Result<impl BufRead + use<>> {
    // It was a file a moment ago; whatever took its place since is neither followed nor waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut skip = false;
    let end = BYTES as u64;
    if want == Want::End && file.metadata()?.len() > end {
        file.seek(SeekFrom::End(-(BYTES as i64)))?;
        skip = true;
    }
    let mut reader = BufReader::with_capacity(CHUNK, Unpacked(Packed(file, spent.clone()), spent.clone()));
    if skip {
        // What is left of the line in whose middle it begins.
        reader.skip_until(b'\n')?;
    }
    Ok(reader)
}
