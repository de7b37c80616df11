//! Packages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use packages::categories::category;
use packages::{Package, PolicyTemplate};
use policy::model::PackagePolicy;
use policy::package_policy;
use serde_json::{Value, json};

use super::call::{Call, Reply, item};
use super::error::ApiError;
use super::schema::{Field, Kind, field, flag, text};
use crate::Console;
use crate::domain::documents::{Stored, text as text_of};
use crate::domain::installed_packages::{self as domain, How};
use crate::domain::{agent_policies, package_policies};

pub(super) const CATEGORIES_QUERY: &[Field] = &[
    flag("prerelease"),
    flag("include_policy_templates"),
    flag("experimental"),
];
pub(super) const LIST_QUERY: &[Field] = &[
    text("category"),
    flag("prerelease"),
    flag("experimental"),
    flag("excludeInstallStatus").default("false"),
    flag("withPackagePoliciesCount").default("false"),
];
pub(super) const INSTALLED_QUERY: &[Field] = &[
    text("nameQuery"),
    field(
        "dataStreamType",
        Kind::Choice(&["logs", "metrics", "traces", "synthetics", "profiles"]),
    ),
    flag("showOnlyActiveDataStreams"),
    text("searchAfter"),
    field("perPage", Kind::Integer { min: 1, max: 10_000 }).default("15"),
    field("sortOrder", Kind::Choice(&["asc", "desc"])).default("\"asc\""),
];
pub(super) const READ_QUERY: &[Field] = &[
    flag("prerelease"),
    flag("full"),
    flag("ignoreUnverified"),
    flag("withMetadata").default("false"),
    flag("experimental"),
];
pub(super) const INSTALL_QUERY: &[Field] = &[
    flag("prerelease"),
    flag("ignoreMappingUpdateErrors").default("false"),
    flag("skipDataStreamRollover").default("false"),
    flag("skipDependencyCheck").default("false"),
];
pub(super) const INSTALL: &[Field] = &[
    flag("force").default("false"),
    flag("ignore_constraints").default("false"),
];
pub(super) const FORCE_QUERY: &[Field] = &[flag("force")];
pub(super) const UPDATE: &[Field] = &[flag("keepPoliciesUpToDate"), flag("namespace_customization_enabled")];
const NAMED: Kind = Kind::Object(&[text("name").required(), text("version").required(), flag("prerelease")]);
pub(super) const BULK: &[Field] = &[
    field(
        "packages",
        Kind::List {
            of: &Kind::Either(&[Kind::Text, NAMED]),
            min: 1,
            max: 1000,
        },
    )
    .required(),
    flag("force").default("false"),
];
pub(super) const TEMPLATES_QUERY: &[Field] = &[
    field("format", Kind::Choice(&["json", "yml", "yaml"])).default("\"json\""),
    flag("prerelease"),
    flag("ignoreUnverified"),
];

pub(super) async fn categories(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for package in domain::available(&console).await? {
        for id in counted(&package, call.flag("include_policy_templates")) {
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    let items: Vec<Value> = counts.iter().map(|(id, count)| category_of(id, *count)).collect();
    Ok(Reply::Json(json!({"items": items})))
}

/// The categories that a package counts in: its own and those above them, once each. Policy templates count as well, if the
/// caller wants them to: each in the package's categories and in its own.
fn counted(package: &Package, with_templates: bool) -> Vec<&str> {
    let mut counted: Vec<&str> = of_package(&package.categories).into_iter().collect();
    let templates = &package.policy_templates;
    let is_one_of_many = |template: &&PolicyTemplate| templates.len() > 1 || !template.categories.is_empty();
    for template in templates.iter().filter(|_| with_templates).filter(is_one_of_many) {
        counted.extend(of_package(package.categories.iter().chain(&template.categories)));
    }
    counted
}

fn of_package<'a>(ids: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    for id in ids {
        all.insert(id.as_str());
        all.extend(category(id).and_then(|(_, above)| above).map(|above| above.id));
    }
    all
}

