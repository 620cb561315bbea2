//! Instances are independent, accept concurrent calls, end once, and leave nothing dangling behind.

mod common;

use std::cell::RefCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

use backworks_plugin_sdk::*;
use common::{host, take, zeroed_response, Exports, Log, Running};

/// Greets with a word from its configuration, and counts.
#[derive(Default)]
struct Greeter {
    host: OnceLock<Host>,
    word: Mutex<String>,
    calls: AtomicU32,
}

#[async_trait]
impl BackworksPlugin for Greeter {
    fn name(&self) -> &str {
        "greeter"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    fn attach(&self, host: Host) {
        self.host.set(host).expect("attached once");
    }
    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        self.host.get().expect("attached first").log(Level::Debug, "initialize");
        self.reconfigure(config).await
    }
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        request.host().log(Level::Warning, "a call");
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let word = self.word.lock().unwrap();
        Ok(Some(Response::from(format!("{word} {} {calls}", request.text()?))))
    }
    async fn reconfigure(&self, config: &Value) -> PluginResult<()> {
        let word = config["word"]
            .as_str()
            .ok_or_else(|| PluginError::failed_precondition("`word` is not a text"))?;
        word.clone_into(&mut self.word.lock().unwrap());
        Ok(())
    }
    async fn shutdown(&self) -> PluginResult<()> {
        self.host.get().expect("attached").log(Level::Info, "shutdown");
        if self.calls.load(Ordering::Relaxed) == 0 {
            return Err(PluginError::cancelled("nobody called"));
        }
        Ok(())
    }
}

