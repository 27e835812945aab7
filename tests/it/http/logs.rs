//! What the service logs during a test, in full detail.

use std::io::Write;
use std::sync::{Arc, Mutex};

use kling_relay::telemetry::{LogForm, LogSettings, subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Keeps every line; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

/// While it lives, this thread's lines are kept.
pub(crate) struct Guard {
    _default: tracing::subscriber::DefaultGuard,
    _second: tracing::Dispatch,
}

impl Kept {
    /// Logs everything of this thread here until the guard is dropped.
    pub(crate) fn install(&self) -> Guard {
        let settings = LogSettings {
            environment: "test",
            filter: Some("trace"),
            quiet: false,
            form: LogForm::Json,
        };
        let make = || subscriber(&settings, self.clone()).expect("the filter can be read");
        // With a single subscriber alive, a line that a thread without one meets first would be
        // switched off for all threads.
        let second = tracing::Dispatch::new(make());
        Guard {
            _default: tracing::subscriber::set_default(make()),
            _second: second,
        }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics").clone();
        String::from_utf8(bytes).expect("logs are text")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;

    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}
