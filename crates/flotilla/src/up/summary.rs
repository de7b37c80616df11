//! What `up` prints when it is ready.

use anyhow::Result;
use protocol::JoinString;
use serde_json::json;

use super::installation::Installation;
use super::services::Services;
use crate::bare_host;
use crate::printer;

/// Where to look, how to log in, how to add a host.
pub(super) struct Summary {
    fleet_server: String,
    elasticsearch: String,
    console: String,
    ca_path: String,
    ca_sha256: String,
    password: String,
    password_path: String,
    enrollment_token: String,
    service_token: String,
    fleet_server_policy_id: String,
    join: String,
    install: String,
}

impl Summary {
    pub(super) fn new(installation: &Installation, services: &Services) -> Result<Self> {
        let first_url = |port| installation.urls(port).into_iter().next().unwrap_or_default();
        let join = JoinString {
            urls: installation.urls(installation.ports.fleet_server),
            enrollment_token: services.setup.enrollment_token.clone(),
            ca_fingerprint: Some(services.fleet_server_ca_fingerprint.clone()),
        };
        Ok(Self {
            fleet_server: first_url(installation.ports.fleet_server),
            elasticsearch: first_url(installation.ports.elasticsearch),
            console: first_url(installation.ports.console),
            ca_path: installation.authorities.root_certificate().to_string(),
            ca_sha256: installation.authorities.root_fingerprint()?,
            password: installation.elastic_password.expose().to_owned(),
            password_path: installation.data_dir.secret_path("elastic-password").to_string(),
            enrollment_token: services.setup.enrollment_token.expose().to_owned(),
            service_token: services.service_token.expose().to_owned(),
            fleet_server_policy_id: services.setup.fleet_server_policy_id.clone(),
            join: join.encode(),
            install: bare_host::command(&installation.fleet_server_leaves()?, &join),
        })
    }

    /// To standard output, as one line of JSON or for a person.
    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            printer::line(self.json());
            return;
        }
        // Others read the journal, and it is kept: no password and no token goes there.
        let to_journal = printer::writes_to_journal();
        printer::line("Flotilla is ready.\n");
        printer::field("Console", &self.console);
        let login = if to_journal {
            format!("elastic, password kept in {}", self.password_path)
        } else {
            format!("elastic, password {} (kept in {})", self.password, self.password_path)
        };
        printer::field("Log in as", login);
        printer::field("Elasticsearch", &self.elasticsearch);
        printer::field("Fleet Server", &self.fleet_server);
        printer::field("CA", &self.ca_path);
        printer::field("CA SHA-256", &self.ca_sha256);
        if to_journal {
            printer::line("\nThe command that adds another host is in the console, at `Add agent`.");
            return;
        }
        self.print_commands();
        printer::line("Ctrl-C stops it; the next start goes on where this one ends.");
    }

    fn print_commands(&self) {
        printer::line("\nAdd another host, with this program on it, as root:\n");
        printer::line(format!("  flotilla agent {} --join {}\n", join_command(), self.join));
        printer::line("Or, on a host that has nothing, as root:\n");
        printer::line(format!("  {}\n", self.install));
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "ready": true,
            "urls": {
                "fleet_server": self.fleet_server,
                "elasticsearch": self.elasticsearch,
                "console": self.console,
            },
            "ca": { "path": self.ca_path, "sha256": self.ca_sha256 },
            "username": "elastic",
            "password": self.password,
            "enrollment_token": self.enrollment_token,
            "service_token": self.service_token,
            "fleet_server_policy_id": self.fleet_server_policy_id,
            "join": self.join,
            "install": self.install,
        })
    }
}

/// `install` needs a service manager; without one the agent is enrolled and then run by hand.
fn join_command() -> &'static str {
    if camino::Utf8Path::new("/run/systemd/system").exists() {
        "install"
    } else {
        "enroll"
    }
}
