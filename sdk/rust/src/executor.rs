//! The executor for the futures of a plugin.

use std::future::Future;

use crate::PluginResult;

/// Runs a future to completion on this thread, as the host's calls do. For the tests of a plugin.
///
/// ```
/// assert_eq!(backworks_plugin_sdk::block_on(async { 6 * 7 }), 42);
/// ```
///
/// # Panics
///
/// With the feature `tokio`, if the system cannot create a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    Executor::new().expect("the runtime starts").block_on(future)
}

/// The executor of one instance: the calling thread itself.
#[cfg(not(feature = "tokio"))]
pub(crate) struct Executor;

#[cfg(not(feature = "tokio"))]
impl Executor {
    #[allow(clippy::unnecessary_wraps)] // the tokio version can fail
    pub(crate) fn new() -> PluginResult<Self> {
        Ok(Self)
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }

    /// Runs a function in the context of the executor.
    pub(crate) fn enter<T>(&self, body: impl FnOnce() -> T) -> T {
        body()
    }

    pub(crate) fn end(self) {}
}

/// The executor of one instance: a tokio runtime whose threads end with the instance ("Stops the threads that
/// the instance started").
#[cfg(feature = "tokio")]
pub(crate) struct Executor(tokio::runtime::Runtime);

#[cfg(feature = "tokio")]
impl Executor {
    pub(crate) fn new() -> PluginResult<Self> {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map(Self)
            .map_err(|error| crate::PluginError::resource_exhausted(format!("no tokio runtime: {error}")))
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    /// Runs a function in the context of the runtime, so that `tokio::spawn` works.
    pub(crate) fn enter<T>(&self, body: impl FnOnce() -> T) -> T {
        let _entered = self.0.enter();
        body()
    }

    /// Waits for all threads, including blocked ones.
    pub(crate) fn end(self) {
        drop(self.0);
    }
}
