//! What a stream over files may be told. Source: reference on agent data, custom logs.
//!
//! The older `log` input has other names for the same things; both are read.

use std::time::Duration;

use camino::Utf8PathBuf;
use regex::Regex;

use super::encoding::{Encoding, Terminator};
use super::glob::PathPattern;
use super::owner::OwnerNames;
use super::parsers::ParserSettings;
use crate::build::{BuildError, StreamConfig};
use crate::config::Config;

/// The settings of one stream, all read and checked.
#[derive(Clone, Debug)]
pub(super) struct FileSettings {
    pub(super) paths: Vec<PathPattern>,
    pub(super) exclude_files: Vec<Regex>,
    pub(super) include_files: Vec<Regex>,
    pub(super) symlinks: bool,
    pub(super) check_interval: Duration,
    pub(super) fingerprint: FingerprintRange,
    pub(super) identity: Identity,
    pub(super) ignore_older: Option<Duration>,
    pub(super) start_at_end: bool,
    pub(super) close: Close,
    pub(super) clean_inactive: Option<Duration>,
    pub(super) clean_removed: bool,
    /// At most so many files are open; zero means no limit.
    pub(super) harvester_limit: usize,
    pub(super) backoff_init: Duration,
    pub(super) backoff_max: Duration,
    pub(super) lines: LineSettings,
    pub(super) compression: Compression,
    /// Give every event an id of its own that a replay repeats.
    pub(super) event_ids: bool,
    /// Names of the file's owner in every event.
    pub(super) owner_names: OwnerNames,
    /// A file whose time changes while its size does not is read again.
    pub(super) resend_on_touch: bool,
    /// Files are deleted so long after they have been read to their end and closed.
    pub(super) delete_after: Option<Duration>,
    /// Streams whose places in files are taken over.
    pub(super) take_over_from: Vec<String>,
    /// When it is to stop, the stream first reads its files to their ends, for at most so long.
    pub(super) read_until_eof: Option<Duration>,
}

/// How bytes become messages.
#[derive(Clone, Debug)]
pub(super) struct LineSettings {
    pub(super) encoding: Encoding,
    pub(super) terminator: Terminator,
    pub(super) message_max_bytes: usize,
    pub(super) include_lines: Vec<Regex>,
    pub(super) exclude_lines: Vec<Regex>,
    pub(super) parsers: ParserSettings,
}

/// Which bytes of a file are its fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FingerprintRange {
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// What makes a file the same file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Identity {
    /// Its first bytes, with inode and birth time as hints. `log.file.fingerprint` is written.
    Fingerprint,
    /// Inode and device; its first bytes still tell a reused inode apart.
    Native,
    /// Its path.
    Path,
}

/// Files in gzip format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compression {
    /// Read as they are.
    None,
    /// Every file is gzip.
    Gzip,
    /// Files that begin like gzip are.
    Auto,
}

/// When an open file is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Close {
    pub(super) inactive: Option<Duration>,
    pub(super) renamed: bool,
    pub(super) removed: bool,
    pub(super) on_eof: bool,
    pub(super) after_interval: Option<Duration>,
}

const FINGERPRINT_LENGTH: u64 = 1024;
const MIN_FINGERPRINT_LENGTH: u64 = 64;
const MAX_FINGERPRINT_LENGTH: u64 = 1 << 20;
const MESSAGE_MAX_BYTES: u64 = 10 << 20;
/// No message may be larger, whatever the settings say.
const MESSAGE_HARD_LIMIT: u64 = 256 << 20;

