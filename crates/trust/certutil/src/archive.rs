//! The zip files that the tool writes: folders and files in a fixed order, keys with mode 0600.

use std::io::{Cursor, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::failure::{ExitStatus, Failure};

/// An archive that grows in memory.
pub(crate) struct Archive {
    zip: ZipWriter<Cursor<Vec<u8>>>,
    time: DateTime,
}

/// Who may read an entry after it is unpacked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Everyone,
    Owner,
}

impl Archive {
    pub(crate) fn new(now: Timestamp) -> Self {
        let now = now.to_zoned(TimeZone::UTC);
        let fields = [now.month(), now.day(), now.hour(), now.minute(), now.second()].map(|field| field as u8);
        let [month, day, hour, minute, second] = fields;
        let year = u16::try_from(now.year()).unwrap_or_default();
        let time = DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap_or_default();
        Self {
            zip: ZipWriter::new(Cursor::new(Vec::new())),
            time,
        }
    }

    fn options(&self, mode: u32) -> SimpleFileOptions {
        SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(self.time)
            .unix_permissions(mode)
    }

    /// Adds `name/`.
    pub(crate) fn folder(&mut self, name: &str) -> Result<(), Failure> {
        self.zip
            .add_directory(format!("{name}/"), self.options(0o755))
            .map_err(failed)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, name: &str, content: &[u8], access: Access) -> Result<(), Failure> {
        let mode = if access == Access::Owner { 0o600 } else { 0o644 };
        self.zip.start_file(name, self.options(mode)).map_err(failed)?;
        self.zip
            .write_all(content)
            .map_err(|error| Failure::new(ExitStatus::IO, error.to_string()))
    }

    /// The whole archive.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Failure> {
        self.zip.finish().map(Cursor::into_inner).map_err(failed)
    }
}

fn failed(error: zip::result::ZipError) -> Failure {
    Failure::new(ExitStatus::IO, format!("the archive cannot be written: {error}"))
}
