//! A booted machine, and commands inside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const SOON: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(300);
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs until it is dropped; nothing of it stays.
pub(super) struct Machine {
    /// `unshare`, in whose namespace overlay and cgroups are mounted, and `systemd-nspawn` below it.
    child: Child,
    /// The machine's systemd, as this host sees it.
    leader: u32,
    folder: PathBuf,
}

/// Mounts for the machine alone. On hosts with old cgroups systemd needs a hierarchy of its own.
const BOOT: &str = r#"set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0
    if [ ! -d /sys/fs/cgroup/systemd ]; then
        mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    fi
fi
exec systemd-nspawn --boot --directory "$1/root" --register=no --keep-unit --console=read-only --private-network \
    --machine=host --bind-ro="$3:/packages"
"#;

impl Machine {
    /// Boots the Debian root, with mounts in `folder`; `packages` is seen there as `/packages`.
    pub(super) fn boot(root: &Path, packages: &Path, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", BOOT, "sh"])
            .args([folder, root, packages])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run unshare")?;
        let mut machine = Self {
            child,
            leader: 0,
            folder: folder.to_owned(),
        };
        machine.leader = eventually("the machine's systemd", || machine.find_leader())?;
        machine.until("booted", "systemctl is-system-running | grep -E 'running|degraded'")?;
        Ok(machine)
    }

    /// The only child of `systemd-nspawn`, which took the place of the shell.
    fn find_leader(&self) -> Option<u32> {
        let nspawn = self.child.id().to_string();
        let found = Command::new("pgrep").args(["-P", &nspawn, "systemd"]).output().ok()?;
        String::from_utf8_lossy(&found.stdout)
            .lines()
            .next()?
            .trim()
            .parse()
            .ok()
    }

    /// A shell's command that must succeed.
    pub(super) fn step(&self, what: &str, command: &str) -> Result<()> {
        let output = self.inside(command)?;
        ensure!(output.status.success(), "{what}: `{command}` failed: {}", text(&output));
        eprintln!("ok: {what} {}", last_line(&output));
        Ok(())
    }

    /// A shell's command that must succeed sooner or later.
    pub(super) fn until(&self, what: &str, command: &str) -> Result<()> {
        eventually(what, || {
            self.inside(command).ok().filter(|output| output.status.success())
        })?;
        eprintln!("ok: {what}");
        Ok(())
    }

    /// Its end, for who looks for a cause.
    pub(super) fn journal(&self) -> String {
        self.inside("journalctl -b --no-pager -o cat -n 40")
            .map(|output| text(&output))
            .unwrap_or_default()
    }

    fn inside(&self, command: &str) -> Result<Output> {
        Command::new("nsenter")
            .args([
                "--target",
                &self.leader.to_string(),
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--",
            ])
            .args(["env", "-i", PATH, "HOME=/root", "sh", "-c", command])
            .stdin(Stdio::null())
            .output()
            .context("cannot run nsenter")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
        // Killed with all that runs in it once its first process is.
        let _already_killed = Command::new("kill").args(["-9", &self.leader.to_string()]).status();
        let _gone_already = std::fs::remove_dir(&self.folder);
    }
}

fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if start.elapsed() > SOON {
            bail!("waited {SOON:?} for: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.lines().last().unwrap_or_default().to_owned()
}
