//! `elastic-agent install` and `uninstall`.
//!
//! An installation is: files below `<base>/Elastic/Agent`, a link to the program there, a wrapper in `/usr/bin`, a systemd
//! unit, and the enrolment. When a step fails, the steps before it are taken back, last one first.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs as unix_fs;

use super::arguments::{CommonArguments, InstallArguments, JoinArguments, SwitchArguments, UninstallArguments};
use super::join::Join;
use super::service::{self, Service, UnitSettings};
use super::{enroll, log_output};
use crate::printer;

const DEFAULT_TOP: &str = "/opt/Elastic/Agent";
const STATE_WITHOUT_INSTALLATION: &str = "/var/lib/elastic-agent";
const UNPRIVILEGED_USER: &str = "elastic-agent-user";
const UNPRIVILEGED_GROUP: &str = "elastic-agent";
const MARKER: &str = ".installed";

/// The top folder when no `--path.home` says otherwise: that of the installed agent, else the folder that the program
/// was started from, unless that is a folder of programs.
pub(super) fn default_home() -> Utf8PathBuf {
    let program = std::env::args().next().map(Utf8PathBuf::from).unwrap_or_default();
    let started_from = program
        .parent()
        .filter(|parent| !parent.as_str().is_empty())
        .map(Utf8Path::to_owned);
    if let Some(folder) = &started_from
        && folder.join(MARKER).exists()
    {
        return folder.clone();
    }
    let installed = Utf8Path::new(DEFAULT_TOP);
    if installed.join(MARKER).exists() {
        return installed.to_owned();
    }
    let of_programs = |folder: &Utf8PathBuf| folder.file_name() == Some("bin") || folder.file_name() == Some("sbin");
    started_from
        .filter(|folder| !of_programs(folder))
        .unwrap_or_else(|| STATE_WITHOUT_INSTALLATION.into())
}

pub(super) fn run(common: &CommonArguments, arguments: &InstallArguments) -> Result<i32> {
    log_output::to_stderr(common);
    let mut join = Join::check(&arguments.join)?;
    ensure!(
        arguments.base_path.is_absolute(),
        "--base-path must be an absolute path, not `{}`",
        arguments.base_path
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "install needs root: run it with sudo; without root, use `elastic-agent enroll` and `elastic-agent run`"
    );
    ensure!(
        Service::manager_runs(),
        "no systemd runs on this host, so no service can be installed; use `elastic-agent enroll` and `elastic-agent run` under your own supervisor"
    );
    let plan = Plan::new(arguments);
    plan.check(arguments)?;
    if !ask(arguments, &mut join)? {
        bail!("nothing was changed");
    }
    let mut undo = Undo::default();
    match plan.install(arguments, &join, &mut undo) {
        Ok(()) => {
            printer::line(format!(
                "Elastic Agent is installed in {} and runs as a service.",
                plan.top
            ));
            Ok(0)
        }
        Err(error) => {
            undo.run();
            Err(error.context("the installation failed and was taken back"))
        }
    }
}

struct Plan {
    top: Utf8PathBuf,
    namespace: Option<String>,
    user: Option<(String, String)>,
    service: Service,
}

impl Plan {
    fn new(arguments: &InstallArguments) -> Self {
        let namespace = arguments
            .namespace
            .clone()
            .or_else(|| arguments.develop.then(|| "Development".to_owned()));
        let folder = namespace
            .as_ref()
            .map_or_else(|| "Agent".to_owned(), |namespace| format!("Agent-{namespace}"));
        let user = match (&arguments.user, &arguments.group) {
            (Some(user), group) => Some((user.clone(), group.clone().unwrap_or_else(|| user.clone()))),
            (None, _) if arguments.unprivileged => Some((UNPRIVILEGED_USER.to_owned(), UNPRIVILEGED_GROUP.to_owned())),
            (None, _) => None,
        };
        Self {
            top: arguments.base_path.join("Elastic").join(folder),
            service: Service::new(namespace.as_deref()),
            namespace,
            user,
        }
    }

