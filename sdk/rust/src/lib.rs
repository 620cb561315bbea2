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

/// Not public API: what the expansion of [`export_plugin!`] calls, and what the tests of this crate reach
/// without it.
#[doc(hidden)]
pub mod __private {
    pub use std::ffi::c_char;

    pub use crate::abi::{RawHost, RawInstance, RawRequest, RawResponse, ABI_VERSION, OK};
    pub use crate::exports::Exports;
    pub use crate::manifest::Manifest;
    pub use crate::memory::free_string;
}

/// Makes the library that is compiled a plugin: exports the functions of the ABI. Once in a crate, whose
/// `crate-type` is `cdylib`.
///
/// The type implements [`BackworksPlugin`] and [`Default`].
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
/// The second argument is the manifest, which lets the host list, check and configure the plugin without
/// running any of it: a constant text that holds a JSON object, be it a literal or
/// `include_str!("manifest.json")`. It repeats `name()` and `version()`, which cannot be called while
/// compiling; [`check_manifest`] in a test makes sure of it.
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
///   "description": "Answers what it was sent",
///   "license": "MIT",
///   "config_schema": {"type": "object", "additionalProperties": false}
/// }"#;
///
/// export_plugin!(Echo, MANIFEST);
///
/// check_manifest(&Echo, MANIFEST).unwrap(); // this line belongs into a test
/// ```
///
/// Without it the plugin has no manifest. None is made from Cargo's name and version, because a manifest that
/// contradicts `name()` is an error, and one that is absent is not.
///
/// What cannot be made by itself cannot be exported:
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

            // A symbol as well, because #[used] alone does not survive the linker of Windows.
            #[used]
            #[export_name = "backworks_plugin_manifest"]
            #[cfg_attr(target_vendor = "apple", link_section = "__DATA,__bworks")]
            #[cfg_attr(not(target_vendor = "apple"), link_section = ".bworks")]
            pub static __BACKWORKS_MANIFEST: $crate::__private::Manifest<{ __BACKWORKS_JSON.len() }> =
                $crate::__private::Manifest::new(__BACKWORKS_JSON);
        };
    };
}

/// Not public API: the exported symbols over a value.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_functions {
    ($plugin:ty, $manifest:expr) => {
        const _: () = {
            // What is defined in here hides what the arguments name, so it has names that nobody else takes.
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
                // SAFETY: The host calls as the header says; so below.
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