fn category_of(id: &str, count: usize) -> Value {
    let Some((known, above)) = category(id) else {
        let words: Vec<String> = id.split('_').map(capitalised).collect();
        return json!({"id": id, "title": words.join(" "), "count": count});
    };
    let mut answer = json!({"id": id, "title": known.title, "count": count});
    if let Some(above) = above {
        answer["parent_id"] = above.id.into();
        answer["parent_title"] = above.title.into();
    }
    answer
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + characters.as_str())
        .unwrap_or_default()
}

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    let integrations = package_policies::all(&console).await?;
    for package in domain::available(&console).await? {
        let in_category = call
            .text("category")
            .is_none_or(|category| package.is_in_category(category));
        if !in_category {
            continue;
        }
        let installation = domain::installation(&console, &package.name).await?;
        let mut summary = summary(&package);
        if !call.flag("excludeInstallStatus") {
            put_status(&mut summary, installation.as_ref());
        }
        if call.flag("withPackagePoliciesCount") && installation.is_some() {
            let uses = |policy: &&Arc<PackagePolicy>| is_of(policy, &package.name);
            summary["packagePoliciesInfo"] = json!({"count": integrations.iter().filter(uses).count()});
        }
        items.push(summary);
    }
    Ok(Reply::Json(json!({"items": items})))
}

/// A page of the installed packages by name, with the data streams that they write to.
pub(super) async fn installed(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut packages = domain::installed(&console).await?;
    packages.retain(|package| call.text("nameQuery").is_none_or(|name| package.name.contains(name)));
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    let descending = call.text("sortOrder") == Some("desc");
    if descending {
        packages.reverse();
    }
    let total = packages.len();
    if let Some(last) = call.text("searchAfter").map(last_name).transpose()? {
        packages.retain(|package| {
            if descending {
                package.name < last
            } else {
                package.name > last
            }
        });
    }
    packages.truncate(call.page().per_page);
    let mut items = Vec::new();
    for package in &packages {
        let kind = call.text("dataStreamType");
        let mut streams = Vec::new();
        for stream in package
            .data_streams
            .iter()
            .filter(|stream| kind.is_none_or(|kind| kind == stream.kind))
        {
            let name = format!("{}-{}-*", stream.kind, stream.dataset);
            if !call.flag("showOnlyActiveDataStreams") || domain::is_written(&console, &name).await? {
                streams.push(json!({"name": name, "title": stream.title}));
            }
        }
        items.push(
            json!({"name": package.name, "title": package.title, "version": package.version, "status": "installed",
                          "description": package.description, "icons": [], "dataStreams": streams}),
        );
    }
    let mut body = json!({"total": total, "items": items});
    if let Some(last) = packages.last() {
        body["searchAfter"] = json!([last.name]);
    }
    Ok(Reply::Json(body))
}

/// The name that a page begins after: the list that the page before gave, as JSON.
fn last_name(text: &str) -> Result<String, ApiError> {
    let values: Option<Vec<String>> = serde_json::from_str(text).ok();
    values.and_then(|values| values.into_iter().next()).ok_or_else(|| {
        ApiError::BadRequest("[request query.searchAfter]: must be a JSON list with the last package's name".to_owned())
    })
}

/// Whether an integration is made from that package.
fn is_of(policy: &PackagePolicy, package: &str) -> bool {
    policy.package.as_ref().is_some_and(|used| used.name == package)
}

fn summary(package: &Package) -> Value {
    let templates: Vec<Value> = package
        .policy_templates
        .iter()
        .map(|template| {
            let mut short =
                json!({"name": template.name, "title": template.title, "description": template.description});
            if !template.categories.is_empty() {
                short["categories"] = json!(template.categories);
            }
            short
        })
        .collect();
    let streams: Vec<Value> = package
        .data_streams
        .iter()
        .map(|stream| json!({"type": stream.kind, "dataset": stream.dataset, "title": stream.title}))
        .collect();
    json!({
        "id": package.name, "name": package.name, "title": package.title, "version": package.version, "release": package.release(),
        "description": package.description, "type": package.kind, "categories": package.categories, "conditions": package.conditions,
        "owner": package.owner, "icons": [], "policy_templates": templates, "data_streams": streams,
        "download": format!("/epr/{0}/{0}-{1}.zip", package.name, package.version),
        "path": format!("/package/{}/{}", package.name, package.version), "integration": "",
    })
}

