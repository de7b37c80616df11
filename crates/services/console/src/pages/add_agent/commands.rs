//! The command that adds a host, for each platform.

use policy::model::HostSsl;
use protocol::JoinString;

use crate::pages::look::url_part;

/// Stands where a path to the CA has to be put in by hand.
pub(super) const CA: &str = "<PATH_TO_CA>";

/// What the new host is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Platform {
    /// A Linux host that runs our own agent: nothing needs to be there.
    #[default]
    Flotilla,
    /// The stock agent from here on.
    Linux,
    Packages,
    MacOs,
    Windows,
    Container,
    Kubernetes,
}

impl Platform {
    pub(super) const ALL: [Self; 7] = [
        Self::Flotilla,
        Self::Linux,
        Self::Packages,
        Self::MacOs,
        Self::Windows,
        Self::Container,
        Self::Kubernetes,
    ];

    /// In the URL.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Flotilla => "flotilla",
            Self::Linux => "linux",
            Self::Packages => "packages",
            Self::MacOs => "macos",
            Self::Windows => "windows",
            Self::Container => "container",
            Self::Kubernetes => "kubernetes",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flotilla => "Linux",
            Self::Linux => "Stock agent, tar",
            Self::Packages => "DEB, RPM",
            Self::MacOs => "macOS",
            Self::Windows => "Windows",
            Self::Container => "Container",
            Self::Kubernetes => "Kubernetes",
        }
    }

    /// By its key; the first when there is none of that key.
    pub(super) fn named(key: &str) -> Self {
        let found = Self::ALL.into_iter().find(|platform| platform.key() == key);
        found.unwrap_or_default()
    }
}

/// A text to copy, and where it is run.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) place: &'static str,
    pub(super) text: String,
}

/// All that commands are made of.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) join: JoinString,
    pub(super) key_id: String,
    pub(super) policy_id: String,
    /// The line that fetches and installs our program, without its options, when our Fleet Server hands it out.
    pub(super) script: Option<String>,
    pub(super) tls: HostSsl,
    /// The CA that agents verify the Fleet Server with, as PEM, when it is known.
    pub(super) authority: Option<String>,
    /// Of the stock agent.
    pub(super) version: String,
    /// The folder of its archives.
    pub(super) downloads: String,
}

impl Commands {
    /// In the order in which they are run.
    pub(super) fn of(&self, platform: Platform) -> Vec<Command> {
        let one = |place, text| vec![Command { place, text }];
        let ca = self.ca_file(platform);
        let commands = match platform {
            Platform::Flotilla => return self.flotilla(),
            Platform::Linux => one("on the new host", self.unpacked("linux-x86_64", &ca.path)),
            Platform::MacOs => one("on the new host", self.unpacked("darwin-aarch64", &ca.path)),
            Platform::Windows => one("in an elevated PowerShell", self.windows(&ca.path)),
            Platform::Packages => self.packages(&ca.path),
            Platform::Container if ca.written.is_some() => {
                one("where containers run, in the same folder", self.container())
            }
            Platform::Container => one("where containers run, with the CA beside it", self.container()),
            Platform::Kubernetes => return self.kubernetes(),
        };
        ca.written.into_iter().chain(commands).collect()
    }

    /// Where the CA is on the new host, and what puts it there.
    fn ca_file(&self, platform: Platform) -> CaFile {
        let authorities = self.tls.agent_certificate_authorities.as_ref();
        let named = authorities.and_then(|authorities| authorities.first());
        let pem = match named {
            Some(path) if !is_pem(path) => return CaFile::there(path),
            Some(pem) => Some(pem),
            None => self.authority.as_ref(),
        };
        let Some(pem) = pem else {
            return CaFile::there(CA);
        };
        CaFile::written(platform, pem)
    }

    fn flotilla(&self) -> Vec<Command> {
        let installed = Command {
            place: "where flotilla is installed already, as root",
            text: format!("flotilla agent install --join {}", self.join.encode()),
        };
        let bare = self.script.as_ref().map(|script| Command {
            place: "on a new host, as root; nothing needs to be installed",
            text: format!("{script} --join {}", self.join.encode()),
        });
        bare.into_iter().chain([installed]).collect()
    }

    /// Download, unpack, install.
    fn unpacked(&self, system: &str, ca: &str) -> String {
        let options = self.options(ca);
        let install = on_lines("sudo ./elastic-agent install", &options, "\\");
        format!("{}\n{install}", fetched(&self.downloads, &self.version, system))
    }