    fn check(&self, arguments: &InstallArguments) -> Result<()> {
        let program = program()?;
        ensure!(
            !program.starts_with(&self.top),
            "this is the installed program; run `install` from somewhere else"
        );
        let forced = arguments.join.force == Some(true);
        ensure!(
            forced || !self.is_complete(),
            "an agent is installed in `{}` already; pass --force to replace it",
            self.top
        );
        Ok(())
    }

    /// Files without a service are what an installation left that was interrupted; another one completes it.
    fn is_complete(&self) -> bool {
        self.top.join(MARKER).exists() && self.service.unit_file().exists()
    }

    fn install(&self, arguments: &InstallArguments, join: &Join, undo: &mut Undo) -> Result<()> {
        if self.is_complete() {
            self.service.stop()?;
        }
        let step = |text: &str| printer::note(format!("  {text} .."));
        step("copying files");
        self.copy_files(undo)?;
        if let Some((user, group)) = &self.user {
            step("making the user");
            make_user(user, group)?;
        }
        let paths = agent::Paths::new(&self.top, None, None, None);
        if arguments.join.delay_enroll == Some(true) {
            store_delayed(&paths, &arguments.join)?;
        } else if join.token.is_some() || join.has_fleet_server() {
            step("enrolling");
            let mut join = join.clone();
            join.flags.tag.extend(self.namespace.clone());
            let membership = enroll::Membership::of(&join, &paths)?;
            let enrolled = super::block_on(membership.enroll(&join, paths))?;
            enrolled.warnings.iter().for_each(printer::warning);
            printer::line(format!(
                "Successfully enrolled: agent {}, policy {}",
                enrolled.agent_id, enrolled.policy_id
            ));
        }
        if let Some((user, group)) = &self.user {
            service::run("chown", &["-R", &format!("{user}:{group}"), self.top.as_str()])?;
        }
        step("registering the service");
        let service = self.service.clone();
        undo.push(move || service.unregister());
        let user = self.user.as_ref().map(|(user, group)| (user.as_str(), group.as_str()));
        self.service.register(&UnitSettings { top: &self.top, user })?;
        step("starting the service");
        let service = self.service.clone();
        undo.push(move || service.stop());
        self.service.start()
    }

    /// The program under its versioned home, the link to it, marker and wrapper.
    fn copy_files(&self, undo: &mut Undo) -> Result<()> {
        let fresh = !self.top.exists();
        let version = super::build().version;
        let home = self.top.join("data").join(format!("elastic-agent-{version}"));
        if fresh {
            let top = self.top.clone();
            undo.push(move || Ok(fs::remove_dir_all(&top)?));
        }
        fs::create_dir_all(&home)?;
        let target = home.join("elastic-agent");
        let beside = home.join("elastic-agent.new");
        fs::copy(program()?, &beside)?;
        set_mode(&beside, 0o755)?;
        fs::rename(&beside, &target)?;
        let link = self.top.join("elastic-agent");
        let new_link = self.top.join("elastic-agent.new");
        remove_if_there(&new_link)?;
        unix_fs::symlink(&target, &new_link)?;
        fs::rename(&new_link, &link)?;
        certs::write_file_atomically(&self.top.join(MARKER), b"", 0o644)?;
        if self.namespace.is_none() {
            let wrapper = Utf8Path::new("/usr/bin/elastic-agent");
            if !wrapper.exists() {
                undo.push(move || remove_if_there(wrapper));
            }
            let text = format!("#!/bin/sh\nexec {link} \"$@\"\n");
            certs::write_file_atomically(wrapper, text.as_bytes(), 0o755)?;
        }
        Ok(())
    }
}

/// Steps to take back, last one first.
#[derive(Default)]
struct Undo(Vec<Box<dyn FnOnce() -> Result<()>>>);

impl Undo {
    fn push(&mut self, step: impl FnOnce() -> Result<()> + 'static) {
        self.0.push(Box::new(step));
    }