fn put_status(answer: &mut Value, installation: Option<&Stored>) {
    let Some(installation) = installation else {
        answer["status"] = "not_installed".into();
        return;
    };
    answer["status"] = "installed".into();
    let field = |key: &str| text_of(&installation.fields, key).unwrap_or_default();
    answer["installationInfo"] = json!({
        "type": "epm-packages", "name": installation.id, "version": field("version"), "install_status": "installed",
        "install_source": field("install_source"), "installed_kibana": [], "installed_es": [], "verification_status": "unknown",
        "created_at": field("installed_at"),
    });
    // Ours: processors of its pipelines that are not there.
    if let Some(left_out) = installation.fields.get("left_out") {
        answer["installationInfo"]["left_out"] = left_out.clone();
    }
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let version = call.path.get("pkgVersion").map(String::as_str);
    let package = domain::of_version(&console, call.id("pkgName"), version).await?;
    let newest = domain::newest(&console, &package.name).await?;
    let installation = domain::installation(&console, &package.name).await?;
    let mut answer = summary(&package);
    put_status(&mut answer, installation.as_ref());
    answer["policy_templates"] = json!(package.policy_templates);
    answer["data_streams"] = json!(package.data_streams);
    answer["vars"] = json!(package.vars);
    answer["latestVersion"] = newest.version.as_str().into();
    answer["format_version"] = package.format_version.as_str().into();
    answer["assets"] = json!({});
    answer["screenshots"] = json!([]);
    answer["readme"] = format!("/package/{}/{}/docs/README.md", package.name, package.version).into();
    answer["licensePath"] = Value::Null;
    let keeps = installation
        .as_ref()
        .and_then(|installation| installation.fields.get("keepPoliciesUpToDate").cloned());
    answer["keepPoliciesUpToDate"] = keeps.unwrap_or(false.into());
    let mut body = json!({"item": answer});
    if call.flag("withMetadata") {
        let integrations = package_policies::all(&console).await?;
        let has_policies = integrations.iter().any(|policy| is_of(policy, &package.name));
        body["metadata"] = json!({"has_policies": has_policies});
    }
    Ok(Reply::Json(body))
}

pub(super) async fn install(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let version = call.path.get("pkgVersion").map(String::as_str);
    let package = domain::of_version(&console, call.id("pkgName"), version).await?;
    let how = how(&call, "bundled");
    let items = domain::install(&console, &call.actor(), &package, how).await?;
    let source = source_of(&console, &package.name).await?;
    Ok(Reply::Json(
        json!({"items": items, "_meta": {"install_source": source, "name": package.name}}),
    ))
}

fn how(call: &Call, source: &'static str) -> How {
    How {
        again: call.body_flag("force"),
        skip_rollover: call.flag("skipDataStreamRollover"),
        ignore_misfits: call.flag("ignoreMappingUpdateErrors"),
        ..How::from(source)
    }
}

/// Where an installed package came from.
async fn source_of(console: &Console, name: &str) -> Result<String, ApiError> {
    let installation = domain::installation(console, name).await?;
    let source = installation.and_then(|record| text_of(&record.fields, "install_source").map(str::to_owned));
    Ok(source.unwrap_or_else(|| "bundled".to_owned()))
}

pub(super) async fn upload(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let (package, items) = domain::upload(&console, &call.actor(), call.raw.to_vec(), how(&call, "upload")).await?;
    Ok(Reply::Json(
        json!({"items": items, "_meta": {"install_source": "upload", "name": package.name}}),
    ))
}

