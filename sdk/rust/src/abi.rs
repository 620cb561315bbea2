//! The structures of `backworks_plugin.h`, field by field. The header defines their meaning; these mirror the
//! layout.

use std::ffi::{c_char, c_void};
use std::mem::size_of;

/// `BACKWORKS_ABI_VERSION`.
pub const ABI_VERSION: u32 = 1;

/// `BACKWORKS_OK`.
pub const OK: i32 = 0;

/// `backworks_plugin`: only ever behind a pointer.
pub type RawInstance = c_void;

/// `backworks_host.log`.
pub type LogFunction = unsafe extern "C" fn(*mut c_void, u32, *const c_char, usize);

/// `backworks_host.get_extension`.
pub type GetExtensionFunction = unsafe extern "C" fn(*mut c_void, *const c_char) -> *const c_void;

/// `backworks_host`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the header documents the fields
pub struct RawHost {
    pub struct_size: u32,
    pub abi_version: u32,
    pub context: *mut c_void,
    pub log: Option<LogFunction>,
    pub get_extension: Option<GetExtensionFunction>,
}

/// `backworks_request`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the header documents the fields
pub struct RawRequest {
    pub struct_size: u32,
    pub reserved: u32,
    pub endpoint: *const c_char,
    pub endpoint_size: usize,
    pub method: *const c_char,
    pub method_size: usize,
    pub data: *const c_char,
    pub data_size: usize,
    pub time_left_ns: u64,
    pub traceparent: *const c_char,
    pub traceparent_size: usize,
    pub tracestate: *const c_char,
    pub tracestate_size: usize,
}

/// `backworks_response`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the header documents the fields
pub struct RawResponse {
    pub struct_size: u32,
    pub http_status: u32,
    pub data: *mut c_char,
    pub size: usize,
    pub content_type: *const c_char,
    pub content_type_size: usize,
    pub headers: *const c_char,
    pub headers_size: usize,
}

/// Reads the field at `offset`, or returns `absent` if the structure that the other side filled in ends
/// before the end of the field.
///
/// # Safety
///
/// `base` must point to `struct_size` readable bytes, and `offset` must be that of a field of type `F`.
pub unsafe fn read_field<S, F: Copy>(base: *const S, struct_size: u32, offset: usize, absent: F) -> F {
    if !covers(struct_size, offset, &absent) {
        return absent;
    }
    // SAFETY: "A field may be read only if struct_size covers it", which was just checked.
    unsafe { base.cast::<u8>().add(offset).cast::<F>().read() }
}

/// Returns whether a structure of `struct_size` bytes includes the whole field at `offset`.
pub fn covers<F>(struct_size: u32, offset: usize, _field: &F) -> bool {
    offset + size_of::<F>() <= struct_size as usize
}

/// Writes the field at `offset`.
///
/// # Safety
///
/// `base` must point to a writable structure that covers the field, which must be of type `F`.
pub unsafe fn write_field<S, F>(base: *mut S, offset: usize, value: F) {
    // SAFETY: As above.
    unsafe { base.cast::<u8>().add(offset).cast::<F>().write(value) }
}

/// The numbers from section 4 of the header, which also asserts only 64-bit platforms.
#[cfg(target_pointer_width = "64")]
const _: () = {
    use crate::manifest::Manifest;
    use std::mem::offset_of;

    assert!(size_of::<RawHost>() == 32);
    assert!(offset_of!(RawHost, abi_version) == 4);
    assert!(offset_of!(RawHost, context) == 8);
    assert!(offset_of!(RawHost, log) == 16);
    assert!(offset_of!(RawHost, get_extension) == 24);
    assert!(size_of::<RawRequest>() == 96);
    assert!(offset_of!(RawRequest, reserved) == 4);
    assert!(offset_of!(RawRequest, endpoint) == 8);
    assert!(offset_of!(RawRequest, endpoint_size) == 16);
    assert!(offset_of!(RawRequest, method) == 24);
    assert!(offset_of!(RawRequest, method_size) == 32);
    assert!(offset_of!(RawRequest, data) == 40);
    assert!(offset_of!(RawRequest, data_size) == 48);
    assert!(offset_of!(RawRequest, time_left_ns) == 56);
    assert!(offset_of!(RawRequest, traceparent) == 64);
    assert!(offset_of!(RawRequest, traceparent_size) == 72);
    assert!(offset_of!(RawRequest, tracestate) == 80);
    assert!(offset_of!(RawRequest, tracestate_size) == 88);
    assert!(size_of::<RawResponse>() == 56);
    assert!(offset_of!(RawResponse, http_status) == 4);
    assert!(offset_of!(RawResponse, data) == 8);
    assert!(offset_of!(RawResponse, size) == 16);
    assert!(offset_of!(RawResponse, content_type) == 24);
    assert!(offset_of!(RawResponse, content_type_size) == 32);
    assert!(offset_of!(RawResponse, headers) == 40);
    assert!(offset_of!(RawResponse, headers_size) == 48);
    assert!(size_of::<Manifest<0>>() == 16);
    assert!(offset_of!(Manifest<0>, size) == 8);
};