    fn windows(&self, ca: &str) -> String {
        let install = on_lines(".\\elastic-agent.exe install", &self.options(ca), "`");
        format!("{}\n{install}", fetched_on_windows(&self.downloads, &self.version))
    }

    fn packages(&self, ca: &str) -> Vec<Command> {
        let of = |place, file: String, install: &str| Command {
            place,
            text: format!(
                "{}\n{}",
                fetched_as_package(&self.downloads, &file, install),
                on_lines("sudo elastic-agent enroll", &self.options(ca), "\\")
            ),
        };
        let version = &self.version;
        vec![
            of(
                "on Debian and its kin",
                format!("elastic-agent-{version}-amd64.deb"),
                "dpkg -i",
            ),
            of(
                "on Red Hat and its kin",
                format!("elastic-agent-{version}-x86_64.rpm"),
                "rpm -vi",
            ),
        ]
    }

    fn container(&self) -> String {
        format!(
            "docker run -d -v $PWD/ca.crt:/ca.crt:ro \\\n  -e FLEET_ENROLL=1 \\\n  -e FLEET_URL={} \\\n  \
             -e FLEET_ENROLLMENT_TOKEN={} \\\n  -e FLEET_CA=/ca.crt \\\n  docker.elastic.co/elastic-agent/elastic-agent:{}",
            self.url(),
            self.join.enrollment_token.expose(),
            self.version
        )
    }

    /// The manifest has the CA that is known.
    fn kubernetes(&self) -> Vec<Command> {
        let mut commands = vec![Command {
            place: "where kubectl works, with the manifest from below",
            text: "kubectl apply -f elastic-agent.yml".to_owned(),
        }];
        if self.authority.is_none() {
            let text = format!("kubectl -n kube-system create configmap elastic-agent-ca --from-file=ca.crt={CA}");
            let place = "where kubectl works: the CA, once";
            commands.insert(0, Command { place, text });
        }
        commands
    }

    /// Where the manifest is.
    pub(super) fn manifest(&self) -> String {
        format!(
            "/app/fleet/agents/add/kubernetes?policy={}&token={}",
            url_part(&self.policy_id),
            url_part(&self.key_id)
        )
    }

    fn url(&self) -> &str {
        self.join.urls.first().map_or("https://localhost:8220", String::as_str)
    }

    /// The documented options, with those certificates that the host's TLS options name by a path.
    fn options(&self, ca: &str) -> Vec<String> {
        let path = |value: Option<&String>| value.filter(|value| !is_pem(value)).cloned();
        let tls = &self.tls;
        let mut options = vec![
            format!("--url={}", self.url()),
            format!("--enrollment-token={}", self.join.enrollment_token.expose()),
            format!("--certificate-authorities={ca}"),
        ];
        if let Some(certificate) = path(tls.agent_certificate.as_ref()) {
            // A stored key is a secret: its file has to be on the host.
            let key = path(tls.agent_key.as_ref()).unwrap_or_else(|| "<PATH_TO_AGENT_KEY>".to_owned());
            options.push(format!("--elastic-agent-cert={certificate}"));
            options.push(format!("--elastic-agent-cert-key={key}"));
        }
        options
    }
}

/// A file with the CA on the new host.
pub(super) struct CaFile {
    pub(super) path: String,
    /// What writes it; none when it has to be there.
    pub(super) written: Option<Command>,
}

impl CaFile {
    fn there(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            written: None,
        }
    }

    /// At a place that stays: the agent reads the file at each start.
    pub(super) fn written(platform: Platform, pem: &str) -> Self {
        let pem = pem.trim_end();
        let (path, text) = match platform {
            Platform::Windows => {
                let path = r"C:\ProgramData\fleet-ca.crt";
                (path, format!("@'\n{pem}\n'@ | Set-Content -Encoding ascii {path}"))
            }
            Platform::Container => ("/ca.crt", format!("cat > ca.crt <<'EOF'\n{pem}\nEOF")),
            _ => {
                let path = "/etc/fleet-ca.crt";
                (path, format!("sudo tee {path} > /dev/null <<'EOF'\n{pem}\nEOF"))
            }
        };
        Self {
            path: path.to_owned(),
            written: Some(Command {
                place: "first, once: the CA of your Fleet Server",
                text,
            }),
        }
    }
}

fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// Downloads and unpacks an archive for a system other than Windows.
pub(super) fn fetched(downloads: &str, version: &str, system: &str) -> String {
    let folder = format!("elastic-agent-{version}-{system}");
    format!("curl -L -O {downloads}/{folder}.tar.gz\ntar xzvf {folder}.tar.gz\ncd {folder}")
}

pub(super) fn fetched_on_windows(downloads: &str, version: &str) -> String {
    let folder = format!("elastic-agent-{version}-windows-x86_64");
    format!(
        "$ProgressPreference = 'SilentlyContinue'\nInvoke-WebRequest -Uri {downloads}/{folder}.zip -OutFile {folder}.zip\n\
         Expand-Archive .\\{folder}.zip -DestinationPath .\ncd {folder}"
    )
}

/// Downloads and installs a package, and starts its service.
pub(super) fn fetched_as_package(downloads: &str, file: &str, install: &str) -> String {
    format!("curl -L -O {downloads}/{file}\nsudo {install} {file}\nsudo systemctl enable --now elastic-agent")
}

/// A command with an option on each line.
pub(super) fn on_lines(start: &str, options: &[String], continuation: &str) -> String {
    let between = format!(" {continuation}\n  ");
    format!("{start}{between}{}", options.join(&between))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(pins: &[&str]) -> Commands {
        let tls = serde_json::json!({"agent_certificate_authorities": ["/etc/ca.crt"], "agent_certificate": "/etc/a.crt",
            "agent_key": "-----BEGIN PRIVATE KEY-----"});
        Commands {
            join: JoinString {
                urls: vec!["https://fleet.example:8220".to_owned()],
                enrollment_token: "dG9rZW4".into(),
                ca_fingerprint: None,
            },
            key_id: "k".to_owned(),
            policy_id: "p".to_owned(),
            script: (!pins.is_empty()).then(|| {
                let pins: Vec<String> = pins.iter().map(|pin| (*pin).to_owned()).collect();
                JoinString::install_script("https://fleet.example:8220", &pins)
            }),
            tls: serde_json::from_value(tls).unwrap(),
            authority: None,
            version: "9.6.0".to_owned(),
            downloads: "https://downloads.example/beats/elastic-agent".to_owned(),
        }
    }

    #[test]
    fn every_platform_has_its_whole_command() {
        let commands = commands(&[]);
        let all = Platform::ALL.map(|platform| {
            let texts = commands.of(platform).into_iter();
            let texts = texts.map(|command| format!("# {}\n{}", command.place, command.text));
            format!("[{}]\n{}", platform.name(), texts.collect::<Vec<_>>().join("\n"))
        });
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn a_ca_that_is_known_is_written_on_the_host() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let commands = Commands {
            tls: HostSsl::default(),
            authority: Some(pem.to_owned()),
            ..commands(&[])
        };
        let texts = |platform: Platform| {
            let all = commands.of(platform).into_iter().map(|command| command.text);
            all.collect::<Vec<_>>().join("\n")
        };
        for platform in Platform::ALL {
            assert!(!texts(platform).contains("<PATH_TO"), "{}", platform.name());
        }
        for (platform, expected) in [
            (Platform::Linux, "--certificate-authorities=/etc/fleet-ca.crt"),
            (
                Platform::Packages,
                "sudo tee /etc/fleet-ca.crt > /dev/null <<'EOF'\n-----BEGIN",
            ),
            (
                Platform::Windows,
                "--certificate-authorities=C:\\ProgramData\\fleet-ca.crt",
            ),
            (Platform::Container, "cat > ca.crt <<'EOF'\n-----BEGIN"),
        ] {
            assert!(texts(platform).contains(expected), "{}", texts(platform));
        }
    }

    #[test]
    fn a_server_that_hands_the_program_out_has_a_line_for_bare_hosts() {
        let first = |pins: &[&str]| commands(pins).of(Platform::Flotilla)[0].text.clone();
        assert!(
            first(&["a", "b"])
                .starts_with("curl -fsSk --pinnedpubkey 'sha256//a;sha256//b' https://fleet.example:8220/install")
        );
        assert!(first(&[]).starts_with("flotilla agent install --join flotilla1."));
        assert_eq!(Platform::named("windows"), Platform::Windows);
        assert_eq!(Platform::named("amiga"), Platform::Flotilla);
    }
}
