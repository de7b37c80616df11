//! A host that has nothing joins through a Fleet Server of its own process, by the line that `--show-join` prints.

use std::process::{Command, Stdio};

use testkit::{Flotilla, eventually, free_ports, run, skip};

use crate::files::Files;
use crate::host::{Daemon, said, succeeded};
use crate::{FLOTILLA, SOON};

#[test]
fn the_printed_line_joins_a_host_and_the_program_comes_in_parts() {
    if std::path::Path::new("/run/systemd/system").exists() {
        skip("a service would be installed on this host");
        return;
    }
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let [port] = free_ports();
    let url = format!("https://localhost:{port}");
    let read = |name: &str| fs_err::read_to_string(files.path(name)).unwrap();
    let leaf = read("fleet-server/fleet-server.crt");
    let file = |certificate: &str| {
        files.write(
            "bare.yml",
            &format!(
                "output.elasticsearch:
  hosts: ['{}']
  service_token: {}
  ssl.certificate_authorities: ['{}']
inputs:
  - type: fleet-server
    policy.id: {}
    server: {{host: 127.0.0.1, port: {port}, ssl: {{certificate: {certificate}, key: {}}}}}
",
                elasticsearch.text("/urls/elasticsearch"),
                elasticsearch.text("/service_token"),
                elasticsearch.text("/ca/path"),
                elasticsearch.text("/fleet_server_policy_id"),
                files.path("fleet-server/fleet-server.key"),
            ),
        )
    };
    let server = |config: &str| {
        let mut command = Command::new(FLOTILLA);
        command.args(["fleet-server", "-c", config, "--show-join", &url]);
        command
    };

    let alone = file(&files.path("fleet-server/fleet-server.crt"));
    let refused = server(&alone).stdin(Stdio::null()).output().unwrap();
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("append its CA's certificate"),
        "{}",
        said(&refused)
    );

    let chain = files.write("chain.crt", &format!("{leaf}{}", read("fleet-ca/ca.crt")));
    let printed = files.path("printed");
    let _server = Daemon::start_printing(&mut server(&file(&chain)), fs_err::File::create(&printed).unwrap());
    let line = eventually("the line", SOON, || {
        let text = fs_err::read_to_string(&printed).ok()?;
        text.lines()
            .map(str::trim)
            .find(|line| line.starts_with("curl "))
            .map(str::to_owned)
    });
    let (kept, home) = (files.path("bin"), files.path("agent"));
    let joined = Command::new("sh")
        .args(["-c", &format!("{line} --path.home={home}")])
        .env("FLOTILLA_BIN_DIR", &kept)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    succeeded(&joined);
    assert!(
        std::path::Path::new(&home).join("fleet.enc").exists(),
        "{}",
        said(&joined)
    );
    eventually("the host in the fleet", SOON, || {
        (elasticsearch.console().get("/api/fleet/agents")["total"] == 1).then_some(())
    });
    comes_in_parts(&files, &url);
}

/// A download that broke goes on where it ended, and the whole is what the sum says.
fn comes_in_parts(files: &Files, url: &str) {
    let name = format!("flotilla-linux-{}", std::env::consts::ARCH);
    let (ca, target) = (files.path("fleet-ca/ca.crt"), files.path(&name));
    let url = format!("{url}/install/{name}");
    let get = |more: &[&str]| run("curl", [&["-fsS", "--cacert", &ca, &url, "-o", &target], more].concat());
    succeeded(&get(&["-r", "0-99999"]));
    assert_eq!(fs_err::metadata(&target).unwrap().len(), 100_000);
    succeeded(&get(&["-C", "-"]));
    let sum = run("curl", ["-fsS", "--cacert", &ca, &format!("{url}.sha512")]);
    fs_err::write(files.path("sum"), &sum.stdout).unwrap();
    let checked = Command::new("sha512sum")
        .args(["-c", "sum"])
        .current_dir(files.path(""))
        .output()
        .unwrap();
    succeeded(&checked);
}
