//! Locks that programs share by a file.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A locked file. The lock ends when this is dropped, or with the program.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Locks a file, which is made if it is not there; waits for who has it.
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be opened or locked.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        file.lock()?;
        Ok(Self(file))
    }

    /// Locks a file, which is made if it is not there; returns nothing when another has it.
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be opened or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::create(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a program that is being started: between fork and
        // exec it has every open file of ours. Where unlocking fails, that moment is all it costs.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::take(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(held);
        FileLock::wait(&path).unwrap();
        assert!(FileLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn it_ends_although_a_program_that_is_being_started_has_the_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::wait(&path).unwrap();
        // What a fork does.
        let _inherited = held.0.try_clone().unwrap();
        drop(held);
        assert!(FileLock::take(&path).unwrap().is_some());
    }
}
