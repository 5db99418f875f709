//! Locks on files: held by a process, freed by the kernel however that process ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::journal::{JournalError, io};

/// A held lock. It is free again when this is dropped or the process ends, in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Lets other processes hold it as well, for as long as none of them wants it alone.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub fn share(&self) -> std::io::Result<()> {
        self.file.lock_shared()
    }

    /// Takes it back for this process alone; `false` when another process shares it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub fn alone(&self) -> std::io::Result<bool> {
        held(self.file.try_lock())
    }

    /// Writes into the file what its next holder should know; it outlives the lock.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note(&self, text: &str) -> std::io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    }
}

fn held(attempt: Result<(), TryLockError>) -> std::io::Result<bool> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// Opens and locks a file that others may delete meanwhile: a lock on a file that has lost its name keeps nobody out. Nothing when somebody
/// else holds it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn take(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Option<Lock>, JournalError> {
    let failed = |source| io("locked", path, source);
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        if !held(lock(&file)).map_err(failed)? {
            return Ok(None);
        }
        let ours = file.metadata().map_err(failed)?;
        match std::fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => return Ok(Some(Lock { file })),
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
}
