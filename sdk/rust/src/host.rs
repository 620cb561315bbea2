//! The host's services for a plugin.

use std::ffi::c_void;
use std::fmt;
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::{Arc, PoisonError, RwLock};

use crate::abi::{read_field, LogFunction, RawHost};

/// The severity of a log record: the numbers of Python's `logging` module.
#[non_exhaustive]
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Details for debugging.
    Debug = 10,
    /// Normal operation.
    Info = 20,
    /// The plugin works, but an operator should look at this.
    Warning = 30,
    /// An operation failed.
    Error = 40,
    /// The plugin cannot work any more.
    Critical = 50,
}

/// The host of one instance. Cheap to clone; can be kept and used from any thread.
///
/// It may outlive its instance: records logged after the end of the instance are discarded.
#[derive(Clone)]
pub struct Host(Option<Arc<RwLock<Option<Log>>>>);

/// The log function, valid "until that instance's shutdown returns". The lock enforces that: writing a record
/// takes the read lock, and the end of the instance takes the write lock.
struct Log {
    context: *mut c_void,
    write: LogFunction,
}

// SAFETY: `log` is "[any-thread, from the call to init until shutdown returns]", and `context` is only passed
// back to it.
unsafe impl Send for Log {}
// SAFETY: As above: [any-thread] means "including several at once".
unsafe impl Sync for Log {}

impl Host {
    /// Returns a host that discards all records, for tests.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Writes one record to the host's log, under the plugin's name. May block briefly.
    pub fn log(&self, level: Level, text: impl AsRef<str>) {
        let Some(shared) = &self.0 else { return };
        let text = text.as_ref(); // may run foreign code, so call it before the lock
        let guard = shared.read().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = &*guard else { return };
        // SAFETY: The instance has not ended, or there would be no Log here, and cannot end before the guard
        // is dropped. "`text` is `size` bytes of UTF-8, borrowed for the call".
        unsafe { (log.write)(log.context, level as u32, text.as_ptr().cast(), text.len()) }
    }

    /// Reads the functions that the host provides to one instance.
    ///
    /// # Safety
    ///
    /// `raw` must be NULL or point to a `backworks_host`, "valid from the call to init until that instance's
    /// shutdown returns"; the caller must call `detach` before that.
    pub(crate) unsafe fn from_raw(raw: *const RawHost) -> Self {
        if raw.is_null() {
            return Self::none();
        }
        // SAFETY: The structure begins with struct_size, and the caller guarantees that it is valid.
        let size = unsafe { raw.cast::<u32>().read() };
        // SAFETY: struct_size is the "bytes of this structure that the host filled"; the offset is the
        // field's.
        let context = unsafe { read_field(raw, size, offset_of!(RawHost, context), null_mut()) };
        // SAFETY: As above; NULL, which the header forbids, reads as None.
        let write =
            unsafe { read_field::<_, Option<LogFunction>>(raw, size, offset_of!(RawHost, log), None) };
        Self(write.map(|write| Arc::new(RwLock::new(Some(Log { context, write })))))
    }

    /// Waits for records in progress, and discards all later ones.
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
