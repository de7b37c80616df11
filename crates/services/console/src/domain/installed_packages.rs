//! Packages: which there are, which are installed, and their installation.

use std::cmp::Reverse;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use packages::assets::Asset;
use packages::{Package, archive};
use policy::model::PackageReference;
use serde_json::{Value, json};
use store::{Operation, Refresh, Source, StoreError};

use crate::Console;
use crate::console::InstalledPackages;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{Fields, PACKAGE_POLICIES, PACKAGES, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::{catalog, package_pipelines, package_policies, package_streams};

/// Whether package policies follow when a newer version is installed; so it is with the packages of this program.
const KEEP_UP_TO_DATE: &str = "keepPoliciesUpToDate";
/// Uploaded zips, by `{name}-{version}`.
const ARCHIVES: &str = ".flotilla-package-archives";
/// Bytes of an upload.
pub const LARGEST_UPLOAD: usize = 50 << 20;

/// The packages that are installed.
///
/// # Errors
/// The store cannot answer, or an uploaded package cannot be read any more.
pub async fn installed(console: &Console) -> Result<Vec<Arc<Package>>, FleetError> {
    let checkpoint = console.store.checkpoint(PACKAGES.index).await?;
    if let Some(known) = console
        .installed
        .read()
        .await
        .as_ref()
        .filter(|known| known.checkpoint == checkpoint)
    {
        return Ok(known.packages.clone());
    }
    let mut packages = Vec::new();
    for record in console.all(&PACKAGES).await? {
        packages.extend(load(console, &record).await?);
    }
    *console.installed.write().await = Some(InstalledPackages {
        checkpoint,
        packages: packages.clone(),
    });
    Ok(packages)
}

async fn load(console: &Console, record: &Stored) -> Result<Option<Arc<Package>>, FleetError> {
    let (name, version) = (record.id.as_str(), text(&record.fields, "version").unwrap_or_default());
    if let Some(package) = builtin(name).filter(|package| package.version == version) {
        return Ok(Some(Arc::new(package.clone())));
    }
    match uploaded(console, name, version).await? {
        Some(package) => Ok(Some(package)),
        // A package of an older binary: the one of this binary takes its place.
        None => Ok(builtin(name).cloned().map(Arc::new)),
    }
}

async fn uploaded(console: &Console, name: &str, version: &str) -> Result<Option<Arc<Package>>, FleetError> {
    let document = match console.store.get(ARCHIVES, &format!("{name}-{version}")).await {
        Ok(document) => document,
        Err(StoreError::IndexNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(document) = document else { return Ok(None) };
    let fields: Fields = document
        .source
        .parse()
        .map_err(|error| unreadable(name, &error.to_string()))?;
    let zip = BASE64
        .decode(text(&fields, "zip").unwrap_or_default())
        .map_err(|error| unreadable(name, &error.to_string()))?;
    let package = read_zip(zip).await?;
    Ok(Some(Arc::new(package)))
}

fn unreadable(name: &str, reason: &str) -> FleetError {
    FleetError::Unreadable {
        index: ARCHIVES.to_owned(),
        id: name.to_owned(),
        reason: reason.to_owned(),
    }
}

async fn read_zip(zip: Vec<u8>) -> Result<Package, FleetError> {
    let read = tokio::task::spawn_blocking(move || archive::read(&zip, archive::Limits::default()));
    let package = read
        .await
        .map_err(|_| FleetError::invalid("the package cannot be read"))?;
    Ok(package?)
}

fn builtin(name: &str) -> Option<&'static Package> {
    packages::builtin().iter().find(|package| package.name == name)
}

/// All packages that can be used: our own and the uploaded ones, newest version of each, by title.
///
/// # Errors
/// The store cannot answer.
pub async fn available(console: &Console) -> Result<Vec<Arc<Package>>, FleetError> {
    let mut all: Vec<Arc<Package>> = installed(console).await?;
    for package in packages::builtin() {
        if !all.iter().any(|known| known.name == package.name) {
            all.push(Arc::new(package.clone()));
        }
    }
    all.sort_by_key(|package| package.title.to_lowercase());
    Ok(all)
}

/// The newest version of a package that is there.
///
/// # Errors
/// No such package.
pub async fn newest(console: &Console, name: &str) -> Result<Arc<Package>, FleetError> {
    let mut found: Vec<Arc<Package>> = available(console).await?;
    found.retain(|package| package.name == name);
    found.extend(builtin(name).cloned().map(Arc::new));
    found.sort_by_key(|package| Reverse(semver::Version::parse(&package.version).ok()));
    let first = found.into_iter().next();
    first.ok_or_else(|| FleetError::NotFound(format!("[{name}] package not found in registry")))
}

/// A package in a version; the newest when none is given.
///
/// # Errors
/// No such package or version.
pub async fn of_version(console: &Console, name: &str, version: Option<&str>) -> Result<Arc<Package>, FleetError> {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return newest(console, name).await;
    };
    if let Some(package) = available(console)
        .await?
        .into_iter()
        .find(|package| package.name == name && package.version == version)
    {
        return Ok(package);
    }
    if let Some(package) = builtin(name).filter(|package| package.version == version) {
        return Ok(Arc::new(package.clone()));
    }
    let uploaded = uploaded(console, name, version).await?;
    uploaded.ok_or_else(|| {
        FleetError::NotFound(format!(
            "[{name}] package not installed or found in registry: {name}-{version}"
        ))
    })
}

/// Whether there is a data stream whose name fits.
///
/// # Errors
/// The store cannot answer.
pub async fn is_written(console: &Console, pattern: &str) -> Result<bool, FleetError> {
    Ok(!console.store.names(&[pattern.to_owned()]).await?.is_empty())
}

/// The installation record of a package.
///
/// # Errors
/// The store cannot answer.
pub async fn installation(console: &Console, name: &str) -> Result<Option<Stored>, FleetError> {
    console.find(&PACKAGES, name).await
}

/// The package that a package policy names. A version that is not there becomes the newest that is: clients name the versions of
/// the original's registry.
///
/// # Errors
/// No such package.
pub async fn named(console: &Console, reference: &PackageReference) -> Result<Arc<Package>, FleetError> {
    match of_version(console, &reference.name, Some(&reference.version)).await {
        Err(FleetError::NotFound(_)) => newest(console, &reference.name).await,
        found => found,
    }
}

/// The package of a package policy, installed if it is not.
///
/// # Errors
/// No such package.
pub async fn ensure(
    console: &Console,
    actor: &Actor,
    reference: &PackageReference,
) -> Result<Arc<Package>, FleetError> {
    let package = named(console, reference).await?;
    install(console, actor, &package, How::from("bundled")).await?;
    Ok(package)
}

/// How a package is installed.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Where it comes from: `bundled`, `upload`.
    pub source: &'static str,
    /// Even when it is installed already.
    pub again: bool,
    /// Data streams that need a new index keep the one that they have.
    pub skip_rollover: bool,
    /// A data stream that does not take the new mappings does not matter.
    pub ignore_misfits: bool,
}

