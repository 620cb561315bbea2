//! The manifest, which is compiled into the library.

use serde_json::Value;

use crate::abi::ABI_VERSION;
use crate::{BackworksPlugin, PluginError, PluginResult};

/// The largest manifest, in bytes, as the header says.
const MAX_SIZE: usize = 262_144;

/// `backworks_manifest_header`, and the JSON that follows it.
#[repr(C)]
#[derive(Debug)]
pub struct Manifest<const N: usize> {
    pub(crate) magic: [u8; 8],
    pub(crate) size: u32,
    pub(crate) reserved: u32,
    pub(crate) text: [u8; N],
}

impl<const N: usize> Manifest<N> {
    /// Lays out a manifest of `N` bytes at compile time.
    pub const fn new(json: &str) -> Self {
        assert!(N <= MAX_SIZE, "a manifest has at most 262,144 bytes");
        match json.as_bytes().first_chunk() {
            Some(text) => Self { magic: *b"BWMANIF1", size: N as u32, reserved: 0, text: *text },
            None => panic!("the manifest has another size than N"),
        }
    }
}

/// Checks that a manifest matches the plugin. For a test next to [`export_plugin!`](crate::export_plugin);
/// the host rejects a plugin that does not match, and so does the library itself before its first instance.
///
/// ```
/// # use backworks_plugin_sdk::*;
/// # #[derive(Default)] struct Echo;
/// # impl BackworksPlugin for Echo {
/// #     fn name(&self) -> &str { "echo" }
/// #     fn version(&self) -> &str { "1.0.0" }
/// # }
/// let error = check_manifest(&Echo, r#"{"abi": 1, "name": "echo", "version": "0.9.0"}"#).unwrap_err();
///
/// assert_eq!(error.message(), r#"the manifest says "version": "0.9.0", but the plugin says "1.0.0""#);
/// ```
///
/// # Errors
///
/// [`Code::Internal`](crate::Code::Internal) if the manifest is not a JSON object, or if its `abi`, `name` or
/// `version` is missing or different.
pub fn check_manifest(plugin: &impl BackworksPlugin, manifest: &str) -> PluginResult<()> {
    check(plugin.name(), plugin.version(), manifest)
}

pub(crate) fn check(name: &str, version: &str, manifest: &str) -> PluginResult<()> {
    let found: Value = serde_json::from_str(manifest)
        .map_err(|error| PluginError::internal(format!("the manifest is not JSON: {error}")))?;
    let Some(found) = found.as_object() else {
        return Err(PluginError::internal("the manifest is not a JSON object"));
    };
    for (member, wanted) in
        [("abi", Value::from(ABI_VERSION)), ("name", Value::from(name)), ("version", Value::from(version))]
    {
        match found.get(member) {
            Some(value) if *value == wanted => {}
            Some(value) => {
                return Err(PluginError::internal(format!(
                    "the manifest says \"{member}\": {value}, but the plugin says {wanted}"
                )))
            }
            None => {
                return Err(PluginError::internal(format!(
                    "the manifest has no \"{member}\"; the plugin says {wanted}"
                )))
            }
        }
    }
    Ok(())
}
