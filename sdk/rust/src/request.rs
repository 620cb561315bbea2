//! The request to a plugin.

use std::mem::offset_of;
use std::ptr::null;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::abi::{read_field, RawRequest};
use crate::memory::borrow;
use crate::{Host, PluginError, PluginResult};

static NO_HOST: Host = Host::none();

/// One request. Valid only during the call: copy whatever you need afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    endpoint: &'a str,
    method: &'a str,
    data: &'a [u8],
    deadline: Option<Instant>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    host: &'a Host,
}

impl<'a> Request<'a> {
    /// Returns a request without a deadline, a trace context or a host, for the tests of a plugin.
    ///
    /// ```
    /// use backworks_plugin_sdk::*;
    ///
    /// let request = Request::new("/echo", "POST", br#"{"body": 1}"#);
    ///
    /// assert_eq!(request.json()?["body"], 1);
    /// # PluginResult::Ok(())
    /// ```
    pub fn new(endpoint: &'a str, method: &'a str, data: &'a [u8]) -> Self {
        Self { endpoint, method, data, deadline: None, traceparent: None, tracestate: None, host: &NO_HOST }
    }

    /// The route, as written in the configuration (`"/api/weather/{station}"`), or as the caller named it.
    pub fn endpoint(&self) -> &'a str {
        self.endpoint
    }

    /// The method, in upper case.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The data: any bytes. Over HTTP, the request as JSON, or its body.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The data as text.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) if it is not UTF-8.
    pub fn text(&self) -> PluginResult<&'a str> {
        text("data", self.data)
    }

    /// The data as JSON.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`](crate::Code::InvalidArgument) if it is not JSON.
    pub fn json(&self) -> PluginResult<Value> {
        serde_json::from_slice(self.data)
            .map_err(|error| PluginError::invalid_argument(format!("the data is not JSON: {error}")))
    }

    /// The time that is left for this call now, or `None` if there is no limit.
    ///
    /// The caller does not wait longer: a plugin that cannot finish in time should return
    /// [`Code::DeadlineExceeded`](crate::Code::DeadlineExceeded).
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The `traceparent` of the [W3C Trace Context](https://www.w3.org/TR/trace-context/), if any.
    pub fn traceparent(&self) -> Option<&'a str> {
        self.traceparent
    }

    /// The `tracestate` that belongs to [`traceparent`](Self::traceparent).
    pub fn tracestate(&self) -> Option<&'a str> {
        self.tracestate
    }

    /// The calling host, for logging.
    pub fn host(&self) -> &'a Host {
        self.host
    }

    /// Reads the fields of the host's request that struct_size covers.
    ///
    /// # Safety
    ///
    /// `raw` must be NULL, or point to a `backworks_request` that is valid for `'a`, with everything it
    /// points to.
    pub(crate) unsafe fn from_raw(raw: *const RawRequest, host: &'a Host) -> PluginResult<Self> {
        if raw.is_null() {
            return Err(PluginError::invalid_argument("the host passed no request"));
        }
        // SAFETY: The structure begins with struct_size, and the caller guarantees its lifetime.
        let size = unsafe { raw.cast::<u32>().read() };
        macro_rules! field {
            ($name:ident, $absent:expr) => {
                // SAFETY: struct_size is the "bytes of this structure that the host filled"; the offset is
                // the field's, and its type is that of the mirror below.
                unsafe { read_field(raw, size, offset_of!(RawRequest, $name), $absent) }
            };
        }
        let raw = RawRequest {
            struct_size: size,
            reserved: 0,
            endpoint: field!(endpoint, null()),
            endpoint_size: field!(endpoint_size, 0),
            method: field!(method, null()),
            method_size: field!(method_size, 0),
            data: field!(data, null()),
            data_size: field!(data_size, 0),
            time_left_ns: field!(time_left_ns, 0),
            traceparent: field!(traceparent, null()),
            traceparent_size: field!(traceparent_size, 0),
            tracestate: field!(tracestate, null()),
            tracestate_size: field!(tracestate_size, 0),
        };
        // SAFETY: "this structure and everything it points to is borrowed for the call", for each of the
        // pairs here.
        let (endpoint, method, data, traceparent, tracestate) = unsafe {
            (
                borrow("endpoint", raw.endpoint, raw.endpoint_size)?,
                borrow("method", raw.method, raw.method_size)?,
                borrow("data", raw.data, raw.data_size)?,
                borrow("traceparent", raw.traceparent, raw.traceparent_size)?,
                borrow("tracestate", raw.tracestate, raw.tracestate_size)?,
            )
        };
        Ok(Self {
            endpoint: text("endpoint", endpoint)?,
            method: text("method", method)?,
            data,
            deadline: match raw.time_left_ns {
                0 => None,
                left => Instant::now().checked_add(Duration::from_nanos(left)),
            },
            traceparent: trace(traceparent),
            tracestate: trace(tracestate),
            host,
        })
    }
}

/// The standard requires that an invalid trace context is ignored, not rejected.
fn trace(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.is_empty())
}

fn text<'a>(what: &str, bytes: &'a [u8]) -> PluginResult<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let position = error.valid_up_to();
        let byte = bytes[position];
        PluginError::invalid_argument(format!(
            "the {what} is not UTF-8: byte 0x{byte:02x} at position {position}"
        ))
    })
}
