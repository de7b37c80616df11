//! `cargo xtask dist`: what users install, in the folder `dist`.
//!
//! One program for each kind of machine, packed several ways: `flotilla-<version>-linux-<machine>.tar.gz`, a Debian and an RPM package with
//! its service, and the package that download sources hand to agents (`elastic-agent-<version>-..`); each with its `.sha512`. The static
//! one is an archive alone (`..-static.tar.gz`). The bare program of this machine is there for `packaging/Containerfile`. Packing uses the
//! system's `tar` and `dpkg-deb`; the RPM package needs nothing.
//!
//! All is made in a folder of its own inside `dist` and moved out once it is whole, so that a failure leaves `dist` as it was.

mod redhat;
mod target;
mod training;

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use target::{Libc, TARGETS, Target};
use training::Taught;

/// One file of at most this many bytes: the promise of the project.
const LARGEST_PROGRAM: u64 = 40 * 1024 * 1024;
/// Inside the folder to fill, so that moving out of it is one rename.
const STAGING: &str = ".unfinished";
const PROGRAM: &str = "flotilla";

/// Flags of `dist`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Packs this program of this machine in place of building any
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    binary: Option<PathBuf>,
    /// Builds for this kind of machine; may be repeated. Without it, for all
    #[arg(long, value_name = "TRIPLE", value_parser = Target::named)]
    target: Vec<&'static Target>,
    /// Builds once, and tells the compiler nothing of how the program is used: sooner done, larger in memory
    #[arg(long, conflicts_with = "binary")]
    untrained: bool,
    /// Folder to fill
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = root()?;
    let programs = programs(arguments, &root)?;
    std::fs::create_dir_all(&arguments.out)?;
    let out = arguments.out.canonicalize()?;
    let staging = out.join(STAGING);
    fresh(&staging)?;
    let finished = make(&root, &programs, &staging).and_then(|made| finish(&made, &out));
    let cleared = std::fs::remove_dir_all(&staging);
    finished?;
    cleared.with_context(|| format!("cannot remove `{}`", staging.display()))
}

/// What is packed.
fn programs(arguments: &Arguments, root: &Path) -> Result<Vec<(&'static Target, PathBuf)>> {
    if let Some(program) = &arguments.binary {
        check_size(program, true)?;
        return Ok(vec![(Target::of_this_machine()?, program.clone())]);
    }
    let all = || TARGETS.iter().collect();
    let targets: Vec<&Target> = match arguments.target.as_slice() {
        [] => all(),
        chosen => chosen.to_vec(),
    };
    let build = |target: &'static Target| {
        let taught = training(target, arguments, root)?;
        let program = target.build(root, taught.as_ref())?;
        check_size(&program, arguments.untrained)?;
        Ok((target, program))
    };
    targets.into_iter().map(build).collect()
}

/// For the program that nearly all users have: that of this kind of machine, with its C library.
fn training(target: &Target, arguments: &Arguments, root: &Path) -> Result<Option<Taught>> {
    let trained = !arguments.untrained && target.triple == Target::of_this_machine()?.triple;
    trained.then(|| training::train(root, target)).transpose()
}