impl FileSettings {
    pub(super) fn read(stream: &StreamConfig<'_>) -> Result<Self, BuildError> {
        let config = Config {
            stream: &stream.id,
            settings: stream.settings,
        };
        let seconds = Duration::from_secs;
        let settings = Self {
            paths: paths(config)?,
            exclude_files: config.patterns(&["prospector.scanner.exclude_files", "exclude_files"])?,
            include_files: config.patterns(&["prospector.scanner.include_files", "include_files"])?,
            symlinks: config.boolean(&["prospector.scanner.symlinks", "symlinks"], false)?,
            check_interval: config
                .duration_or(&["prospector.scanner.check_interval", "scan_frequency"], seconds(10))?
                .unwrap_or(seconds(1)),
            fingerprint: fingerprint(config)?,
            identity: identity(config, stream.input_type),
            ignore_older: config.duration(&["ignore_older"])?,
            start_at_end: config.boolean(&["tail_files"], false)?
                || config.text(&["ignore_inactive"])?.is_some_and(|when| !when.is_empty()),
            close: Close {
                inactive: config.duration_or(&["close.on_state_change.inactive", "close_inactive"], seconds(300))?,
                renamed: config.boolean(&["close.on_state_change.renamed", "close_renamed"], false)?,
                removed: config.boolean(&["close.on_state_change.removed", "close_removed"], false)?,
                on_eof: config.boolean(&["close.reader.on_eof", "close_eof"], false)?,
                after_interval: config.duration(&["close.reader.after_interval", "close_timeout"])?,
            },
            clean_inactive: config.duration(&["clean_inactive"])?,
            clean_removed: config.boolean(&["clean_removed"], true)?,
            harvester_limit: usize::try_from(config.number(&["harvester_limit"], 0)?).unwrap_or(usize::MAX),
            backoff_init: config
                .duration_or(&["backoff.init", "backoff"], seconds(2))?
                .unwrap_or(seconds(1)),
            backoff_max: config
                .duration_or(&["backoff.max", "max_backoff"], seconds(10))?
                .unwrap_or(seconds(1)),
            lines: LineSettings::read(config)?,
            compression: compression(config)?,
            event_ids: config.boolean(&["event_ids"], false)?,
            owner_names: OwnerNames {
                user: config.boolean(&["include_file_owner_name"], false)?,
                group: config.boolean(&["include_file_owner_group_name"], false)?,
            },
            resend_on_touch: config.boolean(&["prospector.scanner.resend_on_touch"], false)?,
            delete_after: delete_after(config)?,
            take_over_from: take_over_from(config)?,
            read_until_eof: if config.boolean(&["read_until_eof.enabled"], false)? {
                config.duration_or(&["read_until_eof.timeout"], seconds(60))?
            } else {
                None
            },
        };
        settings.check(config)?;
        Ok(settings)
    }

    /// What is impossible together.
    fn check(&self, config: Config<'_>) -> Result<(), BuildError> {
        if self.delete_after.is_some() && !self.close.on_eof && self.close.inactive.is_none() {
            let problem =
                "it needs `close.reader.on_eof` or `close.on_state_change.inactive`: only closed files are deleted";
            return Err(config.error("delete.enabled", problem));
        }
        let Some(clean_inactive) = self.clean_inactive else {
            return Ok(());
        };
        let least = self.ignore_older.unwrap_or_default() + self.check_interval;
        if clean_inactive <= least {
            return Err(config.error("clean_inactive", "it must be longer than `ignore_older` and `prospector.scanner.check_interval` together, or files are read again"));
        }
        Ok(())
    }

    /// Whether the patterns name this file, and it is wanted.
    pub(super) fn names(&self, path: &Utf8PathBuf) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path)) && self.wants(path)
    }

    /// Whether the file name passes `include_files` and `exclude_files`.
    pub(super) fn wants(&self, path: &Utf8PathBuf) -> bool {
        let matches = |pattern: &Regex| pattern.is_match(path.as_str());
        !self.exclude_files.iter().any(matches)
            && (self.include_files.is_empty() || self.include_files.iter().any(matches))
    }
}

