//! What a plugin says when it does not succeed: a code of the ABI, and a message for people.

use std::fmt;

/// What the functions of a plugin return.
pub type PluginResult<T> = Result<T, PluginError>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal, $constructor:ident;)*) => {
        /// The kind of an error: `backworks_code` of the C header, which are gRPC's canonical codes by
        /// number.
        ///
        /// There is no variant for success, which is `Ok`. In parentheses is the HTTP status that the host
        /// answers with, unless [`PluginError::with_status`] says another.
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
    /// (500) Nothing better is known.
    Unknown = 2, "UNKNOWN", unknown;
    /// (400) The request is wrong, whatever the state of the plugin.
    InvalidArgument = 3, "INVALID_ARGUMENT", invalid_argument;
    /// (504) There was not enough time.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", deadline_exceeded;
    /// (404) What the request names does not exist.
    NotFound = 5, "NOT_FOUND", not_found;
    /// (409) What the request wants to make exists.
    AlreadyExists = 6, "ALREADY_EXISTS", already_exists;
    /// (403) The caller is known and may not.
    PermissionDenied = 7, "PERMISSION_DENIED", permission_denied;
    /// (429) A quota, a limit or the memory is used up.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", resource_exhausted;
    /// (400) The state of the plugin forbids it until somebody changes that state.
    FailedPrecondition = 9, "FAILED_PRECONDITION", failed_precondition;
    /// (409) A conflict with another request; trying again from the start may help.
    Aborted = 10, "ABORTED", aborted;
    /// (400) Beyond the end of something.
    OutOfRange = 11, "OUT_OF_RANGE", out_of_range;
    /// (501) The plugin does not do this.
    Unimplemented = 12, "UNIMPLEMENTED", unimplemented;
    /// (500) The plugin has found itself broken. A panic comes out as this.
    Internal = 13, "INTERNAL", internal;
    /// (503) Try again later.
    Unavailable = 14, "UNAVAILABLE", unavailable;
    /// (500) Data is lost or damaged.
    DataLoss = 15, "DATA_LOSS", data_loss;
    /// (401) The caller is not known.
    Unauthenticated = 16, "UNAUTHENTICATED", unauthenticated;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that goes to the host: a [`Code`] and a message.
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
/// The operator `?` makes one of a text (with [`Code::Unknown`], as gRPC does with an error of which no more
/// is known) and of a [`serde_json::Error`] (with [`Code::InvalidArgument`]). It does not of
/// [`std::io::Error`], which cannot say which file it is about, and of which the right code depends on whose
/// file that is: say so with `map_err`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    code: Code,
    message: String,
    status: Option<u16>,
}

impl PluginError {
    /// An error of this kind. The message is for the caller to read; it may be empty.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None }
    }

    /// The same error, with an HTTP status (200 to 599) other than the usual one of its code.
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
