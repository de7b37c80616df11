//! What the tests use beside the toolchain, and how to get it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program that a task needs.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// The packages that bring it on Debian and its kin, separated by spaces.
    pub(crate) package: &'static str,
    /// What cannot be tested or made without it.
    pub(crate) needed_for: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "openssl",
        package: "openssl",
        needed_for: "certificates read and written by another program",
    },
    Tool {
        program: "ip",
        package: "iproute2",
        needed_for: "several hosts on one machine",
    },
    Tool {
        program: "pkill",
        package: "procps",
        needed_for: "kills in the midst of an upgrade",
    },
    Tool {
        program: "curl",
        package: "curl",
        needed_for: "requests of a stock client",
    },
    Tool {
        program: "chromium",
        package: "chromium",
        needed_for: "the pages in a real browser",
    },
    Tool {
        program: "javac",
        package: "default-jdk-headless",
        needed_for: "PKCS#12 files and TLS of Java",
    },
    Tool {
        program: "go",
        package: "golang-go",
        needed_for: "TLS of Go",
    },
    Tool {
        program: "node",
        package: "nodejs",
        needed_for: "TLS of Node.js",
    },
    Tool {
        program: "python3",
        package: "python3",
        needed_for: "TLS of Python",
    },
    Tool {
        program: "npm",
        package: "npm",
        needed_for: "the official JavaScript clients on port 9200",
    },
    Tool {
        program: "rsyslogd",
        package: "rsyslog-elasticsearch",
        needed_for: "rsyslog shipping to port 9200",
    },
    Tool {
        program: "sslscan",
        package: "sslscan",
        needed_for: "what a scanner finds on each listener",
    },
    // Two packages bring a squid; only this one also has the program that forges certificates.
    Tool {
        program: "/usr/lib/squid/security_file_certgen",
        package: "squid-openssl",
        needed_for: "a real CONNECT proxy, also one that intercepts TLS",
    },
    Tool {
        program: "haproxy",
        package: "haproxy",
        needed_for: "a real proxy that ends TLS before the Fleet Server",
    },
    Tool {
        program: "mvn",
        package: "maven",
        needed_for: "real Elasticsearch and OpenSearch nodes, a real Kafka",
    },
    Tool {
        program: "unzip",
        package: "unzip",
        needed_for: "real Elasticsearch and OpenSearch nodes",
    },
    Tool {
        program: "tinyproxy",
        package: "tinyproxy-bin",
        needed_for: "a real CONNECT proxy",
    },
];

/// What Debian has no package for, or none that can be installed beside the others: each lives in a folder of its own.
struct Extra {
    name: &'static str,
    /// What there is when it is installed.
    marker: &'static str,
    needed_for: &'static str,
    install: fn() -> Result<()>,
}

const EXTRAS: &[Extra] = &[
    Extra {
        name: SSLYZE_VERSION,
        marker: "/usr/local/bin/sslyze",
        needed_for: "what a second scanner finds on each listener",
        install: install_sslyze,
    },
    Extra {
        name: SCHEMATHESIS_VERSION,
        marker: "/opt/flotilla-tests/schemathesis/bin/schemathesis",
        needed_for: "the Fleet API against its own description",
        install: install_schemathesis,
    },
    Extra {
        name: "elasticsearch-py, opensearch-py",
        marker: "/opt/flotilla-tests/api-clients/python/bin/python",
        needed_for: "the official Python clients on port 9200",
        install: install_python_clients,
    },
    Extra {
        name: "@elastic/elasticsearch, @opensearch-project/opensearch",
        marker: "/opt/flotilla-tests/api-clients/javascript/node_modules/@opensearch-project/opensearch/package.json",
        needed_for: "the official JavaScript clients on port 9200",
        install: install_javascript_clients,
    },
    Extra {
        name: "syslog-ng",
        marker: "/opt/flotilla-tests/syslog-ng/run",
        needed_for: "syslog-ng shipping to port 9200",
        install: unpack_syslog_ng,
    },
];

const SCHEMATHESIS_VERSION: &str = "schemathesis==4.32.5";
const SSLYZE_VERSION: &str = "sslyze==6.3.1";
const EXTRAS_FOLDER: &str = "/opt/flotilla-tests";
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/flotilla/tests/clients");
/// It and rsyslog exclude each other, so that it is unpacked instead of installed.
const SYSLOG_NG: &[&str] = &[
    "syslog-ng-core",
    "syslog-ng-mod-http",
    "libivykis0",
    "libnet1",
    "libpcre3",
    "libwrap0",
];
const SYSLOG_NG_RUN: &str = r#"#!/bin/sh
here=$(dirname "$0")
for folder in "$here"/root/lib/*-linux-gnu "$here"/root/usr/lib/*-linux-gnu "$here"/root/usr/lib/syslog-ng; do
  LD_LIBRARY_PATH="$folder:${LD_LIBRARY_PATH:-}"
done
export LD_LIBRARY_PATH
exec "$here"/root/usr/sbin/syslog-ng --module-path "$(echo "$here"/root/usr/lib/syslog-ng/*.*/)" "$@"
"#;

