//! What the program is built for, and how.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::training::Taught;
use crate::prepare::{Tool, provide};

/// A kind of machine that users have.
pub(super) struct Target {
    pub(super) triple: &'static str,
    /// As `uname -m` says it, RPM packages and archives.
    pub(super) machine: &'static str,
    /// As Debian calls it.
    pub(super) debian: &'static str,
    /// As the original names its packages.
    pub(super) agent: &'static str,
    pub(super) libc: Libc,
    /// The C compiler, which also links; rustc's own choice without one.
    compiler: Option<Tool>,
    /// What runs such a program on a machine of another kind.
    emulator: Option<Emulator>,
}

/// Where the C library comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Libc {
    /// The host's; it wants glibc 2.34 or newer: RHEL 9, Ubuntu 22.04, Debian 12.
    Glibc,
    /// Within the program, which then runs on any Linux.
    Static,
}

struct Emulator {
    tool: Tool,
    /// Where the C library of that kind of machine lies.
    root: &'static str,
}

pub(super) const TARGETS: &[Target] = &[
    Target {
        triple: "x86_64-unknown-linux-gnu",
        machine: "x86_64",
        debian: "amd64",
        agent: "x86_64",
        libc: Libc::Glibc,
        compiler: None,
        emulator: None,
    },
    Target {
        triple: "x86_64-unknown-linux-musl",
        machine: "x86_64",
        debian: "amd64",
        agent: "x86_64",
        libc: Libc::Static,
        compiler: Some(Tool {
            program: "musl-gcc",
            package: "musl-tools",
            needed_for: "the program that runs on any Linux",
        }),
        emulator: None,
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        machine: "aarch64",
        debian: "arm64",
        agent: "arm64",
        libc: Libc::Glibc,
        compiler: Some(Tool {
            program: "aarch64-linux-gnu-gcc",
            package: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
            needed_for: "the program for 64-bit ARM",
        }),
        emulator: Some(Emulator {
            tool: Tool {
                program: "qemu-aarch64-static",
                package: "qemu-user-static",
                needed_for: "a first run of the program for 64-bit ARM",
            },
            root: "/usr/aarch64-linux-gnu",
        }),
    },
];

/// Functions that never ran in the training lie apart from those that did.
const COLD_IS_APART: &str = "-Clink-arg=-Wl,-z,keep-text-section-prefix";

impl Target {
    /// The one with this name.
    ///
    /// # Errors
    ///
    /// Names those that there are.
    pub(super) fn named(triple: &str) -> Result<&'static Self, String> {
        TARGETS.iter().find(|target| target.triple == triple).ok_or_else(|| {
            let known: Vec<&str> = TARGETS.iter().map(|target| target.triple).collect();
            format!("known are {}", known.join(", "))
        })
    }

    /// What a program of this machine's own compiler is.
    pub(super) fn of_this_machine() -> Result<&'static Self> {
        TARGETS
            .iter()
            .find(|target| target.machine == std::env::consts::ARCH && target.libc == Libc::Glibc)
            .with_context(|| format!("nothing is packed for {} yet", std::env::consts::ARCH))
    }

    /// Builds the program, with what a training has taught when there was one, and says where it is.
    pub(super) fn build(&self, root: &Path, taught: Option<&Taught>) -> Result<PathBuf> {
        let flags = taught.map(|taught| {
            format!(
                "-Cprofile-use={} {COLD_IS_APART} -Clink-arg=-Wl,--no-warn-symbol-ordering,--symbol-ordering-file={}",
                taught.counts.display(),
                taught.order.display()
            )
        });
        self.compile(root, &target_folder(root), flags)
    }

    /// A program that counts what it does, and writes that into `counts` when it ends.
    pub(super) fn build_counting(&self, root: &Path, counts: &Path) -> Result<PathBuf> {
        // Apart from the others, whose libraries have other flags.
        let folder = target_folder(root).join("training");
        // Its profile is part of the names of functions: it stays the same, and what takes long is taken back by flags.
        let flags = format!(
            "-Cprofile-generate={} -Clto=off -Clinker-plugin-lto=no",
            counts.display()
        );
        self.compile(root, &folder, Some(flags))
    }

    fn compile(&self, root: &Path, folder: &Path, flags: Option<String>) -> Result<PathBuf> {
        self.provide()?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let flags = std::env::var("RUSTFLAGS").into_iter().chain(flags);
        let status = Command::new(cargo)
            .args(["build", "--locked", "--profile", "dist", "-p", "flotilla"])
            .args(["--target", self.triple])
            .env("CARGO_TARGET_DIR", folder)
            .env("RUSTFLAGS", flags.collect::<Vec<_>>().join(" "))
            .envs(self.compilers())
            .current_dir(root)
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "no program for {}: {status}", self.triple);
        Ok(folder.join(self.triple).join("dist").join(super::PROGRAM))
    }

    /// Compiler, emulator and standard library.
    fn provide(&self) -> Result<()> {
        provide(
            self.compiler
                .iter()
                .chain(self.emulator.iter().map(|emulator| &emulator.tool)),
        )?;
        let status = Command::new("rustup")
            .args(["target", "add", self.triple])
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("`rustup target add {}` failed: {status}", self.triple),
            Err(error) => {
                eprintln!(
                    "no rustup here ({error}); the standard library of {} has to be there",
                    self.triple
                );
                Ok(())
            }
        }
    }

    /// The variables by which cargo and the build scripts of C libraries find the compiler.
    fn compilers(&self) -> Vec<(String, &'static str)> {
        let Some(compiler) = &self.compiler else {
            return Vec::new();
        };
        let name = self.triple.replace('-', "_");
        let mut variables = vec![(format!("CC_{name}"), compiler.program)];
        // What is static is linked by rustc with its own start files.
        if self.libc == Libc::Glibc {
            variables.push((format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), compiler.program));
        }
        variables
    }

    /// The program as a command of this machine.
    pub(super) fn command(&self, program: &Path) -> Command {
        match &self.emulator {
            Some(emulator) if self.machine != std::env::consts::ARCH => {
                let mut command = Command::new(emulator.tool.program);
                command.args(["-L", emulator.root]).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }
}

/// A relative one is meant from where cargo runs.
pub(super) fn target_folder(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