impl From<&'static str> for How {
    fn from(source: &'static str) -> Self {
        Self {
            source,
            again: false,
            skip_rollover: false,
            ignore_misfits: false,
        }
    }
}

/// Installs a package: its templates and pipelines go to the store, its data streams follow, then it counts as installed.
/// Nothing to do when it is.
///
/// # Errors
/// An asset that is not valid: nothing is installed then.
pub async fn install(console: &Console, actor: &Actor, package: &Package, how: How) -> Result<Vec<Value>, FleetError> {
    let (list, is_newer) = install_alone(console, actor, package, how).await?;
    if is_newer {
        // Boxed: an upgrade makes sure that the package is installed.
        Box::pin(keep_up_to_date(console, actor, &package.name)).await?;
    }
    Ok(list)
}

/// Moves the package's policies to the version that is installed now. One that does not fit stays as it is.
async fn keep_up_to_date(console: &Console, actor: &Actor, name: &str) -> Result<(), FleetError> {
    let integrations = package_policies::all(console).await?;
    let uses = |used: &PackageReference| used.name == name;
    for integration in integrations.iter().filter(|one| one.package.as_ref().is_some_and(uses)) {
        if let Err(error) = package_policies::upgrade(console, actor, &integration.id).await {
            tracing::warn!(package_policy.id = %integration.id, %error, "a package policy stays with its version");
        }
    }
    Ok(())
}

