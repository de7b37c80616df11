//! Integrations: the packages that are there, and the upload of others.

use askama::Template;
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;

use super::form::Submission;
use super::frame::Frame;
use super::look::{Paging, url_part};
use super::order::{Column, Head, Order};
use super::problem::{Problem, show};
use super::question::{self, Question};
use super::session::SignedIn;
use crate::domain::documents::text;
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;
use crate::domain::{installed_packages, package_policies};

/// Bytes around the zip of an upload.
const FORM: usize = 64 << 10;

/// Packages of a page.
const PER_PAGE: usize = 50;

/// Columns; that of the actions is not among them.
const COLUMNS: &[Column] = &[
    Column::rising("Name", "name", ""),
    Column::fixed("Version", "p2"),
    Column::falling("Data streams", "streams", "right p3"),
    Column::falling("In use", "use", "right"),
    Column::rising("Source", "source", "p2"),
];

#[derive(Template)]
#[template(path = "packages.html")]
struct Page {
    frame: Frame,
    query: String,
    sort: String,
    heads: Vec<Head>,
    paging: Paging,
    rows: Vec<Row>,
    wrong: String,
    may_change: bool,
}

struct Row {
    name: String,
    title: String,
    description: String,
    version: String,
    is_installed: bool,
    /// It was uploaded, and can be removed.
    is_uploaded: bool,
    streams: usize,
    /// Integrations of policies that are of it.
    uses: usize,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// A part of a name or description.
    q: String,
    sort: Order,
    page: usize,
    done: Option<String>,
}

/// The page, and where a zip is sent: zips are larger than other forms.
pub(super) fn route() -> MethodRouter<std::sync::Arc<crate::Console>> {
    let most = installed_packages::LARGEST_UPLOAD + FORM;
    get(page).post(upload).layer(DefaultBodyLimit::max(most))
}

async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let toast = match wanted.done.as_deref() {
        Some("uploaded") => Some("The package is installed. Policies can use it."),
        Some("removed") => Some("The package was removed."),
        _ => None,
    };
    render(&reader, &wanted, String::new(), toast).await
}

async fn render(
    reader: &SignedIn,
    wanted: &Wanted,
    wrong: String,
    toast: Option<&str>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let used = package_policies::all(console).await?;
    let mut rows = Vec::new();
    for package in installed_packages::available(console).await? {
        let record = installed_packages::installation(console, &package.name).await?;
        let source = record
            .as_ref()
            .and_then(|record| text(&record.fields, "install_source"));
        let is_of = |name: &str| name == package.name;
        rows.push(Row {
            is_installed: record.is_some(),
            is_uploaded: source == Some("upload"),
            streams: package.data_streams.len(),
            uses: used
                .iter()
                .filter(|policy| policy.package.as_ref().is_some_and(|used| is_of(&used.name)))
                .count(),
            name: package.name.clone(),
            title: package.title.clone(),
            description: package.description.clone(),
            version: package.version.clone(),
        });
    }
    let looked_for = wanted.q.trim().to_lowercase();
    rows.retain(|row| {
        [&row.title, &row.name, &row.description]
            .iter()
            .any(|text| text.to_lowercase().contains(&looked_for))
    });
    let order = &wanted.sort;
    match order.key() {
        "name" => order.sort(&mut rows, |row| row.title.to_lowercase()),
        "streams" => order.sort(&mut rows, |row| row.streams),
        "use" => order.sort(&mut rows, |row| row.uses),
        "source" => order.sort(&mut rows, |row| row.is_uploaded),
        _ => {}
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: PER_PAGE,
    };
    let found = request.of(rows);
    let url =
        |sort: &str, page: usize| format!("/app/fleet/packages?q={}&sort={sort}&page={page}", url_part(&wanted.q));
    let sorted = order.written(COLUMNS);
    show(&Page {
        frame: Frame::new(reader, "Integrations", "Integrations").toast(toast),
        paging: Paging::of(&found, |number| url(sorted, number)),
        heads: order.heads(COLUMNS, |sort| url(sort, 1)),
        sort: sorted.to_owned(),
        query: wanted.q.clone(),
        rows: found.items,
        wrong,
        may_change: reader.may_change(),
    })
}

/// A zip as it was sent: the token of its form comes first.
async fn upload(reader: SignedIn, mut parts: Multipart) -> Result<Response, Problem> {
    let (mut token, mut zip) = (String::new(), Vec::new());
    let unreadable = || {
        Problem::from(FleetError::invalid(
            "The upload did not arrive whole, or is larger than 50 MB.",
        ))
    };
    while let Some(part) = parts.next_field().await.map_err(|_| unreadable())? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|_| unreadable())?;
        match name.as_str() {
            "csrf_token" => token = String::from_utf8_lossy(&bytes).into_owned(),
            "package" => zip = bytes.to_vec(),
            _ => {}
        }
    }
    let actor = reader.who_changes(&token)?;
    if zip.is_empty() {
        let wrong = "Choose the zip of a package.".to_owned();
        return Ok(render(&reader, &Wanted::default(), wrong, None).await?.into_response());
    }
    match installed_packages::upload(&reader.console, &actor, zip, installed_packages::How::from("upload")).await {
        Ok(_) => Ok(Redirect::to("/app/fleet/packages?done=uploaded").into_response()),
        Err(FleetError::Invalid { message, .. } | FleetError::Conflict(message)) => {
            Ok(render(&reader, &Wanted::default(), message, None)
                .await?
                .into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(
    reader: SignedIn,
    Path(name): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    if question::comes_first(&submission.values) {
        return Question {
            section: "Integrations",
            title: format!("Remove {name}?"),
            effect: "Its templates and pipelines go. What agents have shipped stays.".to_owned(),
            verb: "Remove package".to_owned(),
            action: format!("/app/fleet/packages/{}/delete", url_part(&name)),
            back: "/app/fleet/packages".to_owned(),
        }
        .ask(&reader);
    }
    match installed_packages::uninstall(&reader.console, &actor, &name, None).await {
        Ok(_) => Ok(Redirect::to("/app/fleet/packages?done=removed").into_response()),
        Err(FleetError::Invalid { message, .. }) => Ok(render(&reader, &Wanted::default(), message, None)
            .await?
            .into_response()),
        Err(error) => Err(error.into()),
    }
}
