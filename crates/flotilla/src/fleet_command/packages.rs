//! Integration packages.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;
use http::Method;
use serde_json::{Value, json};

use super::arguments::PackagesCommand;
use super::kind::PACKAGES;
use super::objects;
use super::session::{Session, encoded};

/// No integration package comes near.
const LARGEST_PACKAGE: u64 = 256 * 1024 * 1024;

pub(super) async fn run(session: &Session, command: PackagesCommand) -> Result<()> {
    match command {
        PackagesCommand::List => objects::list(session, &PACKAGES).await,
        PackagesCommand::Show { package } => {
            let answer = session.call(Method::GET, &path_of(&package), None).await?;
            session.printer().item(&answer);
            Ok(())
        }
        PackagesCommand::Install { package } => install(session, &package).await,
        PackagesCommand::Delete { package } => {
            let answer = session.call(Method::DELETE, &path_of(&package), None).await?;
            session
                .printer()
                .done(&answer, &format!("package {package} is removed"));
            Ok(())
        }
    }
}

async fn install(session: &Session, package: &str) -> Result<()> {
    let is_file = Utf8Path::new(package)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    let answer = if is_file {
        let bytes = read_package(Utf8Path::new(package)).context("cannot read the package")?;
        session
            .send(Method::POST, PACKAGES.path, Some("application/zip"), bytes.into())
            .await?
    } else {
        session.call(Method::POST, &path_of(package), Some(&json!({}))).await?
    };
    let assets = answer.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    let name = answer.pointer("/_meta/name").and_then(Value::as_str).unwrap_or(package);
    session
        .printer()
        .done(&answer, &format!("package {name} is installed, with {assets} assets"));
    Ok(())
}

fn read_package(path: &Utf8Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?
        .take(LARGEST_PACKAGE + 1)
        .read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= LARGEST_PACKAGE,
        "`{path}` is larger than {LARGEST_PACKAGE} bytes, so it is no package"
    );
    Ok(bytes)
}

/// `name` or `name/version` behind the path of all.
fn path_of(package: &str) -> String {
    let parts: Vec<String> = package.splitn(2, '/').map(encoded).collect();
    format!("{}/{}", PACKAGES.path, parts.join("/"))
}
