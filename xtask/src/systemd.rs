//! `cargo xtask systemd`: the packages and the agent's service under a real systemd.
//!
//! A Debian root (made once by `debootstrap`, kept in `target/systemd`) is booted by `systemd-nspawn` with an overlay on top, so
//! that each story begins with a new host. It needs root, `debootstrap` and `systemd-container`; nothing of it runs in `cargo xtask test`,
//! whose machines may not boot anything.

mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use machine::Machine;

use crate::dist;

/// Exposure that `systemd-analyze security` may find at most, in tenths.
const LARGEST_EXPOSURE: u32 = 40;
const INSTALLED: &str =
    "debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,ca-certificates,iproute2,procps,rpm";

/// Flags of `systemd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What `cargo xtask dist` has made
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    packages: PathBuf,
    /// Where Debian's packages come from, if not from where debootstrap looks by itself
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let packages = arguments
        .packages
        .canonicalize()
        .context("there are no packages; `cargo xtask dist` makes them")?;
    let folder = dist::root()?.join("target/systemd");
    let root = debian_root(&folder, arguments.mirror.as_deref())?;
    for (name, story) in [
        ("Debian package", debian_package as fn(&Machine) -> Result<()>),
        ("RPM package", rpm_package),
        ("agent", agent),
        ("agent with a broken new version", broken_version),
        ("agent without privileges", agent_without_privileges),
    ] {
        eprintln!("== {name}");
        let machine = Machine::boot(&root, &packages, &folder.join("machine"))?;
        story(&machine).with_context(|| format!("{name}: {}", machine.journal()))?;
    }
    Ok(())
}

/// Made once; an interrupted run leaves no folder of that name.
fn debian_root(folder: &Path, mirror: Option<&str>) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        return Ok(root);
    }
    let unfinished = folder.join("root.unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    let mut words = INSTALLED.split(' ');
    let status = Command::new(words.next().context("a program is named")?)
        .args(words)
        .arg("stable")
        .arg(&unfinished)
        .args(mirror)
        .status()
        .context("cannot run debootstrap; install the package of that name")?;
    ensure!(status.success(), "debootstrap failed: {status}");
    std::fs::rename(&unfinished, &root)?;
    Ok(root)
}

/// Installed, started, restarted, removed: the data stays until it is purged.
fn debian_package(machine: &Machine) -> Result<()> {
    machine.step("installs", "dpkg -i /packages/*_$(dpkg --print-architecture).deb")?;
    service(machine)?;
    machine.step("is removed", "dpkg -r flotilla && ! test -e /usr/bin/elastic-agent")?;
    machine.step("has stopped", "! curl -sk https://localhost:9200")?;
    machine.step("has left the data", "test -d /var/lib/flotilla/certs")?;
    machine.step("is purged", "dpkg -P flotilla")
}

fn rpm_package(machine: &Machine) -> Result<()> {
    // Debian's database of RPM packages is empty: it knows no C library.
    machine.step("installs", "rpm -i --nodeps /packages/*.$(uname -m).rpm")?;
    service(machine)?;
    machine.step("is removed", "rpm -e flotilla && ! test -e /usr/bin/flotilla")?;
    machine.step("has stopped", "! curl -sk https://localhost:9200")
}

/// The service of either package.
fn service(machine: &Machine) -> Result<()> {
    machine.step(
        "has both names",
        "elastic-agent version --binary-only && elasticsearch-certutil --help >/dev/null",
    )?;
    machine.step("starts", "systemctl start flotilla")?;
    machine.until("is ready", READY)?;
    machine.step(
        "keeps its password out of the journal",
        &format!("! journalctl -u flotilla | grep -F \"$(cat {PASSWORD})\""),
    )?;
    machine.step("is no superuser", "test \"$(ps -o user= -C flotilla)\" = flotilla")?;
    hardened(machine, "flotilla")?;
    machine.step(
        "identity",
        "sha256sum /var/lib/flotilla/certs/root-ca.crt > /root/identity",
    )?;
    machine.step("restarts", "systemctl restart flotilla")?;
    machine.until("is ready again", READY)?;
    machine.step("is who it was", "sha256sum -c /root/identity")?;
    machine.step("reloads", "systemctl reload flotilla && systemctl is-active flotilla")?;
    machine.step("is killed", "systemctl kill -s KILL flotilla")?;
    machine.until("comes back", READY)
}

