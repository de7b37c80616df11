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

/// Switches of newer stock agents that this one does not have.
const WITHOUT_EFFECT: [&str; 4] = [
    "delete.enabled",
    "take_over.enabled",
    "read_until_eof.enabled",
    "prospector.scanner.resend_on_touch",
];

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
        config.warn_without_effect(&WITHOUT_EFFECT);
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
        };
        settings.check(config)?;
        Ok(settings)
    }

    /// What is impossible together.
    fn check(&self, config: Config<'_>) -> Result<(), BuildError> {
        let Some(clean_inactive) = self.clean_inactive else {
            return Ok(());
        };
        let least = self.ignore_older.unwrap_or_default() + self.check_interval;
        if clean_inactive <= least {
            return Err(config.error("clean_inactive", "it must be longer than `ignore_older` and `prospector.scanner.check_interval` together, or files are read again"));
        }
        Ok(())
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
