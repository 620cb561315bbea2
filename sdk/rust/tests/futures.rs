//! Calls wait for pending futures, whichever executor runs them.

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use backworks_plugin_sdk::*;
use common::Running;

/// Ready once another thread wakes it.
#[derive(Default)]
struct Signal(Arc<Mutex<(bool, Option<Waker>)>>);

impl Future for Signal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        let first = state.1.replace(context.waker().clone()).is_none();
        if first {
            let shared = Arc::clone(&self.0);
            thread::spawn(move || {
                let mut state = shared.lock().unwrap();
                state.0 = true;
                state.1.take().unwrap().wake();
            });
        }
        Poll::Pending
    }
}

#[derive(Default)]
struct Waits;

#[async_trait]
impl BackworksPlugin for Waits {
    fn name(&self) -> &str {
        "waits"
    }
    fn version(&self) -> &str {
        "1.0.0"
    }
    async fn initialize(&self, _: &Value) -> PluginResult<()> {
        Signal::default().await;
        Ok(())
    }
    async fn process_endpoint_data(
        &self,
        _endpoint: &str,
        _method: &str,
        data: &str,
    ) -> PluginResult<Option<String>> {
        Signal::default().await;
        #[cfg(feature = "tokio")]
        if data == "tokio" {
            let sleep = tokio::time::sleep(std::time::Duration::from_millis(1));
            return Ok(Some(
                tokio::spawn(async {
                    sleep.await;
                    "slept".to_owned()
                })
                .await
                .unwrap(),
            ));
        }
        Ok(Some(data.to_owned()))
    }
    async fn shutdown(&self) -> PluginResult<()> {
        Signal::default().await;
        Ok(())
    }
}

/// A future that another thread wakes completes, in each phase.
#[test]
fn pending_futures_are_woken() {
    let plugin = Running::<Waits>::start("{}").unwrap();

    assert_eq!(plugin.call("done").text(), "done");
    assert_eq!(plugin.shutdown().0, 0);
}

/// With the feature, code that needs a tokio runtime has one.
#[test]
#[cfg(feature = "tokio")]
fn tokio_has_its_runtime() {
    let plugin = Running::<Waits>::start("{}").unwrap();

    assert_eq!(plugin.call("tokio").text(), "slept");
}
