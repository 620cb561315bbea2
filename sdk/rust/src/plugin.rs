//! The trait that a plugin implements.

use async_trait::async_trait;
use serde_json::Value;

use crate::{Host, PluginError, PluginResult, Request, Response};

/// A plugin. Only [`name`](Self::name) and [`version`](Self::version) have no default.
///
/// [`export_plugin!`](crate::export_plugin) also asks for [`Default`], which makes a plugin that is not
/// initialised yet. The life of an instance: `default`, [`attach`](Self::attach),
/// [`initialize`](Self::initialize), then calls, from any thread and several at once, then
/// [`shutdown`](Self::shutdown), then drop. A panic in any of them is caught and comes out as
/// [`Code::Internal`](crate::Code::Internal) with its text; the instance goes on.
///
/// All take `&self`, because calls run at once. What `initialize` finds out is kept in a `OnceLock` or a
/// `Mutex`; a plugin that is not [`Sync`] does not compile:
///
/// ```compile_fail,E0277
/// use backworks_plugin_sdk::*;
///
/// #[derive(Default)]
/// struct Counter(std::cell::Cell<u64>); // two calls at once would race for it
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
    /// Asked once, on a plugin that was made by `default` for this purpose and is dropped again, since the
    /// host wants to know before there is an instance.
    fn name(&self) -> &str;

    /// The plugin's version, as in <https://semver.org>: `"1.2.0"`. Asked like [`name`](Self::name).
    fn version(&self) -> &str;

    /// One sentence about the plugin. Asked like [`name`](Self::name).
    fn description(&self) -> &str {
        ""
    }

    /// Receives the way to the host's log, before [`initialize`](Self::initialize).
    ///
    /// For plugins that log in `initialize`, in `shutdown` or from threads of their own: they keep it in a
    /// `OnceLock<Host>`. While a request is answered, [`Request::host`] is at hand without that.
    fn attach(&self, host: Host) {
        drop(host);
    }

    /// Takes the configuration, an object, which is empty where nothing is configured.
    ///
    /// # Errors
    ///
    /// Whatever makes the plugin unable to work: it is then not loaded, and the message tells the operator
    /// why.
    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        let _ = config;
        Ok(())
    }

    /// Answers one request with text. `Ok(None)` means "not mine".
    ///
    /// `endpoint` is the route as the configuration writes it (`"/api/weather/{station}"`), `method` is in
    /// upper case, and `data` is, over HTTP, the JSON of the request. For other than text, for a status, a
    /// media type or header fields, and for the time that is left, implement [`process`](Self::process)
    /// instead.
    ///
    /// # Errors
    ///
    /// A [`PluginError`] of the fitting kind; its message goes to the caller.
    async fn process_endpoint_data(
        &self,
        endpoint: &str,
        method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        let _ = (endpoint, method, data);
        Err(PluginError::unimplemented("this plugin answers no requests"))
    }

    /// Answers one request, of any bytes, with any bytes. The default passes it on to
    /// [`process_endpoint_data`](Self::process_endpoint_data).
    ///
    /// # Errors
    ///
    /// As of [`process_endpoint_data`](Self::process_endpoint_data). The default refuses data that is not
    /// UTF-8 with [`Code::InvalidArgument`](crate::Code::InvalidArgument).
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        let answer =
            self.process_endpoint_data(request.endpoint(), request.method(), request.text()?).await?;
        Ok(answer.map(Response::from))
    }

    /// Tells within a second whether the plugin can do its work, with or without a text for people.
    ///
    /// # Errors
    ///
    /// The reason why it cannot.
    async fn health_check(&self) -> PluginResult<Option<String>> {
        Ok(None)
    }

    /// Takes another configuration while no other call runs.
    ///
    /// # Errors
    ///
    /// The reason why the plugin goes on with the configuration that it has. The default says
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    async fn reconfigure(&self, config: &Value) -> PluginResult<()> {
        let _ = config;
        Err(PluginError::unimplemented("this plugin takes a new configuration only when it is loaded anew"))
    }

    /// Ends the plugin, after its last call. Stops the threads that it started; what it owns is dropped
    /// afterwards.
    ///
    /// # Errors
    ///
    /// They are logged; the plugin ends nevertheless.
    async fn shutdown(&self) -> PluginResult<()> {
        Ok(())
    }
}
