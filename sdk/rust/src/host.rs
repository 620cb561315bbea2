//! The way from a plugin to its host.

use std::ffi::c_void;
use std::fmt;
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::{Arc, PoisonError, RwLock};

use crate::abi::{read_field, LogFunction, RawHost};

/// How grave a record of the log is: the numbers of Python's `logging` module.
#[non_exhaustive]
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For who looks for a fault.
    Debug = 10,
    /// It works as it should.
    Info = 20,
    /// It works, but somebody should look.
    Warning = 30,
    /// Something did not work.
    Error = 40,
    /// Nothing works any more.
    Critical = 50,
}

/// The host of one instance. Cheap to clone; may be kept and used from any thread.
///
/// It outlives its instance without harm: once the instance has ended, what is logged is dropped.
#[derive(Clone)]
pub struct Host(Option<Arc<RwLock<Option<Log>>>>);

/// What the header guarantees "until that instance's shutdown has returned". The lock around it keeps that
/// promise: a record is written under the read lock, and the end of the instance takes the write lock.
struct Log {
    context: *mut c_void,
    write: LogFunction,
}

// SAFETY: `log` is "[any-thread, from the call of init until shutdown returns]", and `context` is only passed
// back to it.
unsafe impl Send for Log {}
// SAFETY: As above: [any-thread] includes "from several at once".
unsafe impl Sync for Log {}

impl Host {
    /// A host that drops what is logged, for tests.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Writes one record to the host's log, under the plugin's name. May block for a moment.
    pub fn log(&self, level: Level, text: impl AsRef<str>) {
        let Some(shared) = &self.0 else { return };
        let text = text.as_ref(); // foreign code, so before the lock
        let guard = shared.read().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = &*guard else { return };
        // SAFETY: The instance has not ended, or there would be no Log here, and does not before the guard is
        // gone. "`text` is `size` bytes of UTF-8, borrowed for the call".
        unsafe { (log.write)(log.context, level as u32, text.as_ptr().cast(), text.len()) }
    }

    /// Takes what the host offers to one instance.
    ///
    /// # Safety
    ///
    /// `raw` is NULL or points at a `backworks_host`, "valid from the call of init until that instance's
    /// shutdown has returned"; the caller calls `detach` before that.
    pub(crate) unsafe fn from_raw(raw: *const RawHost) -> Self {
        if raw.is_null() {
            return Self::none();
        }
        // SAFETY: The structure begins with struct_size, and the caller vouches that it lives.
        let size = unsafe { raw.cast::<u32>().read() };
        // SAFETY: struct_size is the "bytes of this structure that the host filled"; the offset is the
        // field's.
        let context = unsafe { read_field(raw, size, offset_of!(RawHost, context), null_mut()) };
        // SAFETY: As above; NULL, which the header forbids, reads as None.
        let write =
            unsafe { read_field::<_, Option<LogFunction>>(raw, size, offset_of!(RawHost, log), None) };
        Self(write.map(|write| Arc::new(RwLock::new(Some(Log { context, write })))))
    }

    /// Waits for the records that are being written, and lets none begin.
    pub(crate) fn detach(&self) {
        if let Some(shared) = &self.0 {
            *shared.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