/// Installs what is missing where that is possible; otherwise says which tests will be skipped.
pub(crate) fn run() -> Result<()> {
    install_packages()?;
    if !can_install() {
        return Ok(());
    }
    for extra in EXTRAS.iter().filter(|extra| !Path::new(extra.marker).exists()) {
        eprintln!("installing {}", extra.name);
        // Without a way to its index the tests say that they are skipped.
        if let Err(error) = (extra.install)() {
            eprintln!("{error:#}: no test of {}", extra.needed_for);
            if std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_some() {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn install_sslyze() -> Result<()> {
    let folder = format!("{EXTRAS_FOLDER}/sslyze");
    in_virtual_environment(&folder, &[SSLYZE_VERSION])?;
    quietly("ln", &["-sf", &format!("{folder}/bin/sslyze"), "/usr/local/bin/sslyze"])
}

fn install_schemathesis() -> Result<()> {
    in_virtual_environment(&format!("{EXTRAS_FOLDER}/schemathesis"), &[SCHEMATHESIS_VERSION])
}

fn install_python_clients() -> Result<()> {
    let folder = format!("{EXTRAS_FOLDER}/api-clients/python");
    in_virtual_environment(&folder, &["-r", &format!("{CLIENTS}/api_python/requirements.txt")])
}

fn in_virtual_environment(folder: &str, wanted: &[&str]) -> Result<()> {
    if quietly("python3", &["-m", "venv", folder]).is_err() {
        apt_get(&["install", "-y", "-qq", "python3-venv"])?;
        quietly("python3", &["-m", "venv", folder])?;
    }
    let installed = quietly(
        &format!("{folder}/bin/pip"),
        &[&["install", "--quiet"], wanted].concat(),
    );
    if installed.is_err() {
        // What is there in part must not be taken for installed.
        std::fs::remove_dir_all(folder)?;
    }
    installed
}

fn install_javascript_clients() -> Result<()> {
    let folder = format!("{EXTRAS_FOLDER}/api-clients/javascript");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(
        format!("{CLIENTS}/api_javascript/package.json"),
        format!("{folder}/package.json"),
    )?;
    quietly("npm", &["install", "--silent", "--no-audit", "--prefix", &folder])
}

fn unpack_syslog_ng() -> Result<()> {
    let folder = format!("{EXTRAS_FOLDER}/syslog-ng");
    std::fs::create_dir_all(format!("{folder}/root"))?;
    let download = [
        &["-c", "cd \"$0\" && apt-get download -qq \"$@\" 2>/dev/null", &folder],
        SYSLOG_NG,
    ]
    .concat();
    quietly("sh", &download)?;
    quietly(
        "sh",
        &[
            "-c",
            "for one in \"$0\"/*.deb; do dpkg -x \"$one\" \"$0\"/root || exit 1; done",
            &folder,
        ],
    )?;
    let run = format!("{folder}/run");
    std::fs::write(&run, SYSLOG_NG_RUN)?;
    quietly("chmod", &["+x", &run])
}

fn quietly(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}

fn install_packages() -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if can_install() {
        return install(&missing);
    }
    for tool in &missing {
        eprintln!(
            "`{}` is not installed (package {}): no test of {}",
            tool.program, tool.package, tool.needed_for
        );
    }
    if std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_some() {
        bail!("FLOTILLA_NOTHING_SKIPPED is set and the tools above are missing");
    }
    Ok(())
}

/// Installs those that are missing.
///
/// # Errors
///
/// Where that is not possible, names what to install.
pub(crate) fn provide<'a>(tools: impl Iterator<Item = &'a Tool>) -> Result<()> {
    let missing: Vec<&Tool> = tools.filter(|tool| !is_installed(tool.program)).collect();
    match missing.first() {
        None => Ok(()),
        Some(_) if can_install() => install(&missing),
        Some(tool) => bail!(
            "`{}` is not installed (package {}): it is needed for {}",
            tool.program,
            tool.package,
            tool.needed_for
        ),
    }
}

fn install(tools: &[&Tool]) -> Result<()> {
    let packages: Vec<&str> = tools.iter().flat_map(|tool| tool.package.split(' ')).collect();
    eprintln!("installing {}", packages.join(", "));
    apt_get(&["update", "-qq"])?;
    let arguments = ["install", "-y", "-qq", "--no-install-recommends"];
    apt_get(&[&arguments, packages.as_slice()].concat())
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

fn can_install() -> bool {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n");
    is_root && is_installed("apt-get")
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}