/// A whole life: installed by the pasted line, restarted, killed, upgraded, gone.
fn agent(machine: &Machine) -> Result<()> {
    fleet(machine)?;
    machine.step("one pasted line", &format!("{} | sh -ex", pasted_line("")))?;
    machine.until("is healthy", HEALTHY)?;
    hardened(machine, "elastic-agent")?;
    machine.step("restarts", "systemctl restart elastic-agent")?;
    machine.until("is healthy again", HEALTHY)?;
    machine.step("restarts by its own command", "elastic-agent restart")?;
    machine.until("is healthy after that", HEALTHY)?;
    machine.step("is upgraded", &upgrade_to(r#"exec /packages/flotilla agent "$@""#))?;
    machine.until(
        "runs the new version",
        "readlink /opt/Elastic/Agent/elastic-agent | grep -F 99.0.0",
    )?;
    machine.until("is healthy as the new version", HEALTHY)?;
    machine.step("is uninstalled", "elastic-agent uninstall --force")?;
    gone(machine)
}

/// It ends as soon as it starts; the watchdog brings the old one back.
fn broken_version(machine: &Machine) -> Result<()> {
    fleet(machine)?;
    machine.step("one pasted line", &format!("{} | sh -ex", pasted_line("")))?;
    machine.until("is healthy", HEALTHY)?;
    machine.step("home", "readlink /opt/Elastic/Agent/elastic-agent > /root/home")?;
    machine.step("is upgraded", &upgrade_to("exit 1"))?;
    machine.until(
        "is taken back",
        "readlink /opt/Elastic/Agent/elastic-agent | cmp - /root/home",
    )?;
    machine.until("is healthy as before", HEALTHY)
}

fn agent_without_privileges(machine: &Machine) -> Result<()> {
    fleet(machine)?;
    machine.step(
        "one pasted line",
        &format!("{} | sh -ex", pasted_line("--unprivileged")),
    )?;
    machine.until("is healthy", HEALTHY)?;
    machine.step(
        "is no superuser",
        "ps -o user= -p \"$(systemctl show -p MainPID --value elastic-agent)\" | grep -v root",
    )?;
    hardened(machine, "elastic-agent")?;
    machine.step("gets privileges", "elastic-agent privileged --force")?;
    machine.until("is healthy with them", HEALTHY)?;
    machine.step("is uninstalled", "elastic-agent uninstall --force")?;
    gone(machine)
}

fn gone(machine: &Machine) -> Result<()> {
    machine.step("its service is gone", "! systemctl cat elastic-agent")?;
    machine.step("its folder is gone", "! test -e /opt/Elastic/Agent")
}

/// Fails beyond the threshold; the last line tells the exposure.
fn hardened(machine: &Machine, unit: &str) -> Result<()> {
    let command = format!("systemd-analyze security --no-pager --threshold={LARGEST_EXPOSURE} {unit}.service");
    machine.step("is hardened", &command)
}

const PASSWORD: &str = "/var/lib/flotilla/secrets/elastic-password";
/// What only a server with its store answers.
const READY: &str = "test \"$(curl -sk -o /dev/null -w %{http_code} https://localhost:9200)\" = 401 && \
     curl -sfk https://localhost:8220/api/status | grep HEALTHY";
const HEALTHY: &str = "elastic-agent status";
/// A program of another version, whose work is what stands in `$work`.
const UPGRADE: &str = r#"mkdir -p /tmp/packages/elastic-agent-99.0.0 && cd /tmp/packages
cat > elastic-agent-99.0.0/elastic-agent <<SCRIPT
#!/bin/sh
if [ "\$1" = version ]; then echo 99.0.0; exit; fi
$work
SCRIPT
chmod 755 elastic-agent-99.0.0/elastic-agent
name=elastic-agent-99.0.0-linux-$(uname -m | sed s/aarch64/arm64/).tar.gz
tar -czf "$name" elastic-agent-99.0.0 && sha512sum "$name" > "$name.sha512"
elastic-agent upgrade 99.0.0 --force --source-uri file:///tmp/packages --skip-verify"#;

fn upgrade_to(work: &str) -> String {
    format!("work='{work}'\n{UPGRADE}")
}

/// A Fleet Server on the same machine, by hand.
fn fleet(machine: &Machine) -> Result<()> {
    let start = "systemd-run --unit=fleet --property=StandardOutput=file:/root/ready.json --property=StandardError=journal \
         /packages/flotilla up --data-dir /root/fleet --no-agent --json";
    machine.step("Fleet Server", start)?;
    machine.until("Fleet Server is ready", "grep ready /root/ready.json")
}

/// The line that `up` prints for a host that has nothing, with these flags more.
fn pasted_line(flags: &str) -> String {
    format!(r#"sed 's/.*"install":"\([^"]*\)".*/\1/' /root/ready.json | sed 's/$/ {flags}/'"#)
}
