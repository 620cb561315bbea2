//! The errors of a plugin: a code of the ABI and a human-readable message.

use std::fmt;

/// The result of a plugin's methods.
pub type PluginResult<T> = Result<T, PluginError>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal, $constructor:ident;)*) => {
        /// The kind of an error: `backworks_code` of the C header, which has gRPC's canonical codes by
        /// number.
        ///
        /// There is no variant for success, which is `Ok`. In parentheses: the default HTTP status, which
        /// [`PluginError::with_status`] overrides.
        #[non_exhaustive]
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Code {
            /// The name of the code in the C header, without its prefix: `"NOT_FOUND"`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl PluginError {
            $(
                #[doc = concat!("An error with [`Code::", stringify!($variant), "`].")]
                pub fn $constructor(message: impl Into<String>) -> Self {
                    Self::new(Code::$variant, message)
                }
            )*
        }
    };
}

codes! {
    /// (499) The caller gave up.
    Cancelled = 1, "CANCELLED", cancelled;
    /// (500) No other code is known to fit.
    Unknown = 2, "UNKNOWN", unknown;
    /// (400) The request is invalid, whatever the plugin's state.
    InvalidArgument = 3, "INVALID_ARGUMENT", invalid_argument;
    /// (504) The deadline passed.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", deadline_exceeded;
    /// (404) The requested resource does not exist.
    NotFound = 5, "NOT_FOUND", not_found;
    /// (409) The resource to create already exists.
    AlreadyExists = 6, "ALREADY_EXISTS", already_exists;
    /// (403) The caller is authenticated but not permitted.
    PermissionDenied = 7, "PERMISSION_DENIED", permission_denied;
    /// (429) A quota, a limit or memory is exhausted.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", resource_exhausted;
    /// (400) The plugin's state does not allow it, until that state changes.
    FailedPrecondition = 9, "FAILED_PRECONDITION", failed_precondition;
    /// (409) A conflict with another request; retrying the whole operation may help.
    Aborted = 10, "ABORTED", aborted;
    /// (400) Past the end of the valid range.
    OutOfRange = 11, "OUT_OF_RANGE", out_of_range;
    /// (501) The plugin does not support this.
    Unimplemented = 12, "UNIMPLEMENTED", unimplemented;
    /// (500) The plugin has detected a bug in itself. A panic becomes this code.
    Internal = 13, "INTERNAL", internal;
    /// (503) Try again later.
    Unavailable = 14, "UNAVAILABLE", unavailable;
    /// (500) Data is lost or damaged.
    DataLoss = 15, "DATA_LOSS", data_loss;
    /// (401) The caller is not authenticated.
    Unauthenticated = 16, "UNAUTHENTICATED", unauthenticated;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error for the host: a [`Code`] and a message.
///
/// ```
/// use backworks_plugin_sdk::*;
///
/// fn station(path: &str) -> PluginResult<&str> {
///     path.rsplit('/').next().filter(|s| s.len() == 4)
///         .ok_or_else(|| PluginError::not_found(format!("no station at {path}")))
/// }
///
/// assert_eq!(station("/weather").unwrap_err().to_string(), "NOT_FOUND: no station at /weather");
/// ```
///
/// The operator `?` converts a text (to [`Code::Unknown`], as gRPC does) and a [`serde_json::Error`] (to
/// [`Code::InvalidArgument`]). It does not convert [`std::io::Error`], which does not name the file, and
/// whose code depends on whose file it is; use `map_err`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    code: Code,
    message: String,
    status: Option<u16>,
}

impl PluginError {
    /// Returns an error with this code. The message is for the caller; it may be empty.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None }
    }

    /// Returns the same error with an HTTP status (200 to 599) in place of the code's default.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The kind of the error.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message, which may be empty.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_message(self) -> String {
        self.message
    }

    /// The HTTP status, if one was set.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return self.code.fmt(f);
        }
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for PluginError {}

impl From<String> for PluginError {
    fn from(message: String) -> Self {
        Self::unknown(message)
    }
}

impl From<&str> for PluginError {
    fn from(message: &str) -> Self {
        Self::unknown(message.to_owned())
    }
}

impl From<serde_json::Error> for PluginError {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid_argument(error.to_string())
    }
}
