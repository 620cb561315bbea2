//! The symbols are exported under their names, and do what the `Exports` behind them does.
#![deny(unsafe_code)] // the macro must also work in a crate that forbids unsafe code

#[allow(unsafe_code)]
mod common;

use backworks_plugin_sdk::*;

// Names that the expansion must not shadow.
const MANIFEST: &str = r#"{"abi": 1, "name": "exported", "version": "1.0.0"}"#;

#[derive(Default)]
struct Exports;

#[async_trait]
impl BackworksPlugin for Exports {
    fn name(&self) -> &str {
        "exported"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn process_endpoint_data(
        &self,
        _endpoint: &str,
        _method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        Ok(Some(data.to_uppercase()))
    }
}

export_plugin!(Exports, MANIFEST);

/// Calls by symbol, as a host does after looking them up.
#[allow(unsafe_code)]
mod symbols {
    use super::common::*;
    use std::ffi::c_char;
    use std::ptr::null_mut;

    extern "C" {
        fn backworks_plugin_abi_version() -> u32;
        fn backworks_plugin_name() -> *const c_char;
        fn backworks_plugin_version() -> *const c_char;
        fn backworks_plugin_description() -> *const c_char;
        fn backworks_plugin_init(
            host: *const RawHost,
            config_json: *const c_char,
            config_size: usize,
            out: *mut *mut RawInstance,
            error: *mut RawResponse,
        ) -> i32;
        fn backworks_plugin_process_endpoint_data(
            plugin: *mut RawInstance,
            request: *const RawRequest,
            response: *mut RawResponse,
        ) -> i32;
        fn backworks_plugin_free_string(data: *mut c_char, size: usize);
        fn backworks_plugin_shutdown(plugin: *mut RawInstance) -> i32;
        fn backworks_plugin_health_check(plugin: *mut RawInstance, response: *mut RawResponse) -> i32;
        fn backworks_plugin_reconfigure(
            plugin: *mut RawInstance,
            config_json: *const c_char,
            config_size: usize,
            error: *mut RawResponse,
        ) -> i32;
        static backworks_plugin_manifest: [u8; 16 + super::MANIFEST.len()];
    }

    /// A whole lifecycle through the symbols.
    #[test]
    fn life_through_symbols() {
        let log = Log::default();
        let host = host(&log);
        let mut instance = null_mut();
        let mut error = zeroed_response();
        let mut response = zeroed_response();

        // SAFETY: In the order that the header requires.
        unsafe {
            assert_eq!(backworks_plugin_abi_version(), 1);
            assert_eq!(static_text(backworks_plugin_name()).unwrap(), "exported");
            assert_eq!(static_text(backworks_plugin_version()).unwrap(), "1.0.0");
            assert_eq!(static_text(backworks_plugin_description()).unwrap(), "");
            let config = b"{}".as_ptr().cast();
            assert_eq!(backworks_plugin_init(&host, config, 2, &mut instance, &mut error), 0);
            let request = request(b"/", b"GET", b"loud");
            let process = backworks_plugin_process_endpoint_data;
            assert_eq!(process(instance, &request, &mut response), 0);
            let data = std::slice::from_raw_parts(response.data.cast::<u8>(), response.size);
            assert_eq!(data, b"LOUD");
            backworks_plugin_free_string(response.data, response.size);
            assert_eq!(backworks_plugin_health_check(instance, &mut zeroed_response()), 0);
            assert_eq!(backworks_plugin_reconfigure(instance, config, 2, &mut error), 12);
            backworks_plugin_free_string(error.data, error.size);
            assert_eq!(backworks_plugin_shutdown(instance), 0);
        }
    }

    /// The manifest is a symbol of the library, with the JSON after its header.
    #[test]
    #[cfg_attr(miri, ignore = "knows no extern statics")]
    fn manifest_is_exported() {
        // SAFETY: A static of this size, as `manifest.rs` tests.
        let bytes = unsafe { &backworks_plugin_manifest };

        assert_eq!(&bytes[..8], b"BWMANIF1");
        assert_eq!(&bytes[16..], super::MANIFEST.as_bytes());
    }
}