/// The assets, and whether the package's policies are to follow.
async fn install_alone(
    console: &Console,
    actor: &Actor,
    package: &Package,
    how: How,
) -> Result<(Vec<Value>, bool), FleetError> {
    let (assets, left_out) = fitted(package)?;
    let list = described(&assets);
    let present = installation(console, &package.name).await?;
    let is_there = present
        .as_ref()
        .is_some_and(|present| text(&present.fields, "version") == Some(&package.version));
    if is_there && !how.again {
        return Ok((list, false));
    }
    let former = match &present {
        Some(record) => load(console, record).await?,
        None => None,
    };
    if let Err(error) = put_and_follow(console, &assets, former.as_deref(), how).await {
        take_back(console, &assets, present.as_ref()).await?;
        return Err(error);
    }
    if let Some(former) = &former {
        remove_former(console, former, &assets).await?;
    }
    let _one_at_a_time = console.changes.lock().await;
    // What is set for the package stays.
    let mut fields = present.as_ref().map(|record| record.fields.clone()).unwrap_or_default();
    fields.remove("left_out");
    fields.insert("name".into(), package.name.clone().into());
    fields.insert("version".into(), package.version.clone().into());
    fields.insert("install_source".into(), how.source.into());
    fields.insert("installed_at".into(), clock::rfc3339_millis(console.clock.now()).into());
    fields
        .entry(KEEP_UP_TO_DATE)
        .or_insert_with(|| (how.source == "bundled").into());
    if !left_out.is_empty() {
        tracing::warn!(package = %package.name, ?left_out, "processors that are not there were left out");
        fields.insert("left_out".into(), json!(left_out));
    }
    let follows = former.is_some() && flag(&fields, KEEP_UP_TO_DATE);
    let mut changes = Changes::default();
    match &present {
        Some(present) => changes.replace(&PACKAGES, present, fields),
        None => changes.create(&PACKAGES, &package.name, fields),
    }
    match changes::apply(console, actor, changes).await {
        // Another request installed it meanwhile.
        Ok(()) | Err(FleetError::Conflict(_)) => Ok((list, follows)),
        Err(error) => Err(error),
    }
}

/// The assets as they can be used here, and what was left out of them.
fn fitted(package: &Package) -> Result<(Vec<Asset>, Vec<String>), FleetError> {
    let mut assets = package.assets()?;
    let left_out = package_pipelines::fit(&mut assets)?;
    Ok((assets, left_out))
}

async fn put_and_follow(
    console: &Console,
    assets: &[Asset],
    former: Option<&Package>,
    how: How,
) -> Result<(), FleetError> {
    let put = put(console, assets).await?;
    let before = match former {
        Some(former) => former.assets()?,
        None => Vec::new(),
    };
    package_streams::follow(console, &put, &before, how).await
}

/// Puts them into the store, and says what the index templates are there.
async fn put(console: &Console, assets: &[Asset]) -> Result<Vec<Asset>, FleetError> {
    let (mut run_by_the_store, mut templates) = (Vec::new(), Vec::new());
    for asset in assets.iter().filter(|asset| asset.kind == PIPELINE) {
        if console.store.put_pipeline(&asset.name, asset.body.clone()).await? {
            run_by_the_store.push(asset.name.as_str());
        }
    }
    for asset in assets.iter().filter(|asset| asset.kind == TEMPLATE) {
        let mut body = asset.body.clone();
        // A cluster refuses every document of an index whose pipeline it does not know; our API knows it from the catalogue.
        if let Some(Value::Object(index)) = body.pointer_mut("/template/settings/index") {
            let is_run = |name: &Value| name.as_str().is_some_and(|name| run_by_the_store.contains(&name));
            index.retain(|key, name| key != "default_pipeline" || is_run(name));
        }
        console.store.put_index_template(&asset.name, body.clone()).await?;
        templates.push(Asset { body, ..asset.clone() });
    }
    catalog::put(console, assets).await?;
    Ok(templates)
}

/// Kinds of assets.
const PIPELINE: &str = "ingest_pipeline";
const TEMPLATE: &str = "index_template";

async fn remove(console: &Console, assets: &[Asset]) -> Result<(), FleetError> {
    // Templates first: a cluster keeps a pipeline that one of them names.
    for asset in assets.iter().filter(|asset| asset.kind == TEMPLATE) {
        console.store.delete_index_template(&asset.name).await?;
    }
    for asset in assets.iter().filter(|asset| asset.kind == PIPELINE) {
        console.store.delete_pipeline(&asset.name).await?;
    }
    catalog::remove(console, assets).await
}

/// What the version before brought and this one does not, such as pipelines: their names have the version.
async fn remove_former(console: &Console, former: &Package, assets: &[Asset]) -> Result<(), FleetError> {
    let mut gone = former.assets()?;
    gone.retain(|asset| {
        !assets
            .iter()
            .any(|kept| kept.kind == asset.kind && kept.name == asset.name)
    });
    remove(console, &gone).await
}

