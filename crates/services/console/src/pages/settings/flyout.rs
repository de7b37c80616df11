//! The flyout of an object: shown, checked, saved; and the question before one is deleted.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};

use super::super::form::{self, Group, GroupView, Notes, Submission, Values, material, view};
use super::super::problem::Problem;
use super::super::session::SignedIn;
use super::objects::Object;
use super::{output_form, render};
use crate::domain::checks::{Finding, Report};
use crate::domain::documents::{Fields, Stored, flag, text};
use crate::domain::error::FleetError;

/// From this many agents on, their number has to be typed.
const MANY_AGENTS: u64 = 100;

/// A form over the page.
pub(super) struct Flyout {
    pub(super) title: &'static str,
    pub(super) name: String,
    pub(super) action: String,
    pub(super) close: &'static str,
    pub(super) kind: String,
    /// The types of outputs, with their links.
    pub(super) kinds: Vec<(String, &'static str, bool)>,
    pub(super) danger: &'static str,
    pub(super) locked: bool,
    pub(super) groups: Vec<GroupView>,
    /// What belongs to no field.
    pub(super) wrong: Vec<String>,
    pub(super) impact: Option<Impact>,
    /// It holds what was sent, and differs from what is saved.
    pub(super) sent: bool,
    /// The question before it is done.
    pub(super) asks: bool,
    /// The number that has to be typed.
    pub(super) typed: Option<u64>,
}

/// Whom a change reaches.
pub(super) struct Impact {
    pub(super) policies: usize,
    pub(super) agents: u64,
    pub(super) errors: usize,
    pub(super) warnings: Vec<String>,
}

/// The question before an object is deleted.
pub(super) struct Removal {
    pub(super) noun: &'static str,
    pub(super) name: String,
    pub(super) action: String,
    pub(super) policies: usize,
    pub(super) agents: u64,
}

impl Flyout {
    /// What the browser calls the page.
    pub(super) fn heading(&self) -> String {
        if self.name.is_empty() {
            self.title.to_owned()
        } else {
            format!("{}: {}", self.title, self.name)
        }
    }
}

/// The flyout as a link opens it.
pub(super) async fn opened(reader: &SignedIn, object: Object, id: &str, kind: Option<&str>) -> Result<Flyout, Problem> {
    let present = present(reader, object, id).await?;
    let stored = present.as_ref().map(|present| &present.fields);
    let kind = kind_of(object, stored, kind);
    let groups = object.groups(&reader.console, &kind).await?;
    let mut values = stored.map(Values::of_object).unwrap_or_default();
    view::hide_plain_secrets(&groups, &mut values);
    let mut flyout = Flyout::new(reader, object, present.as_ref(), kind);
    flyout.groups = form::groups(&groups, &values, &Notes::default(), reader.console.clock.now());
    if stored.is_some() {
        flyout.impact = impact(reader, object, id).await;
    }
    Ok(flyout)
}

/// Whom the object reaches as it is; nothing when it does not pass the checks as it is.
async fn impact(reader: &SignedIn, object: Object, id: &str) -> Option<Impact> {
    let unchanged = present(reader, object, id).await.ok()??.fields;
    let report = object.dry_run(&reader.console, Some(id), unchanged).await.ok()?;
    Some(Impact::of(&report))
}

async fn present(reader: &SignedIn, object: Object, id: &str) -> Result<Option<Stored>, Problem> {
    if id == "new" {
        return Ok(None);
    }
    Ok(Some(reader.console.require(object.collection(), id).await?))
}

/// The type of an output: as chosen, as stored, or the first.
fn kind_of(object: Object, stored: Option<&Fields>, chosen: Option<&str>) -> String {
    if object != Object::Output {
        return String::new();
    }
    let stored = stored.and_then(|fields| text(fields, "type"));
    let known = chosen.filter(|chosen| output_form::TYPES.iter().any(|(kind, _)| kind == chosen));
    known.or(stored).unwrap_or("elasticsearch").to_owned()
}

pub(in crate::pages) async fn create(
    reader: SignedIn,
    Path(part): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    submitted(reader, &part, "new", submission).await
}

pub(in crate::pages) async fn update(
    reader: SignedIn,
    Path((part, id)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Problem> {
    submitted(reader, &part, &id, submission).await
}

/// A form that was sent: checked (`step=check`), asked about (`save`) or done (`deploy`).
async fn submitted(reader: SignedIn, part: &str, id: &str, submission: Submission) -> Result<Response, Problem> {
    let object =
        Object::of(part).ok_or_else(|| Problem::from(FleetError::NotFound(format!("no `{part}` in settings"))))?;
    let Submission { mut values, files } = submission;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let present = present(&reader, object, id).await?;
    let stored = present.as_ref().map(|present| &present.fields);
    let kind = kind_of(object, stored, Some(values.one("type")));
    let groups = object.groups(&reader.console, &kind).await?;
    if let Some(stored) = stored {
        values = values.stored_as_in(&Values::of_object(stored));
    }
    let mut notes = Notes {
        wrong: material::take_uploads(&groups, &files, &mut values),
        warnings: Vec::new(),
    };
    notes.wrong.extend(form::problems(&groups, &values));
    let mut fields = form::object(&groups, &values, stored);
    if object == Object::Output {
        fields.insert("type".into(), kind.as_str().into());
    }
    let given_id = present.as_ref().map(|present| present.id.as_str());
    let report = match object.dry_run(&reader.console, given_id, fields.clone()).await {
        Ok(report) => Some(report),
        Err(error) => {
            let problem = form::problem_of(error)?;
            if !notes.wrong.iter().any(|(path, _)| *path == problem.0) {
                notes.wrong.push(problem);
            }
            None
        }
    };
    if let Some(report) = &report {
        notes.wrong.extend(report.errors.iter().map(said));
        notes.warnings.extend(report.warnings.iter().map(said));
    }
    let step = values.one("step").to_owned();
    let is_fine = notes.wrong.is_empty();
    let agents = report.as_ref().map_or(0, |report| report.agents);
    let silent = report
        .as_ref()
        .is_none_or(|report| report.policies == 0 && report.warnings.is_empty());
    let typed = agents < MANY_AGENTS || values.one("agents") == agents.to_string();
    if is_fine && (step == "deploy" && typed || step == "save" && silent) {
        let done = match given_id {
            Some(id) => object
                .update(&reader.console, &actor, id, fields)
                .await
                .map(|()| object.after_saving()),
            None => object
                .create(&reader.console, &actor, fields)
                .await
                .map(|id| object.after_creating(&id)),
        };
        match done {
            Ok(next) => return Ok(Redirect::to(&next).into_response()),
            Err(error) => notes.wrong.push(form::problem_of(error)?),
        }
    }
    let mut flyout = Flyout::new(&reader, object, present.as_ref(), kind);
    flyout.asks = notes.wrong.is_empty() && matches!(step.as_str(), "save" | "deploy");
    flyout.sent = true;
    flyout.typed = (agents >= MANY_AGENTS).then_some(agents);
    flyout.impact = report.as_ref().map(Impact::of);
    if let Some(impact) = &mut flyout.impact {
        impact.errors = notes.wrong.len();
    }
    flyout.wrong = unplaced(&groups, &notes.wrong);
    flyout.groups = form::groups(&groups, &values, &notes, reader.console.clock.now());
    Ok(render(&reader, Some(flyout), None, None).await?.into_response())
}

fn said(finding: &Finding) -> (String, String) {
    let text = match &finding.hint {
        Some(hint) => format!("{}: {hint}", finding.message),
        None => finding.message.clone(),
    };
    (finding.field.clone(), text)
}

/// What is about none of the fields.
fn unplaced(groups: &[Group], wrong: &[(String, String)]) -> Vec<String> {
    let paths: Vec<&str> = groups
        .iter()
        .flat_map(|group| &group.fields)
        .map(|spec| spec.path.as_str())
        .collect();
    let nowhere = wrong
        .iter()
        .filter(|(field, _)| !paths.iter().any(|path| view::is_about(field, path)));
    nowhere.map(|(_, text)| text.clone()).collect()
}

/// The question before an object is deleted.
pub(super) async fn removal(reader: &SignedIn, object: Object, id: &str) -> Result<Removal, Problem> {
    let present = reader.console.require(object.collection(), id).await?;
    let impact = impact(reader, object, id).await;
    Ok(Removal {
        noun: object.noun(),
        name: text(&present.fields, "name").unwrap_or(id).to_owned(),
        action: format!("/app/fleet/settings/{}/{id}/delete", object.part()),
        policies: impact.as_ref().map_or(0, |impact| impact.policies),
        agents: impact.map_or(0, |impact| impact.agents),
    })
}

pub(in crate::pages) async fn delete(
    reader: SignedIn,
    Path((part, id)): Path<(String, String)>,
    submission: Submission,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    let object =
        Object::of(&part).ok_or_else(|| Problem::from(FleetError::NotFound(format!("no `{part}` in settings"))))?;
    object.delete(&reader.console, &actor, &id).await?;
    Ok(Redirect::to(&format!(
        "/app/fleet/settings?done={}-deleted",
        object.part()
    )))
}

impl Flyout {
    fn new(reader: &SignedIn, object: Object, present: Option<&Stored>, kind: String) -> Self {
        let id = present.map_or("new", |present| present.id.as_str());
        let url = |kind: &str| format!("/app/fleet/settings?flyout={}-{id}&type={kind}", object.part());
        let kinds = match object {
            Object::Output => {
                let known = output_form::TYPES.iter();
                known.map(|(value, name)| (url(value), *name, *value == kind)).collect()
            }
            _ => Vec::new(),
        };
        Self {
            title: object.title(present.is_none()),
            name: present
                .and_then(|present| text(&present.fields, "name"))
                .unwrap_or_default()
                .to_owned(),
            action: match present {
                Some(present) => format!("/app/fleet/settings/{}/{}", object.part(), present.id),
                None => format!("/app/fleet/settings/{}", object.part()),
            },
            close: "/app/fleet/settings",
            kind,
            kinds,
            danger: present.map_or("", |_| object.danger()),
            locked: !reader.may_change() || present.is_some_and(|present| flag(&present.fields, "is_preconfigured")),
            groups: Vec::new(),
            wrong: Vec::new(),
            impact: None,
            sent: false,
            asks: false,
            typed: None,
        }
    }
}

impl Impact {
    fn of(report: &Report) -> Self {
        Self {
            policies: report.policies,
            agents: report.agents,
            errors: report.errors.len(),
            warnings: report.warnings.iter().map(|finding| said(finding).1).collect(),
        }
    }
}
