//! The implementation of the exported functions: `export_plugin!` creates one [`Exports`] and calls it.

use std::ffi::{c_char, CString};
use std::io::Write;
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::abi::{RawHost, RawInstance, RawRequest, RawResponse, ABI_VERSION, OK};
use crate::boundary::{catch, guard, respond};
use crate::executor::Executor;
use crate::memory::borrow;
use crate::{manifest, BackworksPlugin, Code, Host, Level, PluginError, PluginResult, Request, Response};

/// The ABI of one plugin: each method is one exported function. A value, so that tests can use it without
/// exported symbols.
#[derive(Debug)]
pub struct Exports<P> {
    manifest: Option<&'static str>,
    identity: OnceLock<Identity>,
    plugin: PhantomData<fn() -> P>,
}

/// The plugin's name, version and description, in static memory. `None` if the plugin panicked, or if the
/// text contains a NUL.
#[derive(Debug, Default)]
struct Identity {
    name: Option<CString>,
    version: Option<CString>,
    description: Option<CString>,
}

/// The target of the host's pointer to an instance.
struct Instance<P> {
    plugin: P,
    executor: Executor,
    host: Host,
}

impl<P: BackworksPlugin + Default> Exports<P> {
    /// The functions of the plugin `P`, which is created on first use.
    pub const fn new(manifest: Option<&'static str>) -> Self {
        Self { manifest, identity: OnceLock::new(), plugin: PhantomData }
    }

    /// `backworks_plugin_abi_version`.
    pub fn abi_version(&self) -> u32 {
        ABI_VERSION
    }

    /// `backworks_plugin_name`; NULL if the plugin failed to return a name, which the host reports.
    pub fn name(&self) -> *const c_char {
        pointer(&self.identity().name)
    }

    /// `backworks_plugin_version`; NULL as for the name.
    pub fn version(&self) -> *const c_char {
        pointer(&self.identity().version)
    }

    /// `backworks_plugin_description`; NULL as for the name.
    pub fn description(&self) -> *const c_char {
        pointer(&self.identity().description)
    }

    /// `backworks_plugin_init`.
    ///
    /// # Safety
    ///
    /// The caller must follow the rules of the header.
    pub unsafe fn init(
        &self,
        host: *const RawHost,
        config_json: *const c_char,
        config_size: usize,
        out: *mut *mut RawInstance,
        error: *mut RawResponse,
    ) -> i32 {
        // SAFETY: The host is "valid from the call to init until that instance's shutdown returns (or until
        // init returns, if it fails)": `start` and `shutdown` detach it before.
        let host = unsafe { Host::from_raw(host) };
        let made = guard(|| {
            if out.is_null() {
                return Err(PluginError::invalid_argument("the host passed no `out`"));
            }
            self.check_manifest()?;
            // SAFETY: "`config_json` is `config_size` bytes of JSON, borrowed for the call".
            let config = unsafe { borrow("configuration", config_json, config_size)? };
            Instance::<P>::start(&host, config)
        });
        let result = made.map(|instance| {
            // SAFETY: `out` is not NULL; the header lets init store the instance there.
            unsafe { out.write(Box::into_raw(Box::new(instance)).cast()) };
            None
        });
        if result.is_err() {
            host.detach();
            if !out.is_null() {
                // SAFETY: As above: "On failure, ... leaves *out NULL".
                unsafe { out.write(null_mut()) };
            }
        }
        // SAFETY: `error` is the host's, or NULL.
        unsafe { respond(error, result) }
    }

    /// `backworks_plugin_process_endpoint_data`.
    ///
    /// # Safety
    ///
    /// The caller must follow the rules of the header.
    pub unsafe fn process_endpoint_data(
        &self,
        instance: *mut RawInstance,
        request: *const RawRequest,
        response: *mut RawResponse,
    ) -> i32 {
        let result = guard(|| {
            // SAFETY: "[running] with an instance whose init has returned BACKWORKS_OK and whose shutdown has
            // not been called".
            let instance = unsafe { Instance::<P>::borrow(instance)? };
            // SAFETY: The request is "borrowed for the call", and the future ends before the call does.
            let request = unsafe { Request::from_raw(request, &instance.host)? };
            instance.executor.block_on(instance.plugin.process(&request))
        });
        // SAFETY: `response` is the host's, or NULL.
        unsafe { respond(response, result) }
    }

    /// `backworks_plugin_health_check`.
    ///
    /// # Safety
    ///
    /// The caller must follow the rules of the header.
    pub unsafe fn health_check(&self, instance: *mut RawInstance, response: *mut RawResponse) -> i32 {
        let result = guard(|| {
            // SAFETY: [running], as for process_endpoint_data.
            let instance = unsafe { Instance::<P>::borrow(instance)? };
            let text = instance.executor.block_on(instance.plugin.health_check())?;
            Ok(text.map(Response::from))
        });
        // SAFETY: `response` is the host's, or NULL.
        unsafe { respond(response, result) }
    }

