//! Path patterns, as Go's `filepath.Glob` reads them, with `**` for up to eight folders.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use globset::{GlobBuilder, GlobMatcher};

/// How many folders `**` may stand for.
const MAX_LEVELS: usize = 8;

/// A parsed path pattern.
#[derive(Clone, Debug)]
pub(super) struct PathPattern {
    root: Utf8PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Pattern(GlobMatcher),
    AnyFolders,
}

impl PathPattern {
    /// Reads a pattern. With `recursive` off, `**` is the same as `*`.
    pub(super) fn parse(text: &str, recursive: bool) -> Result<Self, String> {
        let path = Utf8Path::new(text);
        if !path.is_absolute() {
            return Err(format!("`{text}` is not an absolute path"));
        }
        let parts = text
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| Part::parse(part, recursive));
        Ok(Self {
            root: Utf8PathBuf::from("/"),
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// Adds every path that matches to `found`. Folders that cannot be read are left out and named in `problems`.
    pub(super) fn expand(&self, found: &mut BTreeSet<Utf8PathBuf>, problems: &mut Vec<io::Error>) {
        expand(self.root.clone(), &self.parts, found, problems);
    }

    /// Whether the pattern names this path, be it there or not.
    pub(super) fn matches(&self, path: &Utf8Path) -> bool {
        let names: Vec<&str> = path.as_str().split('/').filter(|name| !name.is_empty()).collect();
        path.is_absolute() && are_named(&names, &self.parts)
    }
}

fn are_named(names: &[&str], parts: &[Part]) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return names.is_empty();
    };
    match part {
        Part::AnyFolders => (0..=MAX_LEVELS.min(names.len())).any(|levels| are_named(&names[levels..], rest)),
        Part::Literal(literal) => names.first() == Some(&literal.as_str()) && are_named(&names[1..], rest),
        Part::Pattern(glob) => names.first().is_some_and(|name| glob.is_match(name)) && are_named(&names[1..], rest),
    }
}

impl Part {
    fn parse(part: &str, recursive: bool) -> Result<Self, String> {
        if part == "**" && recursive {
            return Ok(Self::AnyFolders);
        }
        if !part.contains(['*', '?', '[', '\\']) {
            return Ok(Self::Literal(part.to_owned()));
        }
        // Braces are nothing special in Go's patterns.
        let escaped = part.replace("**", "*").replace('{', "[{]").replace('}', "[}]");
        let glob = GlobBuilder::new(&escaped)
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        glob.map(|glob| Self::Pattern(glob.compile_matcher()))
            .map_err(|_| format!("`{part}` is not a pattern"))
    }
}

fn expand(path: Utf8PathBuf, parts: &[Part], found: &mut BTreeSet<Utf8PathBuf>, problems: &mut Vec<io::Error>) {
    let Some((part, rest)) = parts.split_first() else {
        if path.symlink_metadata().is_ok() {
            found.insert(path);
        }
        return;
    };
    match part {
        Part::Literal(name) => expand(path.join(name), rest, found, problems),
        Part::Pattern(glob) => {
            for (name, _) in children(&path, problems) {
                if glob.is_match(&name) {
                    expand(path.join(name), rest, found, problems);
                }
            }
        }
        Part::AnyFolders => expand_any(path, MAX_LEVELS, rest, found, problems),
    }
}

fn expand_any(
    path: Utf8PathBuf,
    levels: usize,
    rest: &[Part],
    found: &mut BTreeSet<Utf8PathBuf>,
    problems: &mut Vec<io::Error>,
) {
    if levels > 0 {
        for (name, is_folder) in children(&path, problems) {
            if is_folder {
                expand_any(path.join(name), levels - 1, rest, found, problems);
            }
        }
    }
    expand(path, rest, found, problems);
}

/// The names in a folder, each with whether it is a folder itself. Names that are not UTF-8 are left out.
fn children(folder: &Utf8Path, problems: &mut Vec<io::Error>) -> Vec<(String, bool)> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                problems.push(error);
            }
            return Vec::new();
        }
    };
    let child = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        Some((entry.file_name().into_string().ok()?, is_folder))
    };
    entries.filter_map(child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_matched_without_looking() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let pattern = PathPattern::parse(pattern, true).expect("a good pattern");
            assert_eq!(pattern.matches(Utf8Path::new(path)), expected, "{path}");
        };
        check("/var/log/*.log", "/var/log/a.log", true);
        check("/var/log/*.log", "/var/log/b/a.log", false);
        check("/var/log/**/*.log", "/var/log/b/c/a.log", true);
        check("/var/log/**/*.log", "/var/log/a.log", true);
        check("/var/log/app", "/var/log/app/x", false);
    }

    #[track_caller]
    fn check(root: &Utf8Path, pattern: &str, expected: &[&str]) {
        let pattern = PathPattern::parse(&format!("{root}/{pattern}"), true).unwrap();
        let mut found = BTreeSet::new();
        pattern.expand(&mut found, &mut Vec::new());
        let found: Vec<String> = found
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().to_string())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn patterns_are_expanded_as_go_does() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for path in [
            "a.log",
            "b.log.1",
            ".hidden.log",
            "x/c.log",
            "x/y/d.log",
            "x/y/{z}.log",
            "1/2/3/4/5/6/7/8/e.log",
            "1/2/3/4/5/6/7/8/9/f.log",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        check(root, "*.log", &[".hidden.log", "a.log"]);
        check(root, "*.log*", &[".hidden.log", "a.log", "b.log.1"]);
        check(root, "x/*/*.log", &["x/y/d.log", "x/y/{z}.log"]);
        check(root, "x/y/{z}.log", &["x/y/{z}.log"]);
        check(root, "x/y/{?}*", &["x/y/{z}.log"]);
        check(root, "[ab].log", &["a.log"]);
        check(root, "[^b].log", &["a.log"]);
        check(
            root,
            "**/[cdef].log",
            &["1/2/3/4/5/6/7/8/e.log", "x/c.log", "x/y/d.log"],
        );
        check(root, "nope/*.log", &[]);
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(
            PathPattern::parse("var/log/*.log", true)
                .unwrap_err()
                .contains("absolute")
        );
        assert!(PathPattern::parse("/var/[", true).is_err());
    }
}
