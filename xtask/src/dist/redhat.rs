//! The package for Fedora, RHEL, SUSE and their kin.

use std::path::Path;

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

use super::{Dist, PROGRAM};

const SUMMARY: &str = "TLS-secured fleet of agents on your own machines";
const DESCRIPTION: &str = "Fleet Server, agent, store, console and certificate tool in one program.";

/// The package's file name.
pub(super) fn package(dist: &Dist) -> Result<String> {
    let architecture = dist.target.machine;
    let packaging = dist.root.join("packaging");
    let script = |name: &str| {
        let path = packaging.join("rpm").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let config = BuildConfig::v4()
        .compression(CompressionType::Gzip)
        .source_date(super::source_date()?);
    let mut builder = PackageBuilder::new(PROGRAM, &dist.version, "Apache-2.0", architecture, SUMMARY);
    builder
        .using_config(config)
        .description(DESCRIPTION)
        .build_host("localhost")
        // By its library, which every distribution's package provides under this name.
        .requires(Dependency::any("libc.so.6(GLIBC_2.34)(64bit)"))
        .post_install_script(script("post")?)
        .pre_uninstall_script(script("preun")?)
        .post_uninstall_script(script("postun")?);
    let files = [
        (dist.staging.join(PROGRAM), "/usr/bin/flotilla", 0o755),
        (
            packaging.join("flotilla.service"),
            "/usr/lib/systemd/system/flotilla.service",
            0o644,
        ),
        (
            packaging.join("flotilla.sysusers"),
            "/usr/lib/sysusers.d/flotilla.conf",
            0o644,
        ),
        (dist.root.join("LICENSE"), "/usr/share/licenses/flotilla/LICENSE", 0o644),
    ];
    for (from, to, mode) in files {
        add(&mut builder, &from, to, mode)?;
    }
    let name = format!("{PROGRAM}-{}-1.{architecture}.rpm", dist.version);
    builder.build()?.write_file(dist.staging.join(&name))?;
    Ok(name)
}

fn add(builder: &mut PackageBuilder, from: &Path, to: &str, mode: u16) -> Result<()> {
    let options = FileOptions::new(to).permissions(mode);
    builder
        .with_file(from, options)
        .with_context(|| format!("cannot pack `{}`", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_package_is_whole_and_has_what_users_install() {
        let folder = std::env::temp_dir().join(format!("flotilla-rpm-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(PROGRAM), "#!/bin/sh\n").unwrap();
        let dist = Dist {
            root: super::super::root().unwrap(),
            target: super::super::target::Target::of_this_machine().unwrap(),
            version: "1.2.3".to_owned(),
            stack: "9.6.0".to_owned(),
            staging: folder.clone(),
        };
        let name = package(&dist).unwrap();
        let package = rpm::Package::open(folder.join(&name)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        package.verify_digests().unwrap();
        assert_eq!(name, format!("flotilla-1.2.3-1.{}.rpm", std::env::consts::ARCH));
        let files = [
            "/usr/bin/flotilla",
            "/usr/lib/systemd/system/flotilla.service",
            "/usr/lib/sysusers.d/flotilla.conf",
            "/usr/share/licenses/flotilla/LICENSE",
        ];
        assert_eq!(package.metadata.get_file_paths().unwrap(), files.map(PathBuf::from));
        let script = package.metadata.get_post_install_script().unwrap().script;
        assert!(script.contains("update-alternatives --install"), "{script}");
    }
}