    /// `backworks_plugin_reconfigure`.
    ///
    /// # Safety
    ///
    /// The caller must follow the rules of the header.
    pub unsafe fn reconfigure(
        &self,
        instance: *mut RawInstance,
        config_json: *const c_char,
        config_size: usize,
        error: *mut RawResponse,
    ) -> i32 {
        let result = guard(|| {
            // SAFETY: [running], as for process_endpoint_data.
            let instance = unsafe { Instance::<P>::borrow(instance)? };
            // SAFETY: "with the same arguments as init": borrowed for the call.
            let config = parse(unsafe { borrow("configuration", config_json, config_size)? })?;
            instance.executor.block_on(instance.plugin.reconfigure(&config))?;
            Ok(None)
        });
        // SAFETY: `error` is the host's, or NULL.
        unsafe { respond(error, result) }
    }

    /// `backworks_plugin_shutdown`. Errors are logged, because there is no way to return a message.
    ///
    /// # Safety
    ///
    /// The caller must follow the rules of the header.
    pub unsafe fn shutdown(&self, instance: *mut RawInstance) -> i32 {
        if instance.is_null() {
            return Code::InvalidArgument as i32;
        }
        // SAFETY: The pointer is from Box::into_raw in `init`, and shutdown is "called exactly once, after
        // the last call to the instance has returned".
        let instance = *unsafe { Box::from_raw(instance.cast::<Instance<P>>()) };
        let host = instance.host.clone();
        let asked = guard(|| instance.executor.block_on(instance.plugin.shutdown()));
        let ended = instance.end();
        let result = asked.and(ended);
        if let Err(error) = &result {
            host.log(Level::Error, format!("shutdown: {error}"));
        }
        host.detach();
        result.map_or_else(|error| error.code() as i32, |()| OK)
    }

    /// Asks a temporary plugin, because the host calls this before there is an instance.
    fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| {
            let Some(plugin) = said("default()", || Ok(P::default())) else {
                return Identity::default();
            };
            let text =
                |text: &str| CString::new(text).map_err(|error| PluginError::internal(error.to_string()));
            let identity = Identity {
                name: said("name()", || text(plugin.name())),
                version: said("version()", || text(plugin.version())),
                description: said("description()", || text(plugin.description())),
            };
            said("drop()", || {
                drop(plugin);
                Ok(())
            });
            identity
        })
    }

    fn check_manifest(&self) -> PluginResult<()> {
        let Some(manifest) = self.manifest else {
            return Ok(());
        };
        let identity = self.identity();
        let text = |value: &Option<CString>| {
            let text = value.as_ref().and_then(|value| value.to_str().ok());
            text.unwrap_or_default().to_owned()
        };
        manifest::check(&text(&identity.name), &text(&identity.version), manifest)
    }
}

impl<P: BackworksPlugin + Default> Instance<P> {
    fn start(host: &Host, config: &[u8]) -> PluginResult<Self> {
        let config = parse(config)?;
        let executor = Executor::new()?;
        let plugin = catch(|| executor.enter(P::default))?;
        let instance = Self { plugin, executor, host: host.clone() };
        let started = guard(|| {
            instance.executor.enter(|| instance.plugin.attach(host.clone()));
            instance.executor.block_on(instance.plugin.initialize(&config))
        });
        match started {
            Ok(()) => Ok(instance),
            Err(error) => {
                // The reason for the failed start matters more than an error at the end.
                let _ = instance.end();
                Err(error)
            }
        }
    }

    /// Drops the plugin in the executor that ran its futures, then the executor.
    fn end(self) -> PluginResult<()> {
        let Self { plugin, executor, .. } = self;
        let dropped = catch(|| executor.enter(|| drop(plugin)));
        dropped.and(catch(|| executor.end()))
    }
}

impl<P> Instance<P> {
    /// # Safety
    ///
    /// `instance` must be NULL, or come from `init` of the same plugin and not be shut down before `'a` ends.
    unsafe fn borrow<'a>(instance: *mut RawInstance) -> PluginResult<&'a Self> {
        // SAFETY: As above. Only a shared reference: "other [concurrent] calls with the same instance may be
        // running".
        unsafe { instance.cast::<Self>().as_ref() }
            .ok_or_else(|| PluginError::invalid_argument("the host passed no instance"))
    }
}

fn parse(config: &[u8]) -> PluginResult<serde_json::Value> {
    serde_json::from_slice(config)
        .map_err(|error| PluginError::invalid_argument(format!("the configuration is not JSON: {error}")))
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(null(), |text| text.as_ptr())
}

/// Asks the plugin for one of its texts. Errors go to standard error, because these functions cannot return
/// them.
fn said<T>(what: &str, ask: impl FnOnce() -> PluginResult<T>) -> Option<T> {
    let report = |error| {
        // Not eprintln!, which panics if standard error is closed.
        let _ = writeln!(std::io::stderr(), "backworks plugin: {what}: {error}");
    };
    guard(ask).map_err(report).ok()
}
