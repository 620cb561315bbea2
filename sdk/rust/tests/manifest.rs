//! The identity of a plugin before it runs: as functions, and as the manifest.

mod common;

use backworks_plugin_sdk::__private::Manifest;
use backworks_plugin_sdk::*;
use common::{static_text, Exports, Running};

#[derive(Default)]
struct Plain;

#[async_trait]
impl BackworksPlugin for Plain {
    fn name(&self) -> &str {
        "plain"
    }
    fn version(&self) -> &str {
        "1.2.3"
    }
    fn description(&self) -> &str {
        "Schlicht \u{2014} wie gesagt"
    }
}

#[derive(Default)]
struct Odd;

#[async_trait]
impl BackworksPlugin for Odd {
    fn name(&self) -> &str {
        "o\0dd"
    }
    fn version(&self) -> &str {
        ""
    }
}

/// Name, version and description are static: two calls return the same memory.
#[test]
fn identity_is_static() {
    let exports = Exports::<Plain>::new(None);

    assert_eq!(exports.abi_version(), 1);
    assert_eq!(static_text(exports.name()).as_deref(), Some("plain"));
    assert_eq!(static_text(exports.version()).as_deref(), Some("1.2.3"));
    assert_eq!(static_text(exports.description()).as_deref(), Some("Schlicht \u{2014} wie gesagt"));
    assert_eq!(exports.name(), exports.name());
}

/// A text that cannot be a C string becomes NULL, not truncated; an empty text stays empty.
#[test]
fn name_with_nul_is_null() {
    let exports = Exports::<Odd>::new(None);

    assert_eq!(static_text(exports.name()), None);
    assert_eq!(static_text(exports.version()).as_deref(), Some(""));
    assert_eq!(static_text(exports.description()).as_deref(), Some(""));
}

/// The manifest in the section is the magic, the size, zero, and the JSON.
#[test]
fn layout_is_header_and_json() {
    static MANIFEST: Manifest<7> = Manifest::new("{\"a\":1}");

    // SAFETY: 23 bytes without padding: 8 of magic, 4 of size, 4 reserved, 7 of text.
    let bytes = unsafe { std::ptr::from_ref(&MANIFEST).cast::<[u8; 23]>().read() };

    assert_eq!(&bytes[..8], b"BWMANIF1");
    assert_eq!(bytes[8..12], 7_u32.to_ne_bytes());
    assert_eq!(&bytes[12..], b"\0\0\0\0{\"a\":1}");
}

/// The error names what contradicts the plugin, with both values.
#[test]
fn contradictions_are_named() {
    let cases = [
        (r#"{"abi": 1, "name": "plain", "version": "1.2.3", "more": []}"#, ""),
        ("[]", "the manifest is not a JSON object"),
        (r#"{"abi": 1, "name": "plain"}"#, r#"the manifest has no "version"; the plugin says "1.2.3""#),
        (
            r#"{"abi": 1, "name": "other", "version": "1.2.3"}"#,
            r#"the manifest says "name": "other", but the plugin says "plain""#,
        ),
        (
            r#"{"abi": "1", "name": "plain", "version": "1.2.3"}"#,
            r#"the manifest says "abi": "1", but the plugin says 1"#,
        ),
    ];

    for (manifest, message) in cases {
        let found = check_manifest(&Plain, manifest);
        assert_eq!(found.err().map_or(String::new(), |error| error.message().to_owned()), message);
    }
    let broken = check_manifest(&Plain, "{").unwrap_err();
    assert!(broken.message().starts_with("the manifest is not JSON: "));
}

/// A library whose manifest contradicts it creates no instance.
#[test]
fn contradiction_fails_init() {
    let good = Exports::<Plain>::new(Some(r#"{"abi": 1, "name": "plain", "version": "1.2.3"}"#));
    let bad = Exports::<Plain>::new(Some(r#"{"abi": 1, "name": "plain", "version": "1"}"#));

    assert!(Running::start_exports(good, "{}").is_ok());

    let error = Running::start_exports(bad, "{}").err().unwrap();

    assert_eq!(error.code, 13);
    assert_eq!(error.text(), r#"the manifest says "version": "1", but the plugin says "1.2.3""#);
}
