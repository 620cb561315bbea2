//! The response of a plugin.

use std::borrow::Cow;

use serde_json::Value;

use crate::{PluginError, PluginResult};

/// One response: bytes, and optionally a status, a media type and header fields.
///
/// ```
/// use backworks_plugin_sdk::*;
///
/// let text = Response::from("station,temperature\r\nKBOS,-3.9\r\n")
///     .with_content_type("text/csv")
///     .with_header("Cache-Control", "max-age=60")?;
/// let made = Response::from(json!({"id": 7})).with_status(201);
/// # PluginResult::Ok(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub(crate) data: Vec<u8>,
    pub(crate) status: Option<u16>,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) headers: String,
}

impl Response {
    /// Returns a response with these bytes, which may be empty.
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Sets the HTTP status, 200 to 599. The default is 200.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the media type of the data. The host's default is `application/json`.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Adds one header field. The host rejects fields that frame the message (`Content-Length`,
    /// `Transfer-Encoding` and the like), which only it may set.
    ///
    /// # Errors
    ///
    /// [`Code::Internal`](crate::Code::Internal) if the name is not an HTTP token, or if the value contains a
    /// control character: a line break in a value could inject another field.
    pub fn with_header(mut self, name: &str, value: &str) -> PluginResult<Self> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(PluginError::internal(format!("{name:?} is not a valid header field name")));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(PluginError::internal(format!(
                "the value of the header field {name} contains a control character: {value:?}"
            )));
        }
        self.headers.push_str(name);
        self.headers.push_str(": ");
        self.headers.push_str(value);
        self.headers.push_str("\r\n");
        Ok(self)
    }

    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The HTTP status, if one was set.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The media type, if one was set.
    pub fn content_type(&self) -> Option<&str> {
        Some(&*self.content_type).filter(|text| !text.is_empty())
    }

    /// The header fields, as passed to the host: lines of `Name: value`, each ended by CR LF.
    pub fn headers(&self) -> &str {
        &self.headers
    }
}

impl From<Vec<u8>> for Response {
    fn from(data: Vec<u8>) -> Self {
        Self::new(data)
    }
}

impl From<String> for Response {
    fn from(data: String) -> Self {
        Self::new(data)
    }
}

impl From<&str> for Response {
    fn from(data: &str) -> Self {
        Self::new(data)
    }
}

impl From<Value> for Response {
    fn from(data: Value) -> Self {
        Self::new(data.to_string())
    }
}

impl From<PluginError> for Response {
    /// The message of an error, as passed to the host.
    fn from(error: PluginError) -> Self {
        let status = error.status();
        Self { status, ..Self::new(error.into_message()) }
    }
}