/// Two instances of one library have their own configuration, state and end.
#[test]
fn two_instances_are_apart() {
    let one = Running::<Greeter>::start(r#"{"word": "hello"}"#).unwrap();
    let two = Running::<Greeter>::start(r#"{"word": "ahoj"}"#).unwrap();

    assert_eq!(one.call("x").text(), "hello x 1");
    assert_eq!(two.call("x").text(), "ahoj x 1");

    drop(one);

    assert_eq!(two.call("y").text(), "ahoj y 2");
}

/// Sixteen threads call one instance at once, and each gets its own response.
#[test]
fn concurrent_calls_are_answered_apart() {
    let rounds = if cfg!(miri) { 2 } else { 200 };
    let plugin = Running::<Greeter>::start(r#"{"word": "hi"}"#).unwrap();

    thread::scope(|scope| {
        for caller in 0..16 {
            let plugin = &plugin;
            scope.spawn(move || {
                for round in 0..rounds {
                    let answer = plugin.call(format!("{caller}/{round}"));
                    assert!(answer.text().starts_with(&format!("hi {caller}/{round} ")));
                }
            });
        }
    });

    assert_eq!(plugin.call("last").text(), format!("hi last {}", 16 * rounds + 1));
}

/// One thread may create an instance and another end it.
#[test]
fn instance_moves_between_threads() {
    let plugin = Running::<Greeter>::start(r#"{"word": "hi"}"#).unwrap();
    plugin.call("x");

    let (code, _) = thread::spawn(move || plugin.shutdown()).join().unwrap();

    assert_eq!(code, 0);
}

/// An error from `initialize` becomes its code and message, without an instance.
#[test]
fn refused_configuration_is_an_error() {
    let error = Running::<Greeter>::start("{}").err().unwrap();

    assert_eq!((error.code, error.text()), (9, "`word` is not a text"));
}

/// A configuration that is not JSON is INVALID_ARGUMENT.
#[test]
fn broken_configuration_is_an_error() {
    for config in ["", "{", "\u{0}"] {
        let error = Running::<Greeter>::start(config).err().unwrap();

        assert_eq!(error.code, 3);
        assert!(error.text().starts_with("the configuration is not JSON: "));
    }
}

/// A new configuration is accepted, or the old one stays.
#[test]
fn reconfigure_keeps_what_works() {
    let plugin = Running::<Greeter>::start(r#"{"word": "a"}"#).unwrap();

    assert_eq!(plugin.reconfigure("{}").text(), "`word` is not a text");
    assert_eq!(plugin.call("x").text(), "a x 1");
    assert_eq!(plugin.reconfigure("nonsense").code, 3);
    assert_eq!(plugin.reconfigure(r#"{"word": "b"}"#).data, None);
    assert_eq!(plugin.call("x").text(), "b x 2");
}

/// NULL for the host means no log; NULL for `out` or `error` is an error, not a crash.
#[test]
fn null_arguments_of_init() {
    let exports = Exports::<Greeter>::new(None);
    let config = r#"{"word": "a"}"#;
    let mut error = zeroed_response();
    let mut instance = null_mut();

    // SAFETY: All arguments are NULL or complete.
    let (no_out, no_error, no_host) = unsafe {
        let host = std::ptr::null();
        let json = config.as_ptr().cast();
        let no_out = exports.init(host, json, config.len(), null_mut(), &mut error);
        let no_error = exports.init(host, json, 1, &mut instance, null_mut());
        let no_host = exports.init(host, json, config.len(), &mut instance, null_mut());
        exports.shutdown(instance);
        (no_out, no_error, no_host)
    };

    assert_eq!(take(no_out, error).text(), "the host passed no `out`");
    assert_eq!((no_error, no_host), (3, 0));
}

/// The log receives the records of all phases with their levels, and the error that shutdown cannot return.
#[test]
fn log_gets_all_records() {
    let (code, log) = Running::<Greeter>::start(r#"{"word": "a"}"#).unwrap().shutdown();
    let called = Running::<Greeter>::start(r#"{"word": "a"}"#).unwrap();
    called.call("x");
    let (_, called_log) = called.shutdown();
    let texts = |log: &[(u32, String)]| -> Vec<String> {
        log.iter().map(|(level, text)| format!("{level} {text}")).collect()
    };

    assert_eq!(code, 1);
    assert_eq!(texts(&log), ["10 initialize", "20 shutdown", "40 shutdown: CANCELLED: nobody called"]);
    assert_eq!(texts(&called_log), ["10 initialize", "30 a call", "20 shutdown"]);
}

thread_local! {
    static KEPT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Keeps its host longer than the host is valid.
#[derive(Default)]
struct Keeper;

#[async_trait]
impl BackworksPlugin for Keeper {
    fn name(&self) -> &str {
        "keeper"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    fn attach(&self, host: Host) {
        KEPT.set(Some(host));
    }
    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        match config["fail"] {
            Value::Null => Ok(()),
            _ => Err("told to".into()),
        }
    }
}

/// A host that outlives its instance, or a failed init, discards records instead of dangling.
#[test]
fn host_is_silent_after_the_end() {
    let exports = Exports::<Keeper>::new(None);
    for config in ["{}", r#"{"fail": 1}"#] {
        let log = Box::<Log>::default();
        let raw = Box::new(host(&log));
        let mut instance = null_mut();
        // SAFETY: The host lives until shutdown, or until init has failed.
        let code =
            unsafe { exports.init(&*raw, config.as_ptr().cast(), config.len(), &mut instance, null_mut()) };
        let kept = KEPT.take().unwrap();
        if code == 0 {
            kept.log(Level::Info, "in time");
            // SAFETY: Once.
            unsafe { exports.shutdown(instance) };
        }
        kept.log(Level::Info, "too late");

        let expected = usize::from(code == 0);
        assert_eq!(log.lock().unwrap().len(), expected);

        drop((raw, log));
        kept.log(Level::Info, "much too late");
    }
}

/// A thread that logs while the instance ends writes before the end or not at all.
#[test]
fn log_races_with_the_end() {
    static TOGETHER: AtomicUsize = AtomicUsize::new(0);
    let plugin = Running::<Keeper>::start("{}").unwrap();
    let kept = KEPT.take().unwrap();
    let writer = thread::spawn(move || {
        for _ in 0..100 {
            kept.log(Level::Info, "x");
            TOGETHER.fetch_add(1, Ordering::Release);
        }
    });
    while TOGETHER.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }

    let (code, log) = plugin.shutdown();
    writer.join().unwrap();

    assert_eq!(code, 0);
    assert!((1..=100).contains(&log.len()));
}

static MADE: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Counts its live values.
struct Counted;

impl Default for Counted {
    fn default() -> Self {
        MADE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl BackworksPlugin for Counted {
    fn name(&self) -> &str {
        "counted"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn initialize(&self, config: &Value) -> PluginResult<()> {
        config.get("fail").map_or(Ok(()), |_| Err("told to".into()))
    }
}

/// Every plugin that is created is dropped exactly once: the temporary one that returned its name, one that
/// failed, and one that ended.
#[test]
fn every_plugin_is_dropped_once() {
    let counts = || (MADE.load(Ordering::Relaxed), DROPPED.load(Ordering::Relaxed));
    let exports = Exports::<Counted>::new(None);
    exports.name();
    exports.version();
    assert_eq!(counts(), (1, 1));

    assert!(Running::<Counted>::start(r#"{"fail": true}"#).is_err());
    assert_eq!(counts(), (2, 2));

    let plugin = Running::start_exports(exports, "{}").unwrap();
    assert_eq!(counts(), (3, 2));
    plugin.shutdown();

    assert_eq!(counts(), (3, 3));
}
