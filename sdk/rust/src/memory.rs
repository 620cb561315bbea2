//! Memory that crosses the boundary: borrowed from the host, or given to it.
//!
//! The host hands back two things only, the pointer and the size of the data, and wants the media type and
//! the header fields "inside the same allocation". So an answer is one `Vec`, never copied: behind the data
//! come its own capacity and then the rest. `free_string` finds the capacity behind the data and makes the
//! `Vec` again:
//!
//! ```text
//! |  data: size bytes  |  capacity: a usize  |  content type  |  header fields  |  unused  |
//! ^ what the host gets and gives back
//! ```
//!
//! An empty answer is no exception: because of the capacity, there is always an allocation.

use std::ffi::c_char;
use std::mem::{size_of, ManuallyDrop};
use std::slice;

use crate::abi::RawResponse;
use crate::{PluginError, PluginResult, Response};

/// Borrows `size` bytes of the host's.
///
/// # Safety
///
/// `data` is NULL, or `size` bytes may be read there during `'a`.
pub(crate) unsafe fn borrow<'a>(what: &str, data: *const c_char, size: usize) -> PluginResult<&'a [u8]> {
    if size == 0 {
        return Ok(&[]); // a slice wants a pointer that is not NULL, also where nothing is read
    }
    if data.is_null() || size > isize::MAX as usize {
        return Err(PluginError::invalid_argument(format!(
            "the host passed {size} bytes as the {what}, at {data:?}"
        )));
    }
    // SAFETY: The caller vouches for the bytes; neither NULL nor too large, as was just checked.
    Ok(unsafe { slice::from_raw_parts(data.cast(), size) })
}

/// Makes an answer that the host owns until it calls `free_string`.
pub(crate) fn give(response: Response) -> PluginResult<RawResponse> {
    let Response { mut data, status, content_type, headers } = response;
    let size = data.len();
    let content_type_at = size + size_of::<usize>();
    let headers_at = content_type_at + content_type.len();
    // Exactly, because an answer of 64 MiB shall not ask for 128.
    data.try_reserve_exact(headers_at + headers.len() - size)
        .map_err(|error| PluginError::resource_exhausted(error.to_string()))?;
    let capacity = data.capacity();
    data.extend_from_slice(&capacity.to_ne_bytes());
    data.extend_from_slice(content_type.as_bytes());
    data.extend_from_slice(headers.as_bytes());

    let base = ManuallyDrop::new(data).as_mut_ptr().cast::<c_char>();
    let part = |at: usize, length: usize| match length {
        0 => std::ptr::null(),
        // SAFETY: `at` lies inside of the allocation: the bytes from there on were written above.
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
/// "Frees what this library gave out in a backworks_response": `data` came from `give`, once, and "`size`
/// is the size that was given out with it". NULL does nothing.
pub unsafe fn free_string(data: *mut c_char, size: usize) {
    if data.is_null() {
        return;
    }
    let base = data.cast::<u8>();
    // SAFETY: `give` wrote the capacity behind the `size` bytes of data, without regard to alignment.
    let capacity = unsafe { base.add(size).cast::<usize>().read_unaligned() };
    // SAFETY: `give` took pointer and capacity from a Vec that it did not drop; bytes need no drop, so the
    // length may be 0.
    drop(unsafe { Vec::from_raw_parts(base, 0, capacity) });
}
