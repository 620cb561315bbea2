//! Memory that crosses the boundary: borrowed from the host, or passed to it.
//!
//! The host returns only the pointer and the size of the data, and requires the media type and the header
//! fields "in the same allocation". A response is therefore one `Vec`, never copied: the data, then the
//! capacity of the `Vec`, then the rest. `free_string` reads the capacity after the data and rebuilds the
//! `Vec`:
//!
//! ```text
//! |  data: size bytes  |  capacity: a usize  |  content type  |  header fields  |  unused  |
//! ^ the pointer that the host receives and returns
//! ```
//!
//! This also works for an empty response: because of the capacity, there is always an allocation.

use std::ffi::c_char;
use std::mem::{size_of, ManuallyDrop};
use std::slice;

use crate::abi::RawResponse;
use crate::{PluginError, PluginResult, Response};

/// Borrows `size` bytes from the host.
///
/// # Safety
///
/// `data` must be NULL, or point to `size` bytes that are readable during `'a`.
pub(crate) unsafe fn borrow<'a>(what: &str, data: *const c_char, size: usize) -> PluginResult<&'a [u8]> {
    if size == 0 {
        return Ok(&[]); // a slice requires a non-NULL pointer even if it is empty
    }
    if data.is_null() || size > isize::MAX as usize {
        return Err(PluginError::invalid_argument(format!(
            "the host passed {size} bytes as the {what}, at {data:?}"
        )));
    }
    // SAFETY: The caller guarantees the bytes; the pointer is not NULL and the size not too large, as checked
    // above.
    Ok(unsafe { slice::from_raw_parts(data.cast(), size) })
}

/// Creates a response that the host owns until it calls `free_string`.
pub(crate) fn give(response: Response) -> PluginResult<RawResponse> {
    let Response { mut data, status, content_type, headers } = response;
    let size = data.len();
    let content_type_at = size + size_of::<usize>();
    let headers_at = content_type_at + content_type.len();
    // Exact, so that a response of 64 MiB does not allocate 128.
    data.try_reserve_exact(headers_at + headers.len() - size)
        .map_err(|error| PluginError::resource_exhausted(error.to_string()))?;
    let capacity = data.capacity();
    data.extend_from_slice(&capacity.to_ne_bytes());
    data.extend_from_slice(content_type.as_bytes());
    data.extend_from_slice(headers.as_bytes());

    let base = ManuallyDrop::new(data).as_mut_ptr().cast::<c_char>();
    let part = |at: usize, length: usize| match length {
        0 => std::ptr::null(),
        // SAFETY: `at` is inside the allocation: the bytes from there on were written above.
        _ => unsafe { base.add(at) }.cast_const(),
    };
    Ok(RawResponse {
        struct_size: 0,
        http_status: status.map_or(0, u32::from),
        data: base,
        size,
        content_type: part(content_type_at, content_type.len()),
        content_type_size: content_type.len(),
        headers: part(headers_at, headers.len()),
        headers_size: headers.len(),
    })
}

/// `backworks_plugin_free_string`.
///
/// # Safety
///
/// "Frees memory that this library returned in a backworks_response": `data` must come from `give`, be freed
/// once, and "`size` is the size that was returned with it". NULL does nothing.
pub unsafe fn free_string(data: *mut c_char, size: usize) {
    if data.is_null() {
        return;
    }
    let base = data.cast::<u8>();
    // SAFETY: `give` wrote the capacity after the `size` bytes of data, unaligned.
    let capacity = unsafe { base.add(size).cast::<usize>().read_unaligned() };
    // SAFETY: `give` took pointer and capacity from a Vec that it did not drop; bytes need no drop, so the
    // length may be 0.
    drop(unsafe { Vec::from_raw_parts(base, 0, capacity) });
}
