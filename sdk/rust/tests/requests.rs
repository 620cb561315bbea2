//! Requests arrive unchanged, and invalid ones are rejected.

mod common;

use std::ptr::{null, null_mut};
use std::time::Duration;

use backworks_plugin_sdk::*;
use common::{request, take, zeroed_response, Answer, RawRequest, Running};

/// Returns its request as JSON.
#[derive(Default)]
struct Mirror;

#[async_trait]
impl BackworksPlugin for Mirror {
    fn name(&self) -> &str {
        "mirror"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        let left = request.time_left();
        assert!(left <= Some(Duration::from_secs(5)));
        Ok(Some(Response::from(json!({
            "endpoint": request.endpoint(),
            "method": request.method(),
            "data": request.data(),
            "limited": left.is_some(),
            "traceparent": request.traceparent(),
            "tracestate": request.tracestate(),
        }))))
    }
}

/// Returns its arguments as text.
#[derive(Default)]
struct Text;

#[async_trait]
impl BackworksPlugin for Text {
    fn name(&self) -> &str {
        "text"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn process_endpoint_data(
        &self,
        endpoint: &str,
        method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        Ok(Some(format!("{method} {endpoint} {data}")))
    }
}

fn mirror(request: &RawRequest) -> Answer {
    Running::<Mirror>::start("{}").unwrap().process(request)
}

fn refused(request: &RawRequest) -> String {
    let answer = Running::<Text>::start("{}").unwrap().process(request);
    assert_eq!(answer.code, 3);
    answer.text().to_owned()
}

/// The three texts arrive with their NUL bytes.
#[test]
fn texts_arrive() {
    let plugin = Running::<Text>::start("{}").unwrap();

    let answer = plugin.process(&request(b"/a/{b}", b"POST", b"x\0y"));

    assert_eq!(answer.text(), "POST /a/{b} x\0y");
}

/// A request may be empty, with NULL pointers of size 0.
#[test]
fn empty_request_arrives() {
    let plugin = Running::<Text>::start("{}").unwrap();
    let nothing = RawRequest { endpoint: null(), method: null(), data: null(), ..request(b"", b"", b"") };

    assert_eq!(plugin.process(&request(b"", b"", b"")).text(), "  ");
    assert_eq!(plugin.process(&nothing).text(), "  ");
}

/// Deadline and trace context arrive.
#[test]
fn deadline_and_trace_arrive() {
    let (parent, state) = (b"00-0af7-b7ad-01", b"a=1");
    let answer = mirror(&RawRequest {
        time_left_ns: 5_000_000_000,
        traceparent: parent.as_ptr().cast(),
        traceparent_size: parent.len(),
        tracestate: state.as_ptr().cast(),
        tracestate_size: state.len(),
        ..request(b"/", b"GET", b"\xff")
    });

    assert_eq!(
        serde_json::from_str::<Value>(answer.text()).unwrap(),
        json!({"endpoint": "/", "method": "GET", "data": [255], "limited": true,
               "traceparent": "00-0af7-b7ad-01", "tracestate": "a=1"})
    );
}

/// Without them, both are absent, and so is a limit that no clock can represent.
#[test]
fn absent_deadline_and_trace() {
    let answer = mirror(&request(b"/", b"GET", b""));

    assert_eq!(
        serde_json::from_str::<Value>(answer.text()).unwrap(),
        json!({"endpoint": "/", "method": "GET", "data": [], "limited": false,
               "traceparent": null, "tracestate": null})
    );
}

/// Data that is not UTF-8 is rejected if the plugin requires text; the error has the position.
#[test]
fn data_that_is_not_utf8_is_refused() {
    assert_eq!(refused(&request(b"/", b"GET", b"ab\xff")), "the data is not UTF-8: byte 0xff at position 2");
    assert_eq!(
        refused(&request(b"/", b"GET", b"\xe2\x82")),
        "the data is not UTF-8: byte 0xe2 at position 0"
    );
}

/// An endpoint or a method that is not UTF-8 is rejected.
#[test]
fn names_that_are_not_utf8_are_refused() {
    assert_eq!(
        refused(&request(b"/\xc3", b"GET", b"")),
        "the endpoint is not UTF-8: byte 0xc3 at position 1"
    );
    assert_eq!(refused(&request(b"/", b"\x80", b"")), "the method is not UTF-8: byte 0x80 at position 0");
}

/// A trace context that is not UTF-8 is ignored, as the standard requires.
#[test]
fn trace_that_is_not_utf8_is_ignored() {
    let answer = mirror(&RawRequest {
        traceparent: b"\xff".as_ptr().cast(),
        traceparent_size: 1,
        ..request(b"/", b"GET", b"")
    });

    assert_eq!(answer.code, 0);
    assert!(answer.text().contains(r#""traceparent":null"#));
}

/// NULL with a size, and an impossible size, are rejected before a byte is read.
#[test]
fn impossible_sizes_are_refused() {
    let no_data = RawRequest { data: null(), ..request(b"/", b"GET", b"x") };
    let endless = RawRequest { data_size: usize::MAX, ..request(b"/", b"GET", b"x") };

    assert!(refused(&no_data).starts_with("the host passed 1 bytes as the data"));
    assert!(refused(&endless).starts_with(&format!("the host passed {} bytes", usize::MAX)));
}

/// NULL for an instance, a request or a response is an error, not a crash.
#[test]
fn null_arguments_are_refused() {
    let plugin = Running::<Text>::start("{}").unwrap();
    let request = request(b"/", b"GET", b"");
    let mut response = zeroed_response();

    // SAFETY: All arguments are NULL or complete.
    let answers = unsafe {
        let process = |instance, request, response: *mut _| {
            plugin.exports.process_endpoint_data(instance, request, response)
        };
        let code = process(null_mut(), &request, &mut response);
        let no_instance = take(code, response);
        response = zeroed_response();
        let code = process(plugin.instance, null(), &mut response);
        let no_request = take(code, response);
        let no_response = process(plugin.instance, &request, null_mut());
        let no_plugin = plugin.exports.shutdown(null_mut());
        (no_instance, no_request, no_response, no_plugin)
    };

    assert_eq!((answers.0.code, answers.0.text()), (3, "the host passed no instance"));
    assert_eq!((answers.1.code, answers.1.text()), (3, "the host passed no request"));
    assert_eq!((answers.2, answers.3), (13, 3));
}
