//! A minimal host: it calls a plugin through the functions of the ABI, and checks that the plugin follows the
//! rules.
#![allow(dead_code)] // each test file uses a part

use std::ffi::{c_char, c_void, CStr};
use std::mem::size_of;
use std::ptr::{null, null_mut, NonNull};
use std::slice;
use std::sync::{Arc, Mutex};

pub use backworks_plugin_sdk::__private::{
    free_string, Exports, RawHost, RawInstance, RawRequest, RawResponse,
};
use backworks_plugin_sdk::BackworksPlugin;

/// A response after the plugin's memory was freed.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub code: i32,
    pub data: Option<Vec<u8>>,
    pub status: u32,
    pub content_type: Option<String>,
    pub headers: Option<String>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.data.as_deref().expect("there is data")).unwrap()
    }
}

pub fn zeroed_response() -> RawResponse {
    RawResponse {
        struct_size: size_of::<RawResponse>() as u32,
        http_status: 0,
        data: null_mut(),
        size: 0,
        content_type: null(),
        content_type_size: 0,
        headers: null(),
        headers_size: 0,
    }
}

/// Copies the response, then frees it, as a host does.
pub fn take(code: i32, raw: RawResponse) -> Answer {
    let copy = |data: *const c_char, size: usize| {
        assert!(!data.is_null() || size == 0, "NULL with a size");
        // SAFETY: The plugin guarantees the bytes until free_string.
        (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast::<u8>(), size) }.to_vec())
    };
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
    let answer = Answer {
        code,
        data: copy(raw.data, raw.size),
        status: raw.http_status,
        content_type: text(copy(raw.content_type, raw.content_type_size)),
        headers: text(copy(raw.headers, raw.headers_size)),
    };
    // SAFETY: Once, with the size that was returned with it.
    unsafe { free_string(raw.data, raw.size) };
    answer
}

pub fn request<'a>(endpoint: &'a [u8], method: &'a [u8], data: &'a [u8]) -> RawRequest {
    RawRequest {
        struct_size: size_of::<RawRequest>() as u32,
        reserved: 0,
        endpoint: endpoint.as_ptr().cast(),
        endpoint_size: endpoint.len(),
        method: method.as_ptr().cast(),
        method_size: method.len(),
        data: data.as_ptr().cast(),
        data_size: data.len(),
        time_left_ns: 0,
        traceparent: null(),
        traceparent_size: 0,
        tracestate: null(),
        tracestate_size: 0,
    }
}

/// What the plugin logged, as level and text.
pub type Log = Mutex<Vec<(u32, String)>>;

pub unsafe extern "C" fn record(context: *mut c_void, level: u32, text: *const c_char, size: usize) {
    // SAFETY: The context is the Log of the RawHost below, the text is borrowed for the call.
    let (log, text) = unsafe {
        let text = slice::from_raw_parts(text.cast::<u8>(), size);
        (&*context.cast::<Log>(), std::str::from_utf8(text).unwrap())
    };
    log.lock().unwrap().push((level, text.to_owned()));
}

/// A host whose log is `log`.
pub fn host(log: &Log) -> RawHost {
    RawHost {
        struct_size: size_of::<RawHost>() as u32,
        abi_version: 1,
        context: std::ptr::from_ref(log).cast_mut().cast(),
        log: Some(record),
        get_extension: None,
    }
}

/// One running instance of `P`. Shuts down when it is dropped.
pub struct Running<P: BackworksPlugin + Default> {
    pub exports: Exports<P>,
    pub instance: *mut RawInstance,
    pub log: Arc<Log>,
    _host: Box<RawHost>,
}

// SAFETY: The functions of a running plugin are [any-thread].
unsafe impl<P: BackworksPlugin + Default> Send for Running<P> {}
// SAFETY: ... and [concurrent].
unsafe impl<P: BackworksPlugin + Default> Sync for Running<P> {}

impl<P: BackworksPlugin + Default> Running<P> {
    pub fn start(config: &str) -> Result<Self, Answer> {
        Self::start_exports(Exports::new(None), config)
    }

    pub fn start_exports(exports: Exports<P>, config: &str) -> Result<Self, Answer> {
        let log = Arc::<Log>::default();
        let host = Box::new(host(&log));
        let mut instance = NonNull::<RawInstance>::dangling().as_ptr();
        let mut error = zeroed_response();
        // SAFETY: As the header requires.
        let code =
            unsafe { exports.init(&*host, config.as_ptr().cast(), config.len(), &mut instance, &mut error) };
        let answer = take(code, error);
        if code != 0 {
            assert!(instance.is_null(), "a failing init leaves *out NULL");
            return Err(answer);
        }
        assert!(!instance.is_null(), "init says OK and gives no instance");
        assert_eq!(answer.data, None);
        Ok(Self { exports, instance, log, _host: host })
    }

    pub fn process(&self, request: &RawRequest) -> Answer {
        let mut response = zeroed_response();
        // SAFETY: The instance runs; the request is complete.
        let code = unsafe { self.exports.process_endpoint_data(self.instance, request, &mut response) };
        take(code, response)
    }

    pub fn call(&self, data: impl AsRef<[u8]>) -> Answer {
        self.process(&request(b"/endpoint", b"GET", data.as_ref()))
    }

    pub fn health_check(&self) -> Answer {
        let mut response = zeroed_response();
        // SAFETY: The instance runs.
        let code = unsafe { self.exports.health_check(self.instance, &mut response) };
        take(code, response)
    }

    pub fn reconfigure(&self, config: &str) -> Answer {
        let mut response = zeroed_response();
        // SAFETY: The instance runs; the configuration lives.
        let code = unsafe {
            self.exports.reconfigure(self.instance, config.as_ptr().cast(), config.len(), &mut response)
        };
        take(code, response)
    }

    pub fn shutdown(mut self) -> (i32, Vec<(u32, String)>) {
        let code = self.end();
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        (code, log)
    }

    fn end(&mut self) -> i32 {
        let instance = std::mem::replace(&mut self.instance, null_mut());
        // SAFETY: Once, because the pointer is gone now.
        unsafe { self.exports.shutdown(instance) }
    }
}

impl<P: BackworksPlugin + Default> Drop for Running<P> {
    fn drop(&mut self) {
        if !self.instance.is_null() {
            self.end();
        }
    }
}

/// The text of a static, NUL-terminated string from the plugin.
pub fn static_text(text: *const c_char) -> Option<String> {
    // SAFETY: NULL, or NUL-terminated and static.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}
