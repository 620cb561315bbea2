//! Nothing is read or written beyond `struct_size`, and nothing is lost below it.
//!
//! The structures are cut to exactly that many bytes, so that Miri and address sanitizers detect any access
//! beyond.

mod common;

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::mem::size_of;
use std::ptr::{copy_nonoverlapping, null_mut};

use backworks_plugin_sdk::*;
use common::{host, request, take, zeroed_response, Exports, Log, RawHost, RawRequest, RawResponse, Running};

/// Reports how much of the request it received, in a response with every field.
#[derive(Default)]
struct Witness;

#[async_trait]
impl BackworksPlugin for Witness {
    fn name(&self) -> &str {
        "witness"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    fn attach(&self, host: Host) {
        host.log(Level::Info, "attached");
    }
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        if request.data() == b"fail" {
            return Err(PluginError::not_found("nothing"));
        }
        let seen = format!(
            "{}{}{} {} {}{}",
            request.endpoint(),
            request.method(),
            request.text()?,
            request.time_left().is_some(),
            request.traceparent().unwrap_or_default(),
            request.tracestate().unwrap_or_default(),
        );
        Response::from(seen)
            .with_status(202)
            .with_content_type("text/plain")
            .with_header("X-Seen", "1")
            .map(Some)
    }
}

/// The first `size` bytes of a structure, and no more.
struct Cut<T> {
    start: *mut T,
    layout: Layout,
    size: usize,
}

impl<T> Cut<T> {
    fn new(whole: &T, size: usize) -> Self {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: The layout is not empty, and only that many bytes are written.
        let start = unsafe {
            let start = alloc_zeroed(layout);
            let copied = size.min(size_of::<T>());
            copy_nonoverlapping(std::ptr::from_ref(whole).cast::<u8>(), start, copied);
            start.cast::<u32>().write(size as u32);
            start.cast::<T>()
        };
        Self { start, layout, size }
    }

    /// The current structure, with zeros after its end.
    fn read(&self, mut zeroed: T) -> T {
        let size = self.size.min(size_of::<T>());
        // SAFETY: Plain data, limited to the allocated bytes.
        unsafe {
            copy_nonoverlapping(self.start.cast::<u8>(), std::ptr::from_mut(&mut zeroed).cast(), size);
        }
        zeroed
    }
}

impl<T> Drop for Cut<T> {
    fn drop(&mut self) {
        // SAFETY: As allocated.
        unsafe { dealloc(self.start.cast(), self.layout) };
    }
}

/// A shorter request has only the fields that it covers; a longer one is read as far as its fields are known.
#[test]
fn request_is_read_as_far_as_it_goes() {
    let plugin = Running::<Witness>::start("{}").unwrap();
    let whole = RawRequest {
        time_left_ns: 5_000_000_000,
        traceparent: b"p".as_ptr().cast(),
        traceparent_size: 1,
        tracestate: b"s".as_ptr().cast(),
        tracestate_size: 1,
        ..request(b"e", b"m", b"d")
    };

    for size in 4..=size_of::<RawRequest>() + 8 {
        let cut = Cut::new(&whole, size);
        let mut response = zeroed_response();
        // SAFETY: As much of a request as its struct_size says.
        let code = unsafe { plugin.exports.process_endpoint_data(plugin.instance, cut.start, &mut response) };
        let expected = match size {
            0..=23 => " false ",
            24..=39 => "e false ",
            40..=55 => "em false ",
            56..=63 => "emd false ",
            64..=79 => "emd true ",
            80..=95 => "emd true p",
            _ => "emd true ps",
        };

        let answer = take(code, response);
        assert_eq!((code, answer.text()), (0, expected), "with {size} bytes");
    }
}

/// A shorter response receives only the fields that fit; without room for the data, the result is an error.
#[test]
fn response_is_written_as_far_as_it_goes() {
    let plugin = Running::<Witness>::start("{}").unwrap();

    for size in 4..=size_of::<RawResponse>() + 8 {
        let cut = Cut::new(&zeroed_response(), size);
        // SAFETY: As much of a response as its struct_size says.
        let code = unsafe {
            let request = request(b"e", b"m", b"d");
            plugin.exports.process_endpoint_data(plugin.instance, &request, cut.start)
        };
        let answer = take(code, cut.read(zeroed_response()));

        if size < 24 {
            assert_eq!((code, answer.data, answer.status), (13, None, 0));
            continue;
        }
        assert_eq!((code, answer.text(), answer.status), (0, "emd false ", 202));
        assert_eq!(answer.content_type.is_some(), size >= 40, "with {size} bytes");
        assert_eq!(answer.headers.is_some(), size >= 56, "with {size} bytes");
    }
}

/// Without room for its message, an error still has its code.
#[test]
fn error_without_room_keeps_its_code() {
    let plugin = Running::<Witness>::start("{}").unwrap();
    let cut = Cut::new(&zeroed_response(), 8);

    // SAFETY: As above.
    let code = unsafe {
        let request = request(b"e", b"m", b"fail");
        plugin.exports.process_endpoint_data(plugin.instance, &request, cut.start)
    };

    assert_eq!(code, 5);
}

/// A host that ends before its log function receives no records; a longer one is read as far as its fields
/// are known.
#[test]
fn host_is_read_as_far_as_it_goes() {
    let exports = Exports::<Witness>::new(None);

    for size in 8..=size_of::<RawHost>() + 8 {
        let log = Log::default();
        let cut = Cut::new(&host(&log), size);
        let mut instance = null_mut();
        let mut error = zeroed_response();
        // SAFETY: As much of a host as its struct_size says, until the shutdown.
        let codes = unsafe {
            let config = b"{}".as_ptr().cast();
            let code = exports.init(cut.start, config, 2, &mut instance, &mut error);
            (code, exports.shutdown(instance))
        };

        assert_eq!(codes, (0, 0));
        let records = log.lock().unwrap().len();
        assert_eq!(records, usize::from(size >= 24), "with {size} bytes");
    }
}