impl LineSettings {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let encoding = config.text(&["encoding"])?.unwrap_or_default();
        let encoding =
            Encoding::named(encoding).ok_or_else(|| config.error("encoding", format!("`{encoding}` is not known")))?;
        let terminator = config.text(&["line_terminator"])?.unwrap_or("auto");
        let terminator = Terminator::named(terminator, encoding)
            .ok_or_else(|| config.error("line_terminator", format!("`{terminator}` is not known")))?;
        let limit = config
            .bytes(&["message_max_bytes", "max_bytes"], MESSAGE_MAX_BYTES)?
            .clamp(1, MESSAGE_HARD_LIMIT);
        Ok(Self {
            encoding,
            terminator,
            message_max_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
            include_lines: config.patterns(&["include_lines"])?,
            exclude_lines: config.patterns(&["exclude_lines"])?,
            parsers: ParserSettings::read(config)?,
        })
    }
}

fn paths(config: Config<'_>) -> Result<Vec<PathPattern>, BuildError> {
    let recursive = config.boolean(&["prospector.scanner.recursive_glob", "recursive_glob.enabled"], true)?;
    let texts = config.texts(&["paths"])?;
    if texts.is_empty() {
        return Err(config.error("paths", "it must name at least one file or pattern"));
    }
    texts
        .iter()
        .map(|text| PathPattern::parse(text, recursive).map_err(|problem| config.error("paths", problem)))
        .collect()
}

fn fingerprint(config: Config<'_>) -> Result<FingerprintRange, BuildError> {
    let offset = config.bytes(&["prospector.scanner.fingerprint.offset"], 0)?;
    let length = config.bytes(&["prospector.scanner.fingerprint.length"], FINGERPRINT_LENGTH)?;
    if !(MIN_FINGERPRINT_LENGTH..=MAX_FINGERPRINT_LENGTH).contains(&length) {
        let problem = format!("it must be from {MIN_FINGERPRINT_LENGTH} to {MAX_FINGERPRINT_LENGTH} bytes");
        return Err(config.error("prospector.scanner.fingerprint.length", problem));
    }
    Ok(FingerprintRange {
        offset,
        length: usize::try_from(length).unwrap_or(usize::MAX),
    })
}

fn identity(config: Config<'_>, input_type: &str) -> Identity {
    let named = |name: &str| {
        config
            .settings
            .get("file_identity")
            .is_some_and(|identity| identity.get(name).is_some())
    };
    if named("path") {
        return Identity::Path;
    }
    if named("native") || named("inode_marker") {
        return Identity::Native;
    }
    let off = config
        .value("prospector.scanner.fingerprint.enabled")
        .and_then(serde_json::Value::as_bool)
        == Some(false);
    if off || (input_type != "filestream" && !named("fingerprint")) {
        Identity::Native
    } else {
        Identity::Fingerprint
    }
}

/// `delete.{enabled,grace_period}`.
fn delete_after(config: Config<'_>) -> Result<Option<Duration>, BuildError> {
    if !config.boolean(&["delete.enabled"], false)? {
        return Ok(None);
    }
    let grace = config.duration_or(&["delete.grace_period"], Duration::from_mins(30))?;
    Ok(Some(grace.unwrap_or_default()))
}

/// `take_over.{enabled,from_ids}`.
fn take_over_from(config: Config<'_>) -> Result<Vec<String>, BuildError> {
    if !config.boolean(&["take_over.enabled"], false)? {
        return Ok(Vec::new());
    }
    let streams = config.texts(&["take_over.from_ids"])?;
    if streams.is_empty() {
        return Err(config.error(
            "take_over.from_ids",
            "it must name the streams whose files are taken over",
        ));
    }
    Ok(streams)
}

fn compression(config: Config<'_>) -> Result<Compression, BuildError> {
    match config.text(&["compression"])?.unwrap_or_default() {
        "" | "none" if config.boolean(&["gzip_experimental", "compression_gzip"], false)? => Ok(Compression::Auto),
        "" | "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "auto" => Ok(Compression::Auto),
        other => Err(config.error(
            "compression",
            format!("`{other}` is not known; it may be `gzip`, `auto` or empty"),
        )),
    }
}
