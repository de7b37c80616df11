//! What the compiler and the linker are told about how the program is used.
//!
//! A program that counts is built and put to work. What ran often is then compiled for speed, the rest for size; and what an agent
//! uses lies side by side: the kernel maps 64 KiB around each page that is used, so that a function here and one there were most of
//! what a resting agent had in memory.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::target::{Target, target_folder};
use super::{command, fresh, output, write};
use crate::bench;

/// What a training has taught.
pub(super) struct Taught {
    /// Counts of all functions, for the compiler.
    pub(super) counts: PathBuf,
    /// Names of those that come first, for the linker.
    pub(super) order: PathBuf,
}

/// Builds a program that counts, lets it work, and gives what was counted.
pub(super) fn train(root: &Path, target: &Target) -> Result<Taught> {
    let folder = target_folder(root).join("counts");
    fresh(&folder)?;
    let (resting, shipping) = (folder.join("resting"), folder.join("shipping"));
    let program = target.build_counting(root, &folder)?;
    let counts = bench::Counts {
        resting: resting.join("%p.profraw"),
        shipping: shipping.join("%p.profraw"),
    };
    bench::train(&program, &counts)?;
    let tools = Tools::of_the_compiler()?;
    let order = folder.join("order");
    write(&order, &tools.order(&[&resting, &shipping])?, 0o644)?;
    let counts = tools.merge(&[&folder, &resting, &shipping], "all")?;
    Ok(Taught { counts, order })
}

/// The compiler's own: others do not read its files.
struct Tools {
    library: PathBuf,
}

impl Tools {
    fn of_the_compiler() -> Result<Self> {
        let root = Path::new("/");
        command("rustup", &["component", "add", "llvm-tools"], root)?;
        let library = output("rustc", &["--print", "target-libdir"], root)?;
        Ok(Self {
            library: PathBuf::from(library.trim()),
        })
    }

    fn run<'a>(&self, name: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<String> {
        let folder = self.library.parent().context("a library folder lies in another")?;
        let program = folder.join("bin").join(name);
        let output = Command::new(&program)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run `{}`", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The file `name` in the first folder, of what processes have written into `folders`.
    fn merge(&self, folders: &[&Path], name: &str) -> Result<PathBuf> {
        let mut files = Vec::new();
        for folder in folders {
            files.extend(with_extension(folder, "profraw")?);
        }
        let into = folders
            .first()
            .context("there is one")?
            .join(name)
            .with_extension("profdata");
        ensure!(!files.is_empty(), "the program has written no counts into {folders:?}");
        let arguments = [OsStr::new("merge"), OsStr::new("-o"), into.as_os_str()];
        let files = files.iter().map(|file| file.as_os_str());
        self.run("llvm-profdata", arguments.into_iter().chain(files))?;
        Ok(into)
    }

    /// Names of functions, a line each: those of the standard library, which is not counted, and what ran according to the first
    /// folder, then what ran according to the next.
    fn order(&self, folders: &[&Path]) -> Result<String> {
        let mut names = self.of_the_standard_library()?;
        let mut known: HashSet<String> = names.iter().cloned().collect();
        for folder in folders {
            let counts = self.merge(&[folder], "merged")?;
            let show = ["show", "--counts", "--all-functions"].map(OsStr::new);
            let shown = self.run("llvm-profdata", show.into_iter().chain([counts.as_os_str()]))?;
            let new = functions_that_ran(&shown).filter(|name| known.insert((*name).to_owned()));
            names.extend(new.map(str::to_owned));
        }
        names.push(String::new());
        Ok(names.join("\n"))
    }

    fn of_the_standard_library(&self) -> Result<Vec<String>> {
        let libraries = with_extension(&self.library, "rlib")?;
        let list = ["--defined-only", "--just-symbol-name", "--quiet"].map(OsStr::new);
        let listed = self.run(
            "llvm-nm",
            list.into_iter()
                .chain(libraries.iter().map(|library| library.as_os_str())),
        )?;
        let names: BTreeSet<&str> = listed.lines().filter(|line| line.starts_with("_R")).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.into_iter().map(|entry| entry.path());
    Ok(files
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect())
}

/// Each function is a line `  [file;]name:`, and three of details that are further in, the last with its counts.
fn functions_that_ran(shown: &str) -> impl Iterator<Item = &str> {
    let mut name = "";
    shown.lines().filter_map(move |line| {
        if let Some(counts) = line.trim_start().strip_prefix("Block counts: ") {
            return counts.contains(|digit| ('1'..='9').contains(&digit)).then_some(name);
        }
        if line.starts_with("  ") && !line.starts_with("   ") {
            let line = line.trim_start().trim_end_matches(':');
            name = line.rsplit_once(';').map_or(line, |(_, name)| name);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_with_counts_ran() {
        let shown = "Counters:\n  rsa.1474-cgu.0;_ZN3rsa1fE:\n    Hash: 0x09\n    Counters: 2\n    Block counts: [0, 0]\n  \
                     _ZN3std1gE:\n    Hash: 0x0a\n    Counters: 2\n    Block counts: [0, 10]\nFunctions shown: 2\n";
        assert_eq!(functions_that_ran(shown).collect::<Vec<_>>(), ["_ZN3std1gE"]);
    }
}
