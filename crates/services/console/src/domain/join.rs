//! Ways to bring an agent to a host that are texts: a manifest for Kubernetes, and a script.

use certs::PemSource;
use protocol::JoinString;

use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::fleet_server_hosts;

/// Systems that a script is made for, with the suffix of the agent's archive.
const SYSTEMS: [(&str, &str); 3] = [
    ("linux", "linux-x86_64.tar.gz"),
    ("macos", "darwin-aarch64.tar.gz"),
    ("windows", "windows-x86_64.zip"),
];

/// Where the manifest mounts the CA, from the config map `elastic-agent-ca`.
const CA_IN_POD: &str = "/etc/elastic-agent-ca/ca.crt";

/// The line that fetches this program from our own Fleet Server, checked by its keys, and installs it; its options follow. None
/// when the program is not handed out.
///
/// # Errors
/// A certificate file cannot be read.
pub fn install_script(console: &Console) -> Result<Option<String>, FleetError> {
    let pins = install_pins(console)?;
    let url = console.settings.fleet_server_urls.first().filter(|_| !pins.is_empty());
    Ok(url.map(|url| JoinString::install_script(url, &pins)))
}

/// Pins of the keys that our own Fleet Server presents, each the SHA-256 of a public key in base64.
fn install_pins(console: &Console) -> Result<Vec<String>, FleetError> {
    let mut pins = Vec::new();
    for path in &console.settings.fleet_server_certificates {
        let chain = certs::load_certificates(&PemSource::Path(path.clone()), "the Fleet Server's certificate")
            .map_err(|error| FleetError::invalid(error.to_string()))?;
        pins.extend(chain.first().map(certs::spki_pin));
    }
    Ok(pins)
}

/// The root CA that agents verify our own Fleet Server with, as PEM; none when its servers do not send it along.
///
/// # Errors
/// A certificate file cannot be read.
pub fn authority(console: &Console) -> Result<Option<String>, FleetError> {
    let Some(fingerprint) = &console.settings.ca_fingerprint else {
        return Ok(None);
    };
    for path in &console.settings.fleet_server_certificates {
        let chain = certs::load_certificates(&PemSource::Path(path.clone()), "the Fleet Server's certificate")
            .map_err(|error| FleetError::invalid(error.to_string()))?;
        let root = chain
            .iter()
            .find(|one| certs::fingerprint(one).to_string() == *fingerprint);
        if let Some(root) = root {
            return Ok(Some(certs::write_pem_certificates(std::slice::from_ref(root))));
        }
    }
    Ok(None)
}

/// A manifest that runs an agent on every node of a Kubernetes cluster.
///
/// # Errors
/// The store cannot answer.
pub async fn kubernetes(
    console: &Console,
    fleet_server: Option<&str>,
    enrollment_token: Option<&str>,
) -> Result<String, FleetError> {
    let url = match fleet_server {
        Some(url) => url.to_owned(),
        None => default_url(console).await?,
    };
    let token = enrollment_token.unwrap_or("token-id-of-an-agent-policy");
    // A CA of our own is in no trust store: the manifest mounts it.
    let ca = console.settings.ca_fingerprint.as_ref().map_or("", |_| CA_IN_POD);
    let manifest = include_str!("kubernetes.yml")
        .replace("{ca}", &quoted(ca))
        .replace("{version}", &console.settings.version)
        .replace("{url}", &quoted(&url))
        .replace("{token}", &quoted(token));
    let authority = authority(console)?.map(|pem| config_map(&pem)).unwrap_or_default();
    Ok(manifest + &authority)
}

/// The config map that the manifest mounts.
fn config_map(pem: &str) -> String {
    let head = "---\n# What the agent verifies Fleet Server with.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  \
                name: elastic-agent-ca\n  namespace: kube-system\ndata:\n  ca.crt: |\n";
    pem.lines()
        .fold(head.to_owned(), |text, line| text + "    " + line + "\n")
}

/// A script that downloads, unpacks and installs an agent.
///
/// # Errors
/// A system that there is no agent for.
pub async fn script(
    console: &Console,
    system: &str,
    fleet_server: Option<&str>,
    enrollment_token: Option<&str>,
) -> Result<String, FleetError> {
    let Some((_, suffix)) = SYSTEMS.iter().find(|(name, _)| *name == system) else {
        let names = SYSTEMS.map(|(name, _)| name).join(", ");
        return Err(FleetError::invalid(format!(
            "[request params.osType]: `{system}` is none of {names}"
        )));
    };
    let url = match fleet_server {
        Some(url) => url.to_owned(),
        None => default_url(console).await?,
    };
    let token = enrollment_token.unwrap_or("<enrollment token>");
    let version = &console.settings.version;
    let base = console.settings.download_url.trim_end_matches('/');
    let folder = format!(
        "elastic-agent-{version}-{}",
        suffix.trim_end_matches(".tar.gz").trim_end_matches(".zip")
    );
    let archive = format!("{base}/beats/elastic-agent/elastic-agent-{version}-{suffix}");
    Ok(if system == "windows" {
        format!(
            "$ErrorActionPreference = 'Stop'\n$ProgressPreference = 'SilentlyContinue'\n\
             Invoke-WebRequest -Uri {archive} -OutFile elastic-agent.zip\nExpand-Archive .\\elastic-agent.zip -DestinationPath .\n\
             cd {folder}\n.\\elastic-agent.exe install --non-interactive --url={url} --enrollment-token={token}\n",
            archive = for_powershell(&archive),
            url = for_powershell(&url),
            token = for_powershell(token),
        )
    } else {
        format!(
            "#!/bin/sh\nset -e\ncurl -fL -O {archive}\ntar xzf elastic-agent-{version}-{suffix}\ncd {folder}\n\
             sudo ./elastic-agent install --non-interactive --url={url} --enrollment-token={token}\n",
            archive = for_shell(&archive),
            url = for_shell(&url),
            token = for_shell(token),
        )
    })
}

async fn default_url(console: &Console) -> Result<String, FleetError> {
    let hosts = fleet_server_hosts::list(console).await?;
    let url = hosts.first().and_then(|host| host.host_urls.first().cloned());
    Ok(url.unwrap_or_else(|| "https://fleet-server:8220".to_owned()))
}

/// A double-quoted YAML scalar: JSON is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn for_powershell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_callers_cannot_leave_their_quotes() {
        assert_eq!(for_shell("a'; rm -rf /; '"), r"'a'\''; rm -rf /; '\'''");
        assert_eq!(for_powershell("a'b"), "'a''b'");
        assert_eq!(quoted("a\"\nb"), r#""a\"\nb""#);
    }

    #[test]
    fn the_ca_is_a_file_of_the_config_map() {
        let text = config_map("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(
            text.ends_with("  ca.crt: |\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----\n")
        );
    }
}
