//! The folder in which downloads lie until they are stored: bounded, and empty again afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::edge::file_lock::FileLock;

/// Bytes are counted in pieces of this size, so that large spools fit a semaphore.
const PIECE_BYTES: u64 = 64 << 10;

/// Name of the files whose locks tell that a folder is in use, or that a process is opening its
/// own.
const LOCK: &str = "lock";

/// This process's own folder of unfinished files.
///
/// Each process has a folder of its own beside a locked file, so that one process that starts does
/// not take the files of another away. What is left of dead processes is removed at start.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    _lock: FileLock,
    room: Arc<Semaphore>,
    pieces_max: u64,
    made: AtomicU64,
}

impl Spool {
    /// Opens a spool under `folder` (`<data_dir>/spool`) and removes what dead processes left
    /// there.
    ///
    /// # Errors
    /// [`io::Error`] when the folder cannot be made, cleaned or locked.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // Held to the end: a folder that is made but not locked yet must not look like a leftover.
        let _opening = FileLock::wait(&folder.join(LOCK))?;
        remove_leftovers(folder)?;
        let own = folder.join(uuid::Uuid::new_v4().simple().to_string());
        fs::create_dir(&own)?;
        let lock = FileLock::wait(&own.join(LOCK))?;
        let pieces_max = bytes_max / PIECE_BYTES;
        let permits = usize::try_from(pieces_max).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            inner: Arc::new(Inner {
                folder: own,
                _lock: lock,
                room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
                pieces_max,
                made: AtomicU64::new(0),
            }),
        })
    }

    /// Waits until that much room is free and sets it aside.
    ///
    /// A whole file's worth is taken at once: files that grew piece by piece could wait for each
    /// other for ever.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the spool is smaller than the file may be.
    pub async fn reserve(&self, bytes_max: u64) -> io::Result<SpoolFile> {
        let pieces = bytes_max.div_ceil(PIECE_BYTES);
        let too_small = || io::Error::from(io::ErrorKind::StorageFull);
        if pieces > self.inner.pieces_max {
            return Err(too_small());
        }
        let pieces = u32::try_from(pieces).map_err(|_| too_small())?;
        let room = Arc::clone(&self.inner.room);
        let room = room
            .acquire_many_owned(pieces)
            .await
            .expect("the spool's semaphore is never closed");
        let number = self.inner.made.fetch_add(1, Ordering::Relaxed);
        Ok(SpoolFile {
            path: self.inner.folder.join(number.to_string()),
            _room: room,
            _spool: Arc::clone(&self.inner),
        })
    }

    /// Returns the room that is free now, bytes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        u64::try_from(self.inner.room.available_permits()).map_or(u64::MAX, |n| n * PIECE_BYTES)
    }

    /// Returns this process's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file in the spool with its room; both are given back when it is dropped.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
    _room: OwnedSemaphorePermit,
    // Keeps the folder for as long as there is a file in it.
    _spool: Arc<Inner>,
}

impl SpoolFile {
    /// Returns where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // It may never have been made, and what cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let removed = match FileLock::take(&path.join(LOCK)) {
            Ok(Some(_left)) => fs::remove_dir_all(&path),
            // In use.
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            // The process that made it may have just ended and removed it itself.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
