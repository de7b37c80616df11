//! What the tests use beside the toolchain, and how to get it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program that some tests need.
struct Tool {
    program: &'static str,
    /// The package that brings it on Debian and its kin.
    package: &'static str,
    /// What cannot be tested without it.
    needed_for: &'static str,
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

/// A scanner that only Python's index has; it lives in an environment of its own.
const SSLYZE: Tool = Tool {
    program: "sslyze",
    package: "python3-venv",
    needed_for: "what a second scanner finds on each listener",
};
const SSLYZE_VERSION: &str = "sslyze==6.3.1";
const SSLYZE_FOLDER: &str = "/opt/flotilla-tests/sslyze";

/// Installs what is missing where that is possible; otherwise says which tests will be skipped.
pub(crate) fn run() -> Result<()> {
    install_packages()?;
    if is_installed(SSLYZE.program) || !can_install() {
        return Ok(());
    }
    // Without a way to Python's index its test says that it is skipped.
    if let Err(error) = install_sslyze() {
        eprintln!("{error:#}: no test of {}", SSLYZE.needed_for);
        if std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_some() {
            return Err(error);
        }
    }
    Ok(())
}

fn install_sslyze() -> Result<()> {
    eprintln!("installing {SSLYZE_VERSION}");
    let pip = format!("{SSLYZE_FOLDER}/bin/pip");
    let program = format!("{SSLYZE_FOLDER}/bin/sslyze");
    quietly("python3", &["-m", "venv", SSLYZE_FOLDER])?;
    quietly(&pip, &["install", "--quiet", SSLYZE_VERSION])?;
    quietly("ln", &["-sf", &program, "/usr/local/bin/sslyze"])
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
    let tools = TOOLS.iter().chain([&SSLYZE]);
    let missing: Vec<&Tool> = tools.filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if can_install() {
        eprintln!("installing {}", packages.join(", "));
        apt_get(&["update", "-qq"])?;
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(packages);
        return apt_get(&arguments);
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
