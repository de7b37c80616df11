//! The input over files: `filestream`, and `logfile` and `log` under their older names.
//!
//! One task scans and decides ([`watch`]); each open file has a task that reads it ([`harvester`]) on blocking threads.
//! What a file is and how far it has been delivered is kept in the registry ([`files`]). Files are their own queue: while
//! the output is down nothing is read, and what was not acknowledged is read again after a restart.

mod counters;
mod encoding;
mod files;
mod glob;
mod harvester;
mod identity;
mod lines;
mod owner;
mod parsers;
mod scan;
mod settings;
mod watch;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event::Documents;
use serde_json::json;

use crate::build::{BuildError, StreamConfig};
use crate::{Input, InputContext};
use settings::FileSettings;

/// A stream over files.
#[derive(Debug)]
pub(crate) struct Filestream {
    stream_id: String,
    documents: Arc<Documents>,
    settings: Arc<FileSettings>,
}

impl Filestream {
    pub(crate) fn build(mut stream: StreamConfig<'_>) -> Result<Box<dyn Input>, BuildError> {
        let settings = FileSettings::read(&stream)?;
        let input_type = if stream.input_type == "filestream" {
            "filestream"
        } else {
            "log"
        };
        let own = event::fields::Fields::from_iter([("input".to_owned(), json!({"type": input_type}))]);
        let documents = Arc::new(stream.documents("filebeat", own));
        Ok(Box::new(Self {
            stream_id: stream.id,
            documents,
            settings: Arc::new(settings),
        }))
    }
}

#[async_trait]
impl Input for Filestream {
    async fn run(self: Box<Self>, context: InputContext) {
        watch::Watch::new(self.stream_id, self.documents, self.settings, context)
            .run()
            .await;
    }

    fn time_to_finish(&self) -> Duration {
        self.settings.read_until_eof.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
