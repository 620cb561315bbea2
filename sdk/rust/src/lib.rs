#![doc = include_str!("../README.md")]

mod abi;
mod boundary;
mod error;
mod executor;
mod exports;
mod host;
mod manifest;
mod memory;
mod plugin;
mod request;
mod response;

pub use async_trait::async_trait;
pub use error::{Code, PluginError, PluginResult};
pub use executor::block_on;
pub use host::{Host, Level};
pub use manifest::check_manifest;
pub use plugin::BackworksPlugin;
pub use request::Request;
pub use response::Response;
pub use serde_json::{self, json, Value};

#[cfg(panic = "abort")]
compile_error!("a plugin must not end its host: remove `panic = \"abort\"` from the profile");

/// Not public API: used by the expansion of [`export_plugin!`] and by the tests of this crate.
#[doc(hidden)]
pub mod __private {
    pub use std::ffi::c_char;

    pub use crate::abi::{RawHost, RawInstance, RawRequest, RawResponse, ABI_VERSION, OK};
    pub use crate::exports::Exports;
    pub use crate::manifest::Manifest;
    pub use crate::memory::free_string;
}

/// Exports the functions of the ABI, which makes the library a plugin. Use it once per crate, in a crate with
/// the `crate-type` `cdylib`.
///
/// The type must implement [`BackworksPlugin`] and [`Default`].
///
/// ```
/// # use backworks_plugin_sdk::*;
/// # #[derive(Default)] struct Echo;
/// # impl BackworksPlugin for Echo {
/// #     fn name(&self) -> &str { "echo" }
/// #     fn version(&self) -> &str { "1.0.0" }
/// # }
/// export_plugin!(Echo);
/// ```
///
/// The optional second argument is the manifest, which lets the host list, check and configure the plugin
/// without loading it. It is a constant JSON object, as a literal or by `include_str!("manifest.json")`. It
/// must repeat `name()` and `version()`, because a macro cannot call them; verify that with
/// [`check_manifest`] in a test.
///
/// ```
/// # use backworks_plugin_sdk::*;
/// # #[derive(Default)] struct Echo;
/// # impl BackworksPlugin for Echo {
/// #     fn name(&self) -> &str { "echo" }
/// #     fn version(&self) -> &str { "1.0.0" }
/// # }
/// const MANIFEST: &str = r#"{
///   "abi": 1,
///   "name": "echo",
///   "version": "1.0.0",
///   "description": "Returns what it receives",
///   "license": "MIT",
///   "config_schema": {"type": "object", "additionalProperties": false}
/// }"#;
///
/// export_plugin!(Echo, MANIFEST);
///
/// check_manifest(&Echo, MANIFEST).unwrap(); // this line belongs in a test
/// ```
///
/// Without it, the plugin has no manifest. The macro does not derive one from Cargo's name and version: a
/// manifest that contradicts `name()` is an error, and a missing manifest is not.
///
/// A type without [`Default`] does not compile:
///
/// ```compile_fail,E0277
/// # use backworks_plugin_sdk::*;
/// struct Echo(String); // no Default
/// # impl BackworksPlugin for Echo {
/// #     fn name(&self) -> &str { "echo" }
/// #     fn version(&self) -> &str { "1.0.0" }
/// # }
/// export_plugin!(Echo);
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty $(,)?) => {
        $crate::__export_functions!($plugin, ::core::option::Option::None);
    };
    ($plugin:ty, $manifest:expr $(,)?) => {
        $crate::__export_functions!($plugin, ::core::option::Option::Some($manifest));

        const _: () = {
            const __BACKWORKS_JSON: &str = $manifest;

            // Exported as a symbol too, because the Windows linker drops it with #[used] alone.
            #[used]
            #[export_name = "backworks_plugin_manifest"]
            #[cfg_attr(target_vendor = "apple", link_section = "__DATA,__bworks")]
            #[cfg_attr(not(target_vendor = "apple"), link_section = ".bworks")]
            pub static __BACKWORKS_MANIFEST: $crate::__private::Manifest<{ __BACKWORKS_JSON.len() }> =
                $crate::__private::Manifest::new(__BACKWORKS_JSON);
        };
    };
}

/// Not public API: the exported symbols.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_functions {
    ($plugin:ty, $manifest:expr) => {
        const _: () = {
            // Names defined here shadow those in the arguments, so they have unlikely names.
            use $crate::__private as __backworks;

            static __BACKWORKS_EXPORTS: __backworks::Exports<$plugin> = __backworks::Exports::new($manifest);

            #[no_mangle]
            pub extern "C" fn backworks_plugin_abi_version() -> u32 {
                __BACKWORKS_EXPORTS.abi_version()
            }

            #[no_mangle]
            pub extern "C" fn backworks_plugin_name() -> *const __backworks::c_char {
                __BACKWORKS_EXPORTS.name()
            }

            #[no_mangle]
            pub extern "C" fn backworks_plugin_version() -> *const __backworks::c_char {
                __BACKWORKS_EXPORTS.version()
            }

            #[no_mangle]
            pub extern "C" fn backworks_plugin_description() -> *const __backworks::c_char {
                __BACKWORKS_EXPORTS.description()
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_init(
                host: *const __backworks::RawHost,
                config_json: *const __backworks::c_char,
                config_size: usize,
                out: *mut *mut __backworks::RawInstance,
                error: *mut __backworks::RawResponse,
            ) -> i32 {
                // SAFETY: The host follows the header; the same applies below.
                unsafe { __BACKWORKS_EXPORTS.init(host, config_json, config_size, out, error) }
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_process_endpoint_data(
                plugin: *mut __backworks::RawInstance,
                request: *const __backworks::RawRequest,
                response: *mut __backworks::RawResponse,
            ) -> i32 {
                // SAFETY: As for init.
                unsafe { __BACKWORKS_EXPORTS.process_endpoint_data(plugin, request, response) }
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_free_string(
                data: *mut __backworks::c_char,
                size: usize,
            ) {
                // SAFETY: As for init.
                unsafe { $crate::__private::free_string(data, size) }
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_shutdown(plugin: *mut __backworks::RawInstance) -> i32 {
                // SAFETY: As for init.
                unsafe { __BACKWORKS_EXPORTS.shutdown(plugin) }
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_health_check(
                plugin: *mut __backworks::RawInstance,
                response: *mut __backworks::RawResponse,
            ) -> i32 {
                // SAFETY: As for init.
                unsafe { __BACKWORKS_EXPORTS.health_check(plugin, response) }
            }

            #[no_mangle]
            pub unsafe extern "C" fn backworks_plugin_reconfigure(
                plugin: *mut __backworks::RawInstance,
                config_json: *const __backworks::c_char,
                config_size: usize,
                error: *mut __backworks::RawResponse,
            ) -> i32 {
                // SAFETY: As for init.
                unsafe { __BACKWORKS_EXPORTS.reconfigure(plugin, config_json, config_size, error) }
            }
        };
    };
}
