//! Responses and errors match the table at `backworks_response`, and all of their memory is freed.

mod common;

use backworks_plugin_sdk::*;
use common::{free_string, Answer, Running};

/// Does what the request's data asks for.
#[derive(Default)]
struct Speaker;

#[async_trait]
impl BackworksPlugin for Speaker {
    fn name(&self) -> &str {
        "speaker"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        Ok(Some(match request.data() {
            b"none" => return Ok(None),
            b"empty" => Response::new(""),
            b"full" => Response::from("a,b\r\n")
                .with_status(201)
                .with_content_type("text/csv")
                .with_header("Cache-Control", "max-age=60")?
                .with_header("X-Station", "KBOS")?,
            b"empty with fields" => Response::default()
                .with_content_type(String::from("text/plain"))
                .with_header("X-Empty", "")?,
            b"smuggled" => Response::new("").with_header("X-A", "1\r\nX-B: 2")?,
            b"misnamed" => Response::new("").with_header("X A", "1")?,
            b"spare" => {
                let mut data = Vec::with_capacity(4096);
                data.extend_from_slice(b"little");
                Response::new(data)
            }
            b"json" => Response::from(json!({"b": [1, 2.5, null], "a": "\u{0}\u{e9}"})),
            b"error" => return Err(PluginError::not_found("no such station").with_status(410)),
            b"silent" => return Err(PluginError::new(Code::Unavailable, "")),
            b"text" => Err("just a text")?,
            b"parse" => serde_json::from_str::<Value>("{").map(Response::from)?,
            echoed => Response::new(echoed),
        }))
    }
    async fn health_check(&self) -> PluginResult<Option<String>> {
        Ok(Some("3 stations".to_owned()))
    }
}

fn call(data: impl AsRef<[u8]>) -> Answer {
    Running::<Speaker>::start("{}").unwrap().call(data)
}

fn ok(data: &[u8]) -> Answer {
    Answer { code: 0, data: Some(data.to_vec()), status: 0, content_type: None, headers: None }
}

/// `Ok(None)` is OK without data.
#[test]
fn absent_answer_is_null() {
    assert_eq!(call("none"), Answer { data: None, ..ok(b"") });
}

/// An empty response differs from no response.
#[test]
fn empty_answer_is_not_null() {
    assert_eq!(call("empty"), ok(b""));
}

/// Bytes arrive unchanged: NUL, not UTF-8, one, and many.
#[test]
fn bytes_are_not_touched() {
    let many: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();

    for data in [&b"\0"[..], b"a\0b\0", b"\xff\xfe\x80", &many] {
        assert_eq!(call(data), ok(data));
    }
}

/// A response of 64 MiB is accepted.
#[test]
#[cfg_attr(miri, ignore = "too much to interpret")]
fn large_answer_comes_out_whole() {
    let data = vec![0x5a; 64 << 20];

    assert_eq!(call(&data), ok(&data));
}

/// A vector with spare capacity is freed with that capacity.
#[test]
fn spare_capacity_is_freed() {
    assert_eq!(call("spare"), ok(b"little"));
}

/// The response carries status, media type and header fields.
#[test]
fn fields_come_with_the_answer() {
    let expected = Answer {
        status: 201,
        content_type: Some("text/csv".to_owned()),
        headers: Some("Cache-Control: max-age=60\r\nX-Station: KBOS\r\n".to_owned()),
        ..ok(b"a,b\r\n")
    };

    assert_eq!(call("full"), expected);
}

/// An empty response can have header fields too.
#[test]
fn fields_come_with_an_empty_answer() {
    let expected = Answer {
        content_type: Some("text/plain".to_owned()),
        headers: Some("X-Empty: \r\n".to_owned()),
        ..ok(b"")
    };

    assert_eq!(call("empty with fields"), expected);
}

/// A line break in a value cannot inject another field.
#[test]
fn header_injection_is_an_error() {
    let answer = call("smuggled");

    assert_eq!(answer.code, 13);
    assert_eq!(
        answer.text(),
        r#"the value of the header field X-A contains a control character: "1\r\nX-B: 2""#
    );
    assert_eq!(answer.headers, None);
    assert_eq!(call("misnamed").text(), r#""X A" is not a valid header field name"#);
}

/// A JSON value becomes its compact text.
#[test]
fn json_is_compact() {
    assert_eq!(call("json").text(), r#"{"a":"\u0000é","b":[1,2.5,null]}"#);
}

/// An error carries its code, its message and the status that was set.
#[test]
fn error_has_code_message_and_status() {
    let answer = call("error");

    assert_eq!((answer.code, answer.text(), answer.status), (5, "no such station", 410));
}

/// An error without a message is only a code.
#[test]
fn error_without_message() {
    let answer = call("silent");

    assert_eq!((answer.code, answer.text()), (14, ""));
}

/// A text becomes UNKNOWN, a JSON error INVALID_ARGUMENT.
#[test]
fn question_mark_makes_errors() {
    let (text, parse) = (call("text"), call("parse"));

    assert_eq!((text.code, text.text()), (2, "just a text"));
    assert_eq!(parse.code, 3);
    assert!(parse.text().contains("line 1 column 1"), "{}", parse.text());
}

/// A healthy plugin may return a text.
#[test]
fn health_check_has_a_text() {
    let answer = Running::<Speaker>::start("{}").unwrap().health_check();

    assert_eq!(answer, ok(b"3 stations"));
}

/// Methods without a useful default return UNIMPLEMENTED.
#[test]
fn reconfigure_is_unimplemented_by_default() {
    let answer = Running::<Speaker>::start("{}").unwrap().reconfigure("{}");

    assert_eq!(answer.code, 12);
}

/// Freeing NULL does nothing.
#[test]
fn free_of_null_does_nothing() {
    // SAFETY: "(NULL, 0) is allowed".
    unsafe { free_string(std::ptr::null_mut(), 0) };
}

/// The codes are those of the header.
#[test]
fn codes_have_their_numbers() {
    let all = [
        (Code::Cancelled, 1, "CANCELLED"),
        (Code::Unknown, 2, "UNKNOWN"),
        (Code::InvalidArgument, 3, "INVALID_ARGUMENT"),
        (Code::DeadlineExceeded, 4, "DEADLINE_EXCEEDED"),
        (Code::NotFound, 5, "NOT_FOUND"),
        (Code::AlreadyExists, 6, "ALREADY_EXISTS"),
        (Code::PermissionDenied, 7, "PERMISSION_DENIED"),
        (Code::ResourceExhausted, 8, "RESOURCE_EXHAUSTED"),
        (Code::FailedPrecondition, 9, "FAILED_PRECONDITION"),
        (Code::Aborted, 10, "ABORTED"),
        (Code::OutOfRange, 11, "OUT_OF_RANGE"),
        (Code::Unimplemented, 12, "UNIMPLEMENTED"),
        (Code::Internal, 13, "INTERNAL"),
        (Code::Unavailable, 14, "UNAVAILABLE"),
        (Code::DataLoss, 15, "DATA_LOSS"),
        (Code::Unauthenticated, 16, "UNAUTHENTICATED"),
    ];

    for (code, number, name) in all {
        assert_eq!((code as i32, code.to_string()), (number, name.to_owned()));
    }
}