    fn run(self) {
        for step in self.0.into_iter().rev() {
            if let Err(error) = step() {
                printer::warning(format!("a step could not be taken back: {error:#}"));
            }
        }
    }
}

/// The questions of the stock program, in its order; false when the user says no.
fn ask(arguments: &InstallArguments, join: &mut Join) -> Result<bool> {
    let flags = &arguments.join;
    let quiet = flags.force == Some(true) || arguments.non_interactive;
    if quiet {
        return Ok(true);
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here; pass --non-interactive (or --force) with --url and --enrollment-token, or --join"
    );
    if !yes("Elastic Agent will be installed on this host and run as a service. Go on?")? {
        return Ok(false);
    }
    let complete = (join.token.is_some() && !join.urls.is_empty()) || join.has_fleet_server();
    if complete || flags.delay_enroll == Some(true) || !yes("Enrol this agent into a fleet?")? {
        return Ok(true);
    }
    if join.urls.is_empty() {
        join.urls = vec![answer("URL of the Fleet Server:")?];
    }
    if join.token.is_none() {
        join.token = Some(answer("Enrollment token:")?.into());
    }
    Ok(true)
}

fn yes(question: &str) -> Result<bool> {
    let answer = answer(&format!("{question} [Y/n]"))?;
    Ok(matches!(answer.to_lowercase().as_str(), "" | "y" | "yes"))
}

fn answer(question: &str) -> Result<String> {
    printer::text(format!("{question} "));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("cannot read the answer")?;
    Ok(line.trim().to_owned())
}

fn make_user(user: &str, group: &str) -> Result<()> {
    let known = |database: &str, name: &str| service::run("getent", &[database, name]).is_ok();
    if !known("group", group) {
        service::run("groupadd", &["--system", group])?;
    }
    if !known("passwd", user) {
        service::run(
            "useradd",
            &[
                "--system",
                "--gid",
                group,
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                user,
            ],
        )?;
    }
    Ok(())
}

fn store_delayed(paths: &agent::Paths, flags: &JoinArguments) -> Result<()> {
    let text = settings::to_yaml(&serde_json::to_value(flags)?);
    certs::write_file_atomically(&paths.delayed_enrollment(), text.as_bytes(), 0o600)?;
    Ok(())
}

/// Does an enrolment that `install --delay-enroll` left for the first start.
pub(super) async fn enroll_delayed(common: &CommonArguments) -> Result<()> {
    let paths = common.paths();
    let file = paths.delayed_enrollment();
    if !file.exists() {
        return Ok(());
    }
    let flags: JoinArguments = settings::typed_from_yaml(file.as_str(), &fs::read_to_string(&file)?)?;
    let enrolled = enroll::enroll(Join::check(&flags)?.options(paths)?).await?;
    tracing::info!(agent.id = %enrolled.agent_id, "enrolled as the installation asked");
    fs::remove_file(&file)?;
    Ok(())
}

pub(super) fn uninstall(common: &CommonArguments, arguments: &UninstallArguments) -> Result<i32> {
    log_output::to_stderr(common);
    let paths = common.paths();
    let top = paths.home().to_owned();
    ensure!(paths.installed_marker().exists(), "no agent is installed in `{top}`");
    ensure!(
        rustix::process::geteuid().is_root(),
        "uninstall needs root: run it with sudo"
    );
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    ensure!(
        !here.starts_with(&top),
        "the current folder is inside `{top}`; change to another one first"
    );
    if !arguments.force && !yes(&format!("The agent in {top} will be removed, its data as well. Go on?"))? {
        bail!("nothing was changed");
    }
    let namespace = top.file_name().and_then(|name| name.strip_prefix("Agent-"));
    let service = Service::new(namespace);
    if service.unit_file().exists() {
        service.stop()?;
    }
    if !arguments.skip_fleet_audit {
        let told = super::block_on(async {
            Ok(agent::tell_uninstalled(&paths, &super::build().version, &clock::system()).await)
        })?;
        if let Err(error) = told {
            printer::warning(format!("Fleet could not be told: {error}"));
        }
    }
    service.unregister()?;
    if namespace.is_none() {
        remove_if_there(Utf8Path::new("/usr/bin/elastic-agent"))?;
    }
    remove_files(&top)?;
    printer::line("Elastic Agent was uninstalled.");
    Ok(0)
}

