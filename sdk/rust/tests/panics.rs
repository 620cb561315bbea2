//! A panic never crosses the boundary: wherever it happens, it becomes INTERNAL with its text.

mod common;

use backworks_plugin_sdk::*;
use common::{static_text, Exports, Running};
use std::panic::panic_any;

const INTERNAL: i32 = Code::Internal as i32;

/// Defines a plugin that panics in one method.
macro_rules! panics {
    ($name:ident, $($method:tt)*) => {
        #[derive(Default)]
        struct $name;

        #[async_trait]
        impl BackworksPlugin for $name {
            fn version(&self) -> &str {
                "1.0.0"
            }
            $($method)*
        }
    };
    ($name:ident: $($method:tt)*) => {
        panics!($name, fn name(&self) -> &str { "panics" } $($method)*);
    };
}

panics!(
    InName,
    fn name(&self) -> &str {
        panic!("no name")
    }
);
panics!(InAttach: fn attach(&self, _: Host) { panic!("not attached") });
panics!(InInitialize: async fn initialize(&self, config: &Value) -> PluginResult<()> {
    panic!("no {config}")
});
panics!(InHealth: async fn health_check(&self) -> PluginResult<Option<String>> { panic!("ill") });
panics!(InReconfigure: async fn reconfigure(&self, _: &Value) -> PluginResult<()> { panic!("stubborn") });
panics!(InShutdown: async fn shutdown(&self) -> PluginResult<()> { panic!("not yet") });
panics!(InProcess: async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
    match request.data() {
        b"static" => panic!("a text"),
        b"number" => panic_any(7),
        b"bomb" => panic_any(Bomb),
        data => Ok(Some(Response::new(data))),
    }
});

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload itself");
    }
}

/// Defines a plugin that panics when it is created, or when it is dropped.
macro_rules! panics_itself {
    ($name:ident) => {
        #[async_trait]
        impl BackworksPlugin for $name {
            fn name(&self) -> &str {
                "panics"
            }
            fn version(&self) -> &str {
                "1.0.0"
            }
        }
    };
}

struct InDefault;

impl Default for InDefault {
    fn default() -> Self {
        panic!("not made")
    }
}

#[derive(Default)]
struct InDrop;

impl Drop for InDrop {
    fn drop(&mut self) {
        panic!("not dropped");
    }
}

panics_itself!(InDefault);
panics_itself!(InDrop);

/// A plugin whose `name` panics has no name, but still has its version.
#[test]
fn panic_in_name_gives_null() {
    let exports = Exports::<InName>::new(None);

    assert_eq!(static_text(exports.name()), None);
    assert_eq!(static_text(exports.version()).as_deref(), Some("1.0.0"));
}

/// A plugin that cannot be created has no name and no instance.
#[test]
fn panic_in_default_fails_init() {
    let exports = Exports::<InDefault>::new(None);

    assert_eq!(static_text(exports.name()), None);

    let error = Running::start_exports(exports, "{}").err().unwrap();

    assert_eq!((error.code, error.text()), (INTERNAL, "panicked: not made"));
}

/// A panic in `attach` fails init.
#[test]
fn panic_in_attach_fails_init() {
    let error = Running::<InAttach>::start("{}").err().unwrap();

    assert_eq!((error.code, error.text()), (INTERNAL, "panicked: not attached"));
}

/// A panic in `initialize` fails init, with the formatted text.
#[test]
fn panic_in_initialize_fails_init() {
    let error = Running::<InInitialize>::start("[]").err().unwrap();

    assert_eq!((error.code, error.text()), (INTERNAL, "panicked: no []"));
}

/// Only the call that panics fails: the instance handles the next one.
#[test]
fn panic_in_a_call_fails_this_call_only() {
    let plugin = Running::<InProcess>::start("{}").unwrap();

    let texts = ["static", "number", "fine"].map(|data| {
        let answer = plugin.call(data);
        (answer.code, answer.text().to_owned())
    });

    assert_eq!(
        texts,
        [
            (INTERNAL, "panicked: a text".to_owned()),
            (INTERNAL, "panicked".to_owned()),
            (0, "fine".to_owned()),
        ]
    );
}

/// A panic whose payload panics on drop is caught as well.
#[test]
#[cfg_attr(miri, ignore = "leaks on purpose what the second panic leaves")]
fn panic_of_a_panic_is_stopped() {
    let plugin = Running::<InProcess>::start("{}").unwrap();

    let answer = plugin.call("bomb");

    assert_eq!((answer.code, answer.text()), (INTERNAL, "panicked"));
    assert_eq!(plugin.call("fine").text(), "fine");
}

/// A panic in the health check reports the plugin as unhealthy.
#[test]
fn panic_in_health_check_is_unhealthy() {
    let answer = Running::<InHealth>::start("{}").unwrap().health_check();

    assert_eq!((answer.code, answer.text()), (INTERNAL, "panicked: ill"));
}

/// A panic in `reconfigure` is an error.
#[test]
fn panic_in_reconfigure_is_an_error() {
    let answer = Running::<InReconfigure>::start("{}").unwrap().reconfigure("{}");

    assert_eq!((answer.code, answer.text()), (INTERNAL, "panicked: stubborn"));
}

/// A panic in `shutdown` is logged, and the instance still ends.
#[test]
fn panic_in_shutdown_is_logged() {
    let (code, log) = Running::<InShutdown>::start("{}").unwrap().shutdown();

    assert_eq!(code, INTERNAL);
    assert_eq!(log, [(40, "shutdown: INTERNAL: panicked: not yet".to_owned())]);
}

/// A panic in the plugin's destructor is logged.
#[test]
fn panic_in_drop_is_logged() {
    let exports = Exports::<InDrop>::new(None);

    assert_eq!(static_text(exports.name()).as_deref(), Some("panics"));

    let (code, log) = Running::start_exports(exports, "{}").unwrap().shutdown();

    assert_eq!(code, INTERNAL);
    assert_eq!(log, [(40, "shutdown: INTERNAL: panicked: not dropped".to_owned())]);
}