pub(super) async fn bulk_install(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    for wanted in call
        .body
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = wanted.as_str().or_else(|| wanted["name"].as_str()).unwrap_or_default();
        let result = match domain::of_version(&console, name, wanted["version"].as_str()).await {
            Ok(package) => domain::install(&console, &call.actor(), &package, how(&call, "bundled"))
                .await
                .map(|assets| (package, assets)),
            Err(error) => Err(error),
        };
        items.push(match result {
            Ok((package, assets)) => json!({"name": name, "version": package.version,
                "result": {"assets": assets, "status": "installed", "installType": "install", "installSource": "bundled"}}),
            Err(error) => {
                let error = ApiError::from(error);
                json!({"name": name, "statusCode": error.status().as_u16(), "error": error.to_string()})
            }
        });
    }
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let name = call.id("pkgName");
    domain::update_settings(&console, &call.actor(), name, call.body.clone()).await?;
    let package = domain::newest(&console, name).await?;
    let installation = domain::installation(&console, name).await?;
    let mut answer = summary(&package);
    put_status(&mut answer, installation.as_ref());
    let keeps = installation.and_then(|installation| installation.fields.get("keepPoliciesUpToDate").cloned());
    answer["keepPoliciesUpToDate"] = keeps.unwrap_or(false.into());
    item(answer)
}

pub(super) async fn uninstall(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let version = call.path.get("pkgVersion").map(String::as_str);
    let (actor, name) = (call.actor(), call.id("pkgName"));
    let items = if call.flag("force") {
        domain::uninstall_with_integrations(&console, &actor, name, version).await?
    } else {
        domain::uninstall(&console, &actor, name, version).await?
    };
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn limited(_console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"items": ["endpoint", "fleet_server"]})))
}

pub(super) async fn stats(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let name = call.id("pkgName");
    let policies = agent_policies::with_package(&console, name).await?.len();
    let integrations = package_policies::all(&console).await?;
    let used = integrations.iter().filter(|policy| is_of(policy, name)).count();
    Ok(Reply::Json(
        json!({"response": {"agent_policy_count": policies, "package_policy_count": used}}),
    ))
}

pub(super) async fn verification_key_id(_console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"id": null})))
}

pub(super) async fn templates(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let package = domain::of_version(&console, call.id("pkgName"), Some(call.id("pkgVersion"))).await?;
    let mut policy = PackagePolicy {
        id: package.name.clone(),
        name: package.name.clone(),
        enabled: true,
        inputs: package_policy::default_inputs(&package),
        vars: package_policy::default_vars(&package),
        ..PackagePolicy::default()
    };
    package_policy::render(&package, &mut policy).map_err(crate::domain::error::FleetError::from)?;
    let inputs: Vec<Value> = policy
        .inputs
        .iter()
        .map(|input| {
            let streams: Vec<Value> = input
                .streams
                .iter()
                .filter_map(|stream| {
                    let mut compiled = stream.compiled_stream.clone()?;
                    compiled.insert("id".into(), stream.id.clone().into());
                    compiled.insert(
                        "data_stream".into(),
                        json!({"type": stream.data_stream.kind, "dataset": stream.data_stream.dataset}),
                    );
                    Some(Value::Object(compiled))
                })
                .collect();
            json!({"id": format!("{}-{}", package.name, input.kind), "type": input.kind, "streams": streams})
        })
        .collect();
    let body = json!({"inputs": inputs});
    if call.text("format") == Some("json") {
        return Ok(Reply::Json(body));
    }
    Ok(Reply::File {
        content_type: "text/yaml; charset=utf-8",
        file_name: None,
        content: ::settings::to_yaml(&body).into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use policy::simplified;

    use super::*;

    #[test]
    fn every_package_has_a_simplified_form_with_known_keys() {
        for package in packages::builtin() {
            let inputs = package_policy::default_inputs(package);
            let written = simplified::write_inputs(Some(package), &inputs);
            let (read, _) = simplified::read(package, written.as_object().unwrap(), None).unwrap();
            assert_eq!(
                simplified::write_inputs(Some(package), &read),
                written,
                "{}",
                package.name
            );
        }
    }
}