/// The marker goes last: as long as anything else is there, `uninstall` can be run again.
fn remove_files(top: &Utf8Path) -> Result<()> {
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(fs::remove_dir_all(top)?)
}

/// The user and group that `unprivileged` names, else those of `install --unprivileged`.
pub(super) fn user_of(arguments: &SwitchArguments) -> (String, String) {
    match (&arguments.user, &arguments.group) {
        (None, None) => (UNPRIVILEGED_USER.to_owned(), UNPRIVILEGED_GROUP.to_owned()),
        (user, group) => {
            let user = user.clone().unwrap_or_else(|| UNPRIVILEGED_USER.to_owned());
            let group = group.clone().unwrap_or_else(|| user.clone());
            (user, group)
        }
    }
}

/// `privileged` and `unprivileged`: the service runs as another user from now on.
pub(super) fn switch_user(
    common: &CommonArguments,
    arguments: &SwitchArguments,
    user: Option<(String, String)>,
) -> Result<i32> {
    let paths = common.paths();
    let top = paths.home();
    ensure!(paths.installed_marker().exists(), "no agent is installed in `{top}`");
    ensure!(
        rustix::process::geteuid().is_root(),
        "changing the agent's user needs root: run it with sudo"
    );
    let name = user.as_ref().map_or("root", |(user, _)| user.as_str());
    if !arguments.force && !yes(&format!("The agent in {top} will be restarted as user {name}. Go on?"))? {
        bail!("nothing was changed");
    }
    if let Some((user, group)) = &user {
        make_user(user, group)?;
    }
    let service = Service::new(top.file_name().and_then(|name| name.strip_prefix("Agent-")));
    service.stop()?;
    let owner = user
        .as_ref()
        .map_or_else(|| "root:root".to_owned(), |(user, group)| format!("{user}:{group}"));
    let switched = service::run("chown", &["-R", &owner, top.as_str()]).and_then(|()| {
        service.register(&UnitSettings {
            top,
            user: user.as_ref().map(|(user, group)| (user.as_str(), group.as_str())),
        })
    });
    // Whatever happened, a host without its agent is the worse outcome.
    service.start()?;
    switched?;
    printer::line(format!("The agent runs as {name} now."));
    Ok(0)
}

fn program() -> Result<Utf8PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    Utf8PathBuf::from_path_buf(program).map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))
}

fn set_mode(path: &Utf8Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn remove_if_there(path: &Utf8Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_base_path_and_namespace() {
        let plan = |arguments: InstallArguments| Plan::new(&arguments);
        let base = InstallArguments {
            base_path: "/srv".into(),
            ..InstallArguments::default()
        };
        assert_eq!(plan(base.clone()).top, "/srv/Elastic/Agent");
        let develop = plan(InstallArguments {
            develop: true,
            ..base.clone()
        });
        assert_eq!(develop.top, "/srv/Elastic/Agent-Development");
        let user = plan(InstallArguments {
            unprivileged: true,
            ..base
        })
        .user;
        assert_eq!(
            user,
            Some((UNPRIVILEGED_USER.to_owned(), UNPRIVILEGED_GROUP.to_owned()))
        );
    }

    #[test]
    fn what_was_done_is_taken_back_last_step_first() {
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut undo = Undo::default();
        for number in 0..3 {
            let order = order.clone();
            undo.push(move || {
                order.borrow_mut().push(number);
                ensure!(number != 1, "cannot");
                Ok(())
            });
        }
        undo.run();
        assert_eq!(*order.borrow(), [2, 1, 0]);
    }
}