/// All packages of all programs, and where they lie until they are moved.
fn make(root: &Path, programs: &[(&'static Target, PathBuf)], staging: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (target, program) in programs {
        let dist = Dist::new(root, target, program, staging.join(target.triple))?;
        made.extend(dist.make()?.into_iter().map(|name| dist.staging.join(name)));
    }
    Ok(made)
}

/// A program that was handed in may be a debug build, and an untrained one is larger than what is released: to try the packing.
fn check_size(program: &Path, may_be_larger: bool) -> Result<()> {
    let metadata = std::fs::metadata(program).with_context(|| format!("cannot read `{}`", program.display()))?;
    let size = metadata.len();
    if size > LARGEST_PROGRAM {
        ensure!(
            may_be_larger,
            "the program has {size} bytes, more than the {LARGEST_PROGRAM} that are promised"
        );
        eprintln!("warning: the program has {size} bytes; what is released may have {LARGEST_PROGRAM}");
    }
    Ok(())
}

/// Moves what is whole to where users look for it.
fn finish(made: &[PathBuf], out: &Path) -> Result<()> {
    for file in made {
        let target = out.join(file.file_name().context("a file has a name")?);
        std::fs::rename(file, &target).with_context(|| format!("cannot move it to `{}`", target.display()))?;
        eprintln!("{}", target.display());
    }
    Ok(())
}

struct Dist {
    root: PathBuf,
    target: &'static Target,
    version: String,
    stack: String,
    staging: PathBuf,
}

impl Dist {
    fn new(root: &Path, target: &'static Target, program: &Path, staging: PathBuf) -> Result<Self> {
        let kept = staging.join(PROGRAM);
        install(program, &kept, 0o755)?;
        Ok(Self {
            root: root.to_owned(),
            target,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stack: stack_version(target.command(&kept))?,
            staging,
        })
    }

    /// The names of all that was made.
    fn make(&self) -> Result<Vec<String>> {
        let mut packages = vec![self.archive()?];
        if self.target.libc == Libc::Glibc {
            packages.extend([self.agent_package()?, self.debian()?, redhat::package(self)?]);
        }
        let mut made = Vec::new();
        for package in packages {
            made.push(self.checksum(&package)?);
            made.push(package);
        }
        if self.target.triple == Target::of_this_machine()?.triple {
            made.push(PROGRAM.to_owned());
        }
        Ok(made)
    }

    /// For hosts without a package manager.
    fn archive(&self) -> Result<String> {
        let kind = match self.target.libc {
            Libc::Glibc => "",
            Libc::Static => "-static",
        };
        let name = format!("flotilla-{}-linux-{}{kind}", self.version, self.target.machine);
        let folder = self.staging.join(&name);
        install(&self.staging.join(PROGRAM), &folder.join(PROGRAM), 0o755)?;
        for link in ["elastic-agent", "elasticsearch-certutil"] {
            symlink(PROGRAM, folder.join(link))?;
        }
        for file in ["LICENSE", "README.md", "packaging/flotilla.service"] {
            let path = Path::new(file);
            let base = path.file_name().context("a file has a name")?;
            install(&self.root.join(file), &folder.join(base), 0o644)?;
        }
        self.pack(&name)
    }

    /// For download sources: the name and layout that agents ask for.
    fn agent_package(&self) -> Result<String> {
        let name = format!("elastic-agent-{}-linux-{}", self.stack, self.target.agent);
        let folder = self.staging.join(&name);
        install(&self.staging.join(PROGRAM), &folder.join("elastic-agent"), 0o755)?;
        let manifest = format!(
            "version: co.elastic.agent/v1\nkind: PackageManifest\npackage:\n  version: {}\n  snapshot: false\n",
            self.stack
        );
        write(&folder.join("manifest.yaml"), &manifest, 0o644)?;
        write(&folder.join("package.version"), &self.stack, 0o644)?;
        self.pack(&name)
    }

    fn debian(&self) -> Result<String> {
        let architecture = self.target.debian;
        let name = format!("flotilla_{}_{architecture}.deb", self.version);
        let folder = self.staging.join("debian");
        let packaging = self.root.join("packaging");
        install(&self.staging.join(PROGRAM), &folder.join("usr/bin/flotilla"), 0o755)?;
        install(
            &packaging.join("flotilla.service"),
            &folder.join("usr/lib/systemd/system/flotilla.service"),
            0o644,
        )?;
        install(
            &packaging.join("flotilla.sysusers"),
            &folder.join("usr/lib/sysusers.d/flotilla.conf"),
            0o644,
        )?;
        install(
            &self.root.join("LICENSE"),
            &folder.join("usr/share/doc/flotilla/copyright"),
            0o644,
        )?;
        for script in ["postinst", "prerm", "postrm"] {
            install(&packaging.join(script), &folder.join("DEBIAN").join(script), 0o755)?;
        }
        let control = format!(
            "Package: flotilla\nVersion: {}\nArchitecture: {architecture}\nMaintainer: Flotilla developers <flotilla@localhost>\n\
             Depends: libc6 (>= 2.34)\nSection: admin\nPriority: optional\n\
             Description: TLS-secured fleet of agents on your own machines\n \
             Fleet Server, agent, store, console and certificate tool in one program.\n",
            self.version
        );
        write(&folder.join("DEBIAN/control"), &control, 0o644)?;
        let target = self.staging.join(&name);
        command(
            "dpkg-deb",
            &[
                "--root-owner-group",
                "-Zgzip",
                "--build",
                path(&folder)?,
                path(&target)?,
            ],
            &self.staging,
        )?;
        Ok(name)
    }

    /// The folder as an archive, the same bytes for the same content.
    fn pack(&self, name: &str) -> Result<String> {
        let archive = format!("{name}.tar.gz");
        let mtime = format!("--mtime=@{}", source_date()?);
        command(
            "tar",
            &[
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                &mtime,
                "-czf",
                &archive,
                name,
            ],
            &self.staging,
        )?;
        Ok(archive)
    }

    /// The name of `<file>.sha512`, as `sha512sum` writes it.
    fn checksum(&self, name: &str) -> Result<String> {
        let sum = output("sha512sum", &[name], &self.staging)?;
        let file = format!("{name}.sha512");
        write(&self.staging.join(&file), &sum, 0o644)?;
        Ok(file)
    }
}

/// `SOURCE_DATE_EPOCH`, or the beginning of time: what the same source makes is the same.
fn source_date() -> Result<u32> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().context("`SOURCE_DATE_EPOCH` is no number of seconds"),
        Err(_) => Ok(0),
    }
}

/// Makes the folder anew: an interrupted run leaves one behind.
fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(())
}

/// The version that agents of this program report.
fn stack_version(mut program: Command) -> Result<String> {
    program.args(["agent", "version", "--binary-only"]).current_dir("/");
    let said = said_by(&mut program)?;
    let is_version = |word: &&str| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit());
    let version = said.split_whitespace().find(is_version);
    version
        .map(str::to_owned)
        .with_context(|| format!("{program:?} says no version: {said}"))
}

/// The workspace's folder.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map(Path::to_owned)
        .context("this crate lies in the workspace")
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy `{}`", from.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a package is made anew when this is interrupted"
)]
fn write(to: &Path, text: &str, mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(to, text).with_context(|| format!("cannot write `{}`", to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("`{}` is not UTF-8", path.display()))
}

fn command(program: impl AsRef<OsStr>, arguments: &[&str], folder: &Path) -> Result<()> {
    let name = program.as_ref().to_owned();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .status()
        .with_context(|| format!("cannot run `{}`", name.display()))?;
    ensure!(
        status.success(),
        "`{} {}` failed: {status}",
        name.display(),
        arguments.join(" ")
    );
    Ok(())
}

fn output(program: impl AsRef<OsStr>, arguments: &[&str], folder: &Path) -> Result<String> {
    said_by(Command::new(program).args(arguments).current_dir(folder))
}

fn said_by(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