/// After an asset that the store refused: nothing of the package stays, and the version before is whole again.
async fn take_back(console: &Console, assets: &[Asset], before: Option<&Stored>) -> Result<(), FleetError> {
    remove(console, assets).await?;
    match before {
        Some(record) => match load(console, record).await? {
            Some(package) => put(console, &fitted(&package)?.0).await.map(drop),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Reads an uploaded zip, keeps it and installs it.
///
/// # Errors
/// Not a valid package, or too big: nothing is kept.
pub async fn upload(
    console: &Console,
    actor: &Actor,
    zip: Vec<u8>,
    how: How,
) -> Result<(Package, Vec<Value>), FleetError> {
    if zip.len() > LARGEST_UPLOAD {
        return Err(FleetError::invalid(format!(
            "the upload exceeds the limit of {LARGEST_UPLOAD} bytes"
        )));
    }
    let encoded = BASE64.encode(&zip);
    let package = read_zip(zip).await?;
    fitted(&package)?;
    match console
        .store
        .create_index(ARCHIVES, json!({"mappings": {"dynamic": false, "properties": {}}}))
        .await
    {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let id = format!("{}-{}", package.name, package.version);
    let operation = Operation::index(ARCHIVES, id, Source::of(&json!({"zip": encoded})));
    for outcome in console.store.bulk(vec![operation], Refresh::WaitFor).await? {
        outcome.written()?;
    }
    match install(console, actor, &package, how).await {
        Ok(assets) => Ok((package, assets)),
        Err(error) => {
            forget_archive(console, &package.name, &package.version).await?;
            Err(error)
        }
    }
}

async fn forget_archive(console: &Console, name: &str, version: &str) -> Result<(), FleetError> {
    let forget = vec![Operation::delete(ARCHIVES, format!("{name}-{version}"))];
    console.store.bulk(forget, Refresh::WaitFor).await?;
    Ok(())
}

/// Changes settings of an installed package.
///
/// # Errors
/// Not installed.
pub async fn update_settings(console: &Console, actor: &Actor, name: &str, given: Fields) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = installation(console, name).await?;
    let present = present.ok_or_else(|| FleetError::NotFound(format!("package {name} is not installed")))?;
    let mut fields = present.fields.clone();
    fields.extend(given);
    let mut changes = Changes::default();
    changes.replace(&PACKAGES, &present, fields);
    changes::apply(console, actor, changes).await
}

/// Removes a package.
///
/// # Errors
/// Not installed, or in use.
pub async fn uninstall(
    console: &Console,
    actor: &Actor,
    name: &str,
    version: Option<&str>,
) -> Result<Vec<Value>, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = installed_in(console, name, version).await?;
    let uses = |integration: &Arc<Stored>| {
        integration
            .fields
            .get("package")
            .and_then(|package| package.get("name"))
            .is_some_and(|used| used == name)
    };
    if console.all(&PACKAGE_POLICIES).await?.iter().any(uses) {
        return Err(FleetError::invalid(
            "unable to remove package with existing package policy(s) in use by agent(s)",
        ));
    }
    let assets = match load(console, &present).await? {
        Some(package) => package.assets()?,
        None => Vec::new(),
    };
    remove(console, &assets).await?;
    let mut changes = Changes::default();
    changes.delete(&PACKAGES, &present);
    changes::apply(console, actor, changes).await?;
    if text(&present.fields, "install_source") == Some("upload") {
        forget_archive(console, name, text(&present.fields, "version").unwrap_or_default()).await?;
    }
    Ok(described(&assets))
}

/// As [`uninstall`], and the integrations that use the package go first.
///
/// # Errors
/// Not installed.
pub async fn uninstall_with_integrations(
    console: &Console,
    actor: &Actor,
    name: &str,
    version: Option<&str>,
) -> Result<Vec<Value>, FleetError> {
    installed_in(console, name, version).await?;
    let integrations = package_policies::all(console).await?;
    let uses = |used: &PackageReference| used.name == name;
    for integration in integrations.iter().filter(|one| one.package.as_ref().is_some_and(uses)) {
        package_policies::delete(console, actor, &integration.id, true).await?;
    }
    uninstall(console, actor, name, version).await
}

async fn installed_in(console: &Console, name: &str, version: Option<&str>) -> Result<Stored, FleetError> {
    let is_wanted = |present: &Stored| version.is_none_or(|version| text(&present.fields, "version") == Some(version));
    let present = installation(console, name).await?.filter(is_wanted);
    present.ok_or_else(|| FleetError::invalid(format!("{name} is not installed")))
}

fn described(assets: &[Asset]) -> Vec<Value> {
    let each = assets.iter();
    each.map(|asset| json!({"id": asset.name, "type": asset.kind}))
        .collect()
}
