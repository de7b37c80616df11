//! An integration of an agent policy: a form made of the variables that its package declares.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{Html, IntoResponse, Redirect, Response};
use packages::{Package, Var};
use policy::model::{PackagePolicy, PolicyInput, PolicyStream};
use policy::package_policy;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::form::{self, Choice, Group, GroupView, Kind, Notes, Spec, Submission, Values};
use super::super::frame::Frame;
use super::super::look::url_part;
use super::super::problem::{Problem, show};
use super::super::question::{self, Question};
use super::super::session::SignedIn;
use crate::domain::documents::Fields;
use crate::domain::{agent_policies, installed_packages, outputs, package_policies};

#[derive(Template)]
#[template(path = "integration.html")]
struct Page {
    frame: Frame,
    policy_id: String,
    policy_name: String,
    title: String,
    about: String,
    action: String,
    package: String,
    /// Of an integration that is there.
    id: Option<String>,
    groups: Vec<GroupView>,
    wrong: Vec<String>,
    agents: u64,
    may_change: bool,
}

#[derive(Deserialize)]
pub(in crate::pages) struct Wanted {
    package: String,
}

/// The form of a new integration.
pub(in crate::pages) async fn add(
    reader: SignedIn,
    Path(policy_id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Problem> {
    let editor = Editor::of_package(&reader, &wanted.package).await?;
    let mut values = editor.values();
    values.set(
        "name",
        vec![package_policies::free_name(&reader.console, &wanted.package).await?],
    );
    editor.show(&reader, &policy_id, None, &values, &Notes::default()).await
}

/// The form of an integration that is there.
pub(in crate::pages) async fn edit(
    reader: SignedIn,
    Path((policy_id, id)): Path<(String, String)>,
) -> Result<Html<String>, Problem> {
    let editor = Editor::of_policy(&reader, &id).await?;
    let values = editor.values();
    editor
        .show(&reader, &policy_id, Some(&id), &values, &Notes::default())
        .await
}

pub(in crate::pages) async fn create(
    reader: SignedIn,
    Path(policy_id): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let editor = Editor::of_package(&reader, values.one("package")).await?;
    let mut body = editor.body(&values);
    body.insert("policy_ids".into(), json!([policy_id]));
    match package_policies::create(&reader.console, &actor, body).await {
        Ok(_) => Ok(Redirect::to(&format!("/app/fleet/policies/{policy_id}?done=added")).into_response()),
        Err(error) => {
            editor
                .refused(&reader, &policy_id, None, &values, form::problem_of(error)?)
                .await
        }
    }
}

pub(in crate::pages) async fn update(
    reader: SignedIn,
    Path((policy_id, id)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let editor = Editor::of_policy(&reader, &id).await?;
    match package_policies::update(&reader.console, &actor, &id, editor.body(&values)).await {
        Ok(_) => Ok(Redirect::to(&format!("/app/fleet/policies/{policy_id}?done=saved")).into_response()),
        Err(error) => {
            editor
                .refused(&reader, &policy_id, Some(&id), &values, form::problem_of(error)?)
                .await
        }
    }
}

pub(in crate::pages) async fn delete(
    reader: SignedIn,
    Path((policy_id, id)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    if question::comes_first(&submission.values) {
        let editor = format!(
            "/app/fleet/policies/{}/integrations/{}",
            url_part(&policy_id),
            url_part(&id)
        );
        return Question {
            section: "Agent policies",
            title: "Remove this integration?".to_owned(),
            effect: "The agents of the policy stop collecting it. What was collected stays.".to_owned(),
            verb: "Remove integration".to_owned(),
            action: format!("{editor}/delete"),
            back: editor,
        }
        .ask(&reader);
    }
    package_policies::delete(&reader.console, &actor, &id, false).await?;
    Ok(Redirect::to(&format!("/app/fleet/policies/{policy_id}?done=removed")).into_response())
}

/// A package policy with the package that says what its variables are.
struct Editor {
    package: Arc<Package>,
    policy: PackagePolicy,
    outputs: Vec<Choice>,
}

impl Editor {
    async fn of_package(reader: &SignedIn, name: &str) -> Result<Self, Problem> {
        let package = installed_packages::newest(&reader.console, name).await?;
        let fields = json!({
            "id": "", "name": "", "namespace": "", "enabled": true, "policy_ids": [], "revision": 0,
            "inputs": package_policy::default_inputs(&package), "vars": package_policy::default_vars(&package),
            "package": package_policy::reference_to(&package),
        });
        let policy = serde_json::from_value(fields)
            .map_err(|error| crate::domain::error::FleetError::invalid(error.to_string()))?;
        Self::new(reader, package, policy).await
    }

    async fn of_policy(reader: &SignedIn, id: &str) -> Result<Self, Problem> {
        let policy = package_policies::read(&reader.console, id).await?;
        let reference = policy.package.clone().unwrap_or_default();
        let package =
            installed_packages::of_version(&reader.console, &reference.name, Some(&reference.version)).await?;
        Self::new(reader, package, policy).await
    }

    async fn new(reader: &SignedIn, package: Arc<Package>, policy: PackagePolicy) -> Result<Self, Problem> {
        let mut choices = vec![Choice::new("", "As the agent policy")];
        let outputs = outputs::list(&reader.console).await?;
        choices.extend(outputs.into_iter().map(|output| Choice::new(output.id, output.name)));
        Ok(Self {
            package,
            policy,
            outputs: choices,
        })
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups = vec![Group::new(
            "",
            vec![
                Spec::new("name", "Integration name", Kind::Text),
                Spec::new("namespace", "Namespace", Kind::Text)
                    .help("That of the agent policy, when blank.")
                    .optional(),
                Spec::new("description", "Description", Kind::Text).optional(),
                Spec::new("output_id", "Output", Kind::Select(self.outputs.clone()))
                    .help("Where what it collects is sent.")
                    .optional(),
            ],
        )];
        let own = specs("vars", self.policy.vars.as_ref(), &self.package.vars);
        if !own.is_empty() {
            groups.push(Group::new("All inputs", own));
        }
        for (index, input) in self.policy.inputs.iter().enumerate() {
            groups.extend(self.input_groups(index, input));
        }
        groups
    }

    fn input_groups(&self, index: usize, input: &PolicyInput) -> Vec<Group> {
        let template = self
            .package
            .policy_templates
            .iter()
            .find(|template| Some(&template.name) == input.policy_template.as_ref());
        let definition =
            template.and_then(|template| template.inputs.iter().find(|definition| definition.kind == input.kind));
        let title = definition.map_or(input.kind.as_str(), |definition| definition.title.as_str());
        let note = definition.map_or("", |definition| definition.description.as_str());
        let path = format!("in.{index}");
        let mut fields = vec![Spec::new(format!("{path}.enabled"), "Enabled", Kind::Switch)];
        let vars = definition.map_or(&[][..], |definition| definition.vars.as_slice());
        fields.extend(specs(&format!("{path}.vars"), input.vars.as_ref(), vars));
        let mut groups = vec![Group::new(title, fields).note(note)];
        for (number, stream) in input.streams.iter().enumerate() {
            groups.push(self.stream_group(&format!("{path}.st.{number}"), &input.kind, stream));
        }
        groups
    }

    fn stream_group(&self, path: &str, kind: &str, stream: &PolicyStream) -> Group {
        let data_stream = self.package.data_stream(&stream.data_stream.dataset);
        let definition =
            data_stream.and_then(|data_stream| data_stream.streams.iter().find(|definition| definition.input == kind));
        let title = definition.map_or(stream.data_stream.dataset.as_str(), |definition| {
            definition.title.as_str()
        });
        let vars = definition.map_or(&[][..], |definition| definition.vars.as_slice());
        let mut fields = vec![Spec::new(format!("{path}.enabled"), "Collect it", Kind::Switch)];
        fields.extend(specs(&format!("{path}.vars"), stream.vars.as_ref(), vars));
        Group::new(title, fields).note(&stream.data_stream.dataset).folded()
    }

    /// What stands in the form.
    fn values(&self) -> Values {
        let mut values = Values::default();
        let policy = &self.policy;
        values.set("name", vec![policy.name.clone()]);
        values.set("namespace", vec![policy.namespace.clone()]);
        values.set("description", vec![policy.description.clone().unwrap_or_default()]);
        values.set("output_id", vec![policy.output_id.clone().unwrap_or_default()]);
        put_vars(&mut values, "vars", policy.vars.as_ref());
        for (index, input) in policy.inputs.iter().enumerate() {
            put_switch(&mut values, &format!("in.{index}.enabled"), input.enabled);
            put_vars(&mut values, &format!("in.{index}.vars"), input.vars.as_ref());
            for (number, stream) in input.streams.iter().enumerate() {
                put_switch(&mut values, &format!("in.{index}.st.{number}.enabled"), stream.enabled);
                put_vars(
                    &mut values,
                    &format!("in.{index}.st.{number}.vars"),
                    stream.vars.as_ref(),
                );
            }
        }
        values
    }

    /// The package policy that the form says.
    fn body(&self, values: &Values) -> Fields {
        let mut policy = self.policy.clone();
        values.one("name").clone_into(&mut policy.name);
        values.one("namespace").clone_into(&mut policy.namespace);
        policy.description = Some(values.one("description").to_owned()).filter(|text| !text.is_empty());
        policy.output_id = Some(values.one("output_id").to_owned()).filter(|id| !id.is_empty());
        take_vars(values, "vars", policy.vars.as_mut());
        for (index, input) in policy.inputs.iter_mut().enumerate() {
            input.enabled = values.is_on(&format!("in.{index}.enabled"));
            take_vars(values, &format!("in.{index}.vars"), input.vars.as_mut());
            for (number, stream) in input.streams.iter_mut().enumerate() {
                stream.enabled = input.enabled && values.is_on(&format!("in.{index}.st.{number}.enabled"));
                take_vars(values, &format!("in.{index}.st.{number}.vars"), stream.vars.as_mut());
            }
        }
        let mut body = package_policies::into_fields(&policy);
        for key in ["id", "revision", "created_at", "created_by", "updated_at", "updated_by"] {
            body.remove(key);
        }
        // Null: the present one is taken away.
        body.entry("output_id").or_insert(Value::Null);
        body
    }

    async fn refused(
        &self,
        reader: &SignedIn,
        policy_id: &str,
        id: Option<&str>,
        values: &Values,
        problem: (String, String),
    ) -> Result<Response, Problem> {
        let notes = Notes {
            wrong: vec![problem],
            warnings: Vec::new(),
        };
        Ok(self.show(reader, policy_id, id, values, &notes).await?.into_response())
    }

    async fn show(
        &self,
        reader: &SignedIn,
        policy_id: &str,
        id: Option<&str>,
        values: &Values,
        notes: &Notes,
    ) -> Result<Html<String>, Problem> {
        let policy = agent_policies::read(&reader.console, policy_id).await?;
        let groups = self.groups();
        let is_placed = |field: &str| {
            groups
                .iter()
                .flat_map(|group| &group.fields)
                .any(|spec| spec.path == field)
        };
        let base = format!("/app/fleet/policies/{policy_id}/integrations");
        let title = match id {
            Some(_) => format!("Edit {}", self.policy.name),
            None => format!("Add {}", self.package.title),
        };
        let page = Page {
            frame: Frame::new(reader, "Agent policies", title.as_str()),
            title,
            about: self.package.description.clone(),
            action: id.map_or(base.clone(), |id| format!("{base}/{id}")),
            package: self.package.name.clone(),
            id: id.map(str::to_owned),
            groups: form::groups(&groups, values, notes, reader.console.clock.now()),
            wrong: notes
                .wrong
                .iter()
                .filter(|(field, _)| !is_placed(field))
                .map(|(_, text)| text.clone())
                .collect(),
            agents: agent_policies::agent_count(&reader.console, policy_id).await?,
            may_change: reader.may_change() && !policy.is_managed,
            policy_id: policy.id,
            policy_name: policy.name,
        };
        show(&page)
    }
}

/// The variables of one place as fields; those that the package has no words for come last, as they are.
fn specs(path: &str, vars: Option<&Map<String, Value>>, known: &[Var]) -> Vec<Spec> {
    let present = |name: &str| vars.is_some_and(|vars| vars.contains_key(name));
    let mut specs: Vec<Spec> = known
        .iter()
        .filter(|var| present(&var.name))
        .map(|var| spec(path, var))
        .collect();
    let unknown = vars
        .into_iter()
        .flat_map(Map::keys)
        .filter(|name| !known.iter().any(|var| var.name == **name));
    specs.extend(unknown.map(|name| Spec::new(format!("{path}.{name}"), name.as_str(), Kind::Text).optional()));
    specs
}

fn spec(path: &str, var: &Var) -> Spec {
    let kind = match var.kind.as_str() {
        _ if var.secret || var.kind == "password" => Kind::Secret,
        _ if var.multi => Kind::Rows,
        "bool" => Kind::Switch,
        "integer" => Kind::Number,
        "yaml" | "textarea" => Kind::Yaml,
        "select" => Kind::Select(options(var)),
        _ => Kind::Text,
    };
    let label = if var.title.is_empty() {
        var.name.as_str()
    } else {
        var.title.as_str()
    };
    let spec = Spec::new(format!("{path}.{}", var.name), label, kind).help(var.description.trim());
    if var.required { spec } else { spec.optional() }
}

fn options(var: &Var) -> Vec<Choice> {
    let options = var.other.get("options").and_then(Value::as_array);
    let choice = |option: &Value| {
        let text = |key: &str| option[key].as_str().unwrap_or_default().to_owned();
        Choice::new(text("value"), text("text"))
    };
    options.into_iter().flatten().map(choice).collect()
}

fn put_switch(values: &mut Values, path: &str, is_on: bool) {
    if is_on {
        values.set(path, vec!["on".to_owned()]);
    }
}

fn put_vars(values: &mut Values, path: &str, vars: Option<&Map<String, Value>>) {
    for (name, variable) in vars.into_iter().flatten() {
        let path = format!("{path}.{name}");
        match variable.get("value") {
            Some(Value::Array(items)) => values.set(&path, items.iter().map(text).collect()),
            Some(Value::Object(_)) => values.set(&format!("{path}.stored"), vec!["on".to_owned()]),
            Some(Value::Null) | None => {}
            Some(value) => values.set(&path, vec![text(value)]),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Values of variables from the form, in the type that each has. A secret that is not typed again stays.
fn take_vars(values: &Values, path: &str, vars: Option<&mut Map<String, Value>>) {
    for (name, variable) in vars.into_iter().flatten() {
        let path = format!("{path}.{name}");
        let kind = variable["type"].as_str().unwrap_or("text").to_owned();
        let present = variable.get("value").cloned().unwrap_or_default();
        let typed = values.one(&path);
        let value = match kind.as_str() {
            "bool" => values.is_on(&path).into(),
            _ if present.is_object() && typed.is_empty() && !values.is_on(&format!("{path}.remove")) => continue,
            _ if present.is_array() || values.all(&path).len() > 1 => json!(values.all(&path)),
            _ if typed.is_empty() => Value::Null,
            "integer" => typed.parse::<i64>().map_or_else(|_| typed.into(), Value::from),
            _ => typed.into(),
        };
        if let Value::Object(variable) = variable {
            variable.insert("value".into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_types_and_stored_secrets() {
        let mut vars = json!({
            "on": {"type": "bool", "value": true}, "size": {"type": "integer", "value": 1}, "paths": {"type": "text", "value": ["/a"]},
            "token": {"type": "password", "value": {"isSecretRef": true, "id": "1"}}, "blank": {"type": "text", "value": "x"},
        });
        let mut values = Values::default();
        for (name, text) in [("vars.size", "5"), ("vars.paths", "/b"), ("vars.paths", "/c")] {
            values.push(name, text.to_owned());
        }
        take_vars(&values, "vars", vars.as_object_mut());
        let value = |name: &str| vars[name]["value"].clone();
        assert_eq!(value("on"), false);
        assert_eq!(value("size"), 5);
        assert_eq!(value("paths"), json!(["/b", "/c"]));
        assert_eq!(value("token")["id"], "1");
        assert_eq!(value("blank"), Value::Null);
    }
}
