//! Every certificate in use, the next to expire first.

use askama::Template;
use axum::extract::Query as UrlQuery;
use axum::response::Html;
use jiff::Timestamp;
use serde::Deserialize;

use super::verdict::{days, days_until, tone};
use crate::domain::certificates::{self, CertificateInUse};
use crate::domain::connections::{common_name, short_hash};
use crate::domain::page::{Page as Listed, PageRequest};
use crate::pages::frame::Frame;
use crate::pages::look::{Look, Paging, url_part};
use crate::pages::order::{Column, Head, Order};
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;

const ROWS: usize = 50;

const COLUMNS: &[Column] = &[
    Column::rising("Certificate", "name", ""),
    Column::rising("Used by", "use", "p2"),
    Column::rising("Issuer", "issuer", "p3"),
    Column::rising("Key", "key", "p4"),
    Column::fixed("SHA-256", "p3"),
    Column::fixed("State", ""),
    Column::rising("Expires", "expires", "p2 lifetime-column"),
];

#[derive(Template)]
#[template(path = "certificates.html")]
struct Page {
    frame: Frame,
    heads: Vec<Head>,
    rows: Vec<Certificate>,
    query: String,
    sort: String,
    soon: usize,
    paging: Paging,
}

/// A certificate as the pages show it.
pub(in crate::pages) struct Certificate {
    pub(in crate::pages) name: String,
    pub(in crate::pages) kind: &'static str,
    pub(in crate::pages) uses: Vec<String>,
    pub(in crate::pages) issuer: String,
    pub(in crate::pages) key: String,
    pub(in crate::pages) fingerprint: String,
    pub(in crate::pages) short: String,
    pub(in crate::pages) look: Look,
    pub(in crate::pages) left: String,
    pub(in crate::pages) tone: &'static str,
    not_after: Timestamp,
    pub(in crate::pages) from: String,
    pub(in crate::pages) to: String,
    /// Hundredths of its life that are over.
    pub(in crate::pages) used: f64,
}

/// What stands in the URL.
#[derive(Deserialize)]
pub(in crate::pages) struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: Order,
    #[serde(default)]
    page: usize,
}

pub(in crate::pages) async fn page(
    reader: SignedIn,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let all: Vec<Certificate> = certificates::all(console)
        .await?
        .iter()
        .map(|one| Certificate::of(one, now))
        .collect();
    let soon = all.iter().filter(|one| one.tone != "ok").count();
    let part = wanted.q.trim().to_lowercase();
    let mut matching: Vec<Certificate> = all.into_iter().filter(|one| one.holds(&part)).collect();
    // They come in the order in which they expire.
    let order = Order::parse(match wanted.sort.written(COLUMNS) {
        "" => "expires",
        wanted => wanted,
    });
    match order.key() {
        "name" => order.sort(&mut matching, |one| one.name.to_lowercase()),
        "use" => order.sort(&mut matching, |one| one.uses.join(",")),
        "issuer" => order.sort(&mut matching, |one| one.issuer.to_lowercase()),
        "key" => order.sort(&mut matching, |one| one.key.clone()),
        _ => order.sort(&mut matching, |one| one.not_after),
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: ROWS,
    };
    let total = matching.len() as u64;
    let listed = Listed {
        items: matching.into_iter().skip(request.offset()).take(ROWS).collect(),
        total,
        request,
    };
    let page = Page {
        frame: Frame::new(&reader, "Certificates", "Certificates"),
        soon,
        paging: Paging::of(&listed, |page| wanted.href(wanted.sort.written(COLUMNS), page)),
        heads: order.heads(COLUMNS, |sort| wanted.href(sort, 1)),
        sort: wanted.sort.written(COLUMNS).to_owned(),
        rows: listed.items,
        query: wanted.q,
    };
    show(&page)
}

impl Wanted {
    fn href(&self, sort: &str, page: usize) -> String {
        format!(
            "/app/trust/certificates?q={}&sort={sort}&page={page}",
            url_part(&self.q)
        )
    }
}

impl Certificate {
    pub(in crate::pages) fn of(certificate: &CertificateInUse, now: Timestamp) -> Self {
        let summary = &certificate.summary;
        let left = days_until(now, summary.not_after);
        let life = summary
            .not_after
            .duration_since(summary.not_before)
            .as_secs_f64()
            .max(1.0);
        let used = now.duration_since(summary.not_before).as_secs_f64() / life * 100.0;
        let fingerprint = summary.fingerprint.to_string();
        let date = |time: Timestamp| time.strftime("%-d %b %Y").to_string();
        Self {
            name: certificate.name().to_owned(),
            kind: certificate.kind(),
            uses: certificate
                .uses
                .iter()
                .map(|used| format!("{}: {}", used.whose, used.how))
                .collect(),
            issuer: if summary.is_self_issued() {
                "itself".to_owned()
            } else {
                common_name(&summary.issuer).to_owned()
            },
            key: summary.key_type.clone(),
            short: short_hash(&fingerprint),
            fingerprint,
            look: match tone(left) {
                "bad" if left < 0 => Look::new("bad", "Expired"),
                "ok" => Look::new("ok", "Valid"),
                tone => Look::new(tone, "Expiring"),
            },
            left: days(left),
            tone: tone(left),
            not_after: summary.not_after,
            from: date(summary.not_before),
            to: date(summary.not_after),
            used: (used.clamp(0.0, 100.0) * 100.0).round() / 100.0,
        }
    }

    /// The colour of its lifetime: grey as long as nothing is to be done.
    pub(in crate::pages) fn fill(&self) -> &'static str {
        if self.tone == "ok" { "c6" } else { self.tone }
    }

    fn holds(&self, part: &str) -> bool {
        let texts = [&self.name, &self.issuer, &self.fingerprint];
        part.is_empty()
            || texts
                .into_iter()
                .chain(&self.uses)
                .any(|text| text.to_lowercase().contains(part))
            || self.kind.to_lowercase().contains(part)
    }
}
