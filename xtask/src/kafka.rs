//! Apache Kafka, against which the agent's output is tested: its jars, fetched once with the ordinary client of their
//! registry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const VERSION: &str = "4.1.1";

/// The environment variable with which the test finds them; nothing where they cannot be had.
pub(crate) fn variable() -> Option<(&'static str, OsString)> {
    match fetch() {
        Ok(folder) => Some(("FLOTILLA_KAFKA", folder.into())),
        Err(reason) => {
            eprintln!("SKIPPED: the kafka output is not tested with a real broker: {reason:#}");
            None
        }
    }
}

fn fetch() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka");
    let jars = folder.join(VERSION);
    if !jars.is_dir() {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("pom.xml"), project())?;
        // Under another name until all are there.
        let arriving = folder.join("arriving");
        let status = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", arriving.display()))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .status()
            .context("cannot start mvn")?;
        ensure!(status.success(), "mvn ended with {status}");
        std::fs::rename(arriving, &jars)?;
    }
    Ok(jars.canonicalize()?)
}

fn project() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>flotilla</groupId><artifactId>kafka</artifactId>\
         <version>1</version><dependencies>{}{}</dependencies></project>\n",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.slf4j", "slf4j-nop", "1.7.36"),
    )
}
