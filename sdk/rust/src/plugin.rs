//! The trait that a plugin implements.

use async_trait::async_trait;
use serde_json::Value;

use crate::{Host, PluginError, PluginResult, Request, Response};

/// A plugin. Only [`name`](Self::name) and [`version`](Self::version) have no default.
///
/// [`export_plugin!`](crate::export_plugin) also requires [`Default`], which creates an uninitialised plugin.
/// The lifecycle of an instance is `default`, [`attach`](Self::attach), [`initialize`](Self::initialize),
/// calls from any thread and several at once, [`shutdown`](Self::shutdown), drop. A panic in any of them is
/// caught and becomes [`Code::Internal`](crate::Code::Internal) with its text; the instance keeps working.
///
/// All methods take `&self`, because calls run concurrently. Keep what `initialize` computes in a `OnceLock`
/// or a `Mutex`; a plugin that is not [`Sync`] does not compile:
///
/// ```compile_fail,E0277
/// use backworks_plugin_sdk::*;
///
/// #[derive(Default)]
/// struct Counter(std::cell::Cell<u64>); // concurrent calls would race
///
/// #[async_trait]
/// impl BackworksPlugin for Counter {
///     fn name(&self) -> &str { "counter" }
///     fn version(&self) -> &str { "1.0.0" }
/// }
/// ```
#[async_trait]
pub trait BackworksPlugin: Send + Sync + 'static {
    /// The plugin's name: 1 to 64 characters of `[a-z0-9._-]`, the first a letter or a digit.
    ///
    /// Called once, on a temporary plugin created by `default`, because the host needs the name before there
    /// is an instance.
    fn name(&self) -> &str;

    /// The plugin's version, as in <https://semver.org>: `"1.2.0"`. Called like [`name`](Self::name).
    fn version(&self) -> &str;

    /// One sentence about the plugin. Called like [`name`](Self::name).
    fn description(&self) -> &str {
        ""
    }

    /// Receives the host, for logging, before [`initialize`](Self::initialize).
    ///
    /// A plugin that logs in `initialize`, in `shutdown` or from its own threads keeps the host in a
    /// `OnceLock<Host>`. A request handler can use [`Request::host`] instead.
    fn attach(&self, host: Host) {
        drop(host);
    }

    /// Takes the configuration, a JSON object, which is empty if nothing is configured.
    ///
    /// # Errors
    ///
    /// The reason why the plugin cannot work. The host then does not load it, and shows the message to the
    /// operator.
    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        let _ = config;
        Ok(())
    }

    /// Handles one request with text. `Ok(None)` means "not mine".
    ///
    /// `endpoint` is the route, as written in the configuration (`"/api/weather/{station}"`), `method` is in
    /// upper case, and `data` is, over HTTP, the request as JSON. Implement [`process`](Self::process)
    /// instead for bytes, a status, a media type, header fields or the remaining time.
    ///
    /// # Errors
    ///
    /// A [`PluginError`] with a suitable code; the caller receives its message.
    async fn process_endpoint_data(
        &self,
        endpoint: &str,
        method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        let _ = (endpoint, method, data);
        Err(PluginError::unimplemented("this plugin answers no requests"))
    }

    /// Handles one request; the data of request and response may be any bytes. The default calls
    /// [`process_endpoint_data`](Self::process_endpoint_data).
    ///
    /// # Errors
    ///
    /// As for [`process_endpoint_data`](Self::process_endpoint_data). The default rejects data that is not
    /// UTF-8 with [`Code::InvalidArgument`](crate::Code::InvalidArgument).
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        let answer =
            self.process_endpoint_data(request.endpoint(), request.method(), request.text()?).await?;
        Ok(answer.map(Response::from))
    }

    /// Reports within a second whether the plugin can do its work, with an optional human-readable text.
    ///
    /// # Errors
    ///
    /// The reason why it cannot.
    async fn health_check(&self) -> PluginResult<Option<String>> {
        Ok(None)
    }

    /// Takes a new configuration while no other call runs.
    ///
    /// # Errors
    ///
    /// The reason why the plugin keeps the old configuration. The default returns
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    async fn reconfigure(&self, config: &Value) -> PluginResult<()> {
        let _ = config;
        Err(PluginError::unimplemented("this plugin accepts a new configuration only on reload"))
    }

    /// Ends the plugin, after its last call. Must stop the threads that the plugin started; the plugin is
    /// dropped afterwards.
    ///
    /// # Errors
    ///
    /// Errors are logged, and the plugin ends all the same.
    async fn shutdown(&self) -> PluginResult<()> {
        Ok(())
    }
}
