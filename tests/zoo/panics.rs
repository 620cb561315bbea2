//! Panics in a call, or twice: a second panic during unwinding makes Rust abort.
#![forbid(unsafe_code)]
#![deny(warnings)]

use backworks_plugin_sdk::*;

#[derive(Default)]
struct Panics;

struct Bitter;

impl Drop for Bitter {
    fn drop(&mut self) {
        panic!("the second panic");
    }
}

#[async_trait]
impl BackworksPlugin for Panics {
    fn name(&self) -> &str {
        "panics"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }

    async fn process(&self, request: &Request<'_>) -> PluginResult<Option<Response>> {
        match request.data() {
            b"bite" => panic!("told to"),
            b"bite twice" => {
                let _bitter = Bitter;
                panic!("the first panic")
            }
            data => Ok(Some(Response::new(data))),
        }
    }
}

export_plugin!(Panics);
