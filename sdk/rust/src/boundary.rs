//! The boundary that only codes and bytes cross: panics stop here, and results become responses.

use std::any::Any;
use std::convert::identity;
use std::mem::{offset_of, size_of};
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::abi::{covers, write_field, RawResponse, OK};
use crate::memory::give;
use crate::{Code, PluginError, PluginResult, Response};

/// The panic barrier: "No function may ... let a panic cross the boundary".
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> PluginResult<T> {
    catch_unwind(AssertUnwindSafe(body)).map_err(panicked)
}

/// The panic barrier for code that can also fail without a panic.
pub(crate) fn guard<T>(body: impl FnOnce() -> PluginResult<T>) -> PluginResult<T> {
    catch(body).and_then(identity)
}

fn panicked(payload: Box<dyn Any + Send>) -> PluginError {
    let payload = match payload.downcast::<&'static str>() {
        Ok(text) => return PluginError::internal(format!("panicked: {text}")),
        Err(payload) => payload,
    };
    let payload = match payload.downcast::<String>() {
        Ok(text) => return PluginError::internal(format!("panicked: {text}")),
        Err(payload) => payload,
    };
    // Any other payload may have a destructor that panics again. Leak the second payload, or this would never
    // end.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
    PluginError::internal("panicked")
}

/// Passes a response or an error to the host, and returns the code.
///
/// # Safety
///
/// `raw` must be NULL, or a `backworks_response` of the host, which "sets struct_size and zeroes the rest".
pub(crate) unsafe fn respond(raw: *mut RawResponse, result: PluginResult<Option<Response>>) -> i32 {
    let (code, response) = match result {
        Ok(None) => return OK,
        Ok(Some(response)) => (OK, response),
        Err(error) => (error.code() as i32, Response::from(error)),
    };
    let size = match raw.is_null() {
        true => 0,
        // SAFETY: The structure begins with struct_size.
        false => unsafe { raw.cast::<u32>().read() },
    };
    // A failure to pass on the response is an error too, but it must not replace the plugin's own error.
    let failed = |instead: Code| if code == OK { instead as i32 } else { code };
    if (size as usize) < offset_of!(RawResponse, size) + size_of::<usize>() {
        return failed(Code::Internal);
    }
    let given = match give(response) {
        Ok(given) => given,
        Err(error) => return failed(error.code()),
    };
    // A pointer and its size together, or neither.
    macro_rules! set {
        ($($field:ident)+) => {
            if $(covers(size, offset_of!(RawResponse, $field), &given.$field))&&+ {
                // SAFETY: struct_size is the "bytes of this structure that the host allocated", and covers
                // the fields.
                $(unsafe { write_field(raw, offset_of!(RawResponse, $field), given.$field) };)+
            }
        };
    }
    set!(http_status);
    set!(data size);
    set!(content_type content_type_size);
    set!(headers headers_size);
    code
}
