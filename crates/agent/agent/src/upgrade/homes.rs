//! Versioned homes: `data/elastic-agent-<version>-<hash>`, one for each version that stands by.

use std::io;

use aws_lc_rs::digest;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::{PROGRAM, UpgradeError};

const PREFIX: &str = "elastic-agent-";

/// Moves a program into a home of its own, named by its version and its hash.
pub(super) fn settle(program: &Utf8Path, data: &Utf8Path, version: &str) -> Result<Utf8PathBuf, UpgradeError> {
    let home = data.join(format!("{PREFIX}{version}-{}", &hash(program)?[..6]));
    fs::create_dir_all(&home)?;
    fs::rename(program, home.join(PROGRAM))?;
    fs::File::open(&home)?.sync_all()?;
    Ok(home)
}

/// Removes all homes but those to keep. What cannot be removed only costs room, so that is told and no error.
pub(super) fn remove_others(data: &Utf8Path, keep: &[&Utf8Path]) {
    for home in homes(data).filter(|home| !keep.contains(&home.as_path())) {
        match fs::remove_dir_all(&home) {
            Ok(()) => tracing::info!(%home, "the home of a version that was replaced is removed"),
            Err(error) => tracing::warn!(%error, "the home of a version that was replaced cannot be removed"),
        }
    }
}

fn homes(data: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> {
    let entries = data.read_dir_utf8().into_iter().flatten().flatten();
    let is_home = |entry: &camino::Utf8DirEntry| {
        entry.file_name().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    entries.filter(is_home).map(camino::Utf8DirEntry::into_path)
}

fn hash(program: &Utf8Path) -> io::Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut file = fs::File::open(program)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex::encode(context.finish())),
            read => context.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_homes_go_and_those_to_keep_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = Utf8Path::from_path(folder.path()).unwrap();
        for name in [
            "elastic-agent-1",
            "elastic-agent-2",
            "elastic-agent-3",
            "outputs",
            "registry",
        ] {
            fs::create_dir(data.join(name)).unwrap();
        }
        fs::write(data.join("elastic-agent-file"), "").unwrap();
        remove_others(data, &[&data.join("elastic-agent-2"), &data.join("elastic-agent-3")]);
        let mut left: Vec<_> = data
            .read_dir_utf8()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_owned())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "elastic-agent-2",
                "elastic-agent-3",
                "elastic-agent-file",
                "outputs",
                "registry"
            ]
        );
    }
}
