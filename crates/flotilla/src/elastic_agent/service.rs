//! The service manager: systemd, and the unit that an installed agent runs as.

use std::process::Command;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// An agent's service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    name: String,
}

/// What the unit file needs to know.
#[derive(Clone, Debug)]
pub(super) struct UnitSettings<'a> {
    /// The installed agent's top folder.
    pub(super) top: &'a Utf8Path,
    /// Not root: the user and group to run as.
    pub(super) user: Option<(&'a str, &'a str)>,
}

impl Service {
    /// `elastic-agent`, or `elastic-agent-<namespace>`.
    pub(super) fn new(namespace: Option<&str>) -> Self {
        let name = namespace.map_or_else(
            || "elastic-agent".to_owned(),
            |namespace| format!("elastic-agent-{namespace}"),
        );
        Self { name }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether systemd runs this host.
    pub(super) fn manager_runs() -> bool {
        Utf8Path::new("/run/systemd/system").is_dir()
    }

    /// Where the unit is.
    pub(super) fn unit_file(&self) -> Utf8PathBuf {
        Utf8Path::new("/etc/systemd/system").join(format!("{}.service", self.name))
    }

    /// Writes the unit, so that it starts with the host.
    pub(super) fn register(&self, settings: &UnitSettings<'_>) -> Result<()> {
        certs::write_file_atomically(&self.unit_file(), unit(settings).as_bytes(), 0o644)?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", &self.name])
    }

    /// Starts it.
    pub(super) fn start(&self) -> Result<()> {
        systemctl(&["start", &self.name])
    }

    /// Stops it and waits until it is down.
    pub(super) fn stop(&self) -> Result<()> {
        systemctl(&["stop", &self.name])
    }

    /// Removes the unit.
    pub(super) fn unregister(&self) -> Result<()> {
        if !self.unit_file().exists() {
            return Ok(());
        }
        systemctl(&["disable", &self.name])?;
        fs::remove_file(self.unit_file())?;
        systemctl(&["daemon-reload"])
    }
}

/// The unit file. It may read the whole host, since logs are anywhere, and write only its own folder.
pub(super) fn unit(settings: &UnitSettings<'_>) -> String {
    let user = settings
        .user
        .map(|(user, group)| format!("User={user}\nGroup={group}\n"))
        .unwrap_or_default();
    // Root without these could not read other users' logs or count their processes.
    let capabilities = match settings.user {
        None => {
            "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_NET_BIND_SERVICE CAP_CHOWN CAP_FOWNER"
        }
        Some(_) => "CapabilityBoundingSet=",
    };
    include_str!("elastic-agent.service.in")
        .replace("@TOP@", settings.top.as_str())
        .replace("@USER@", &user)
        .replace("@CAPABILITIES@", capabilities)
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    run("systemctl", arguments)
}

/// Runs a program and waits; its own words are in the error.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_user_and_folder() {
        let top = Utf8Path::new("/srv/Elastic/Agent");
        let privileged = unit(&UnitSettings { top, user: None });
        assert!(privileged.contains("ExecStart=/srv/Elastic/Agent/elastic-agent\n") && !privileged.contains("User="));
        let unprivileged = unit(&UnitSettings {
            top,
            user: Some(("agent-user", "agent-group")),
        });
        assert!(unprivileged.contains("User=agent-user\nGroup=agent-group\n"));
        assert!(unprivileged.contains("CapabilityBoundingSet=\n"));
    }
}
