//! The choice between light, dark and what the system says, kept in a cookie.

use axum::extract::Form;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, header};
use serde::Deserialize;

use super::login::own_path;
use super::problem::Problem;
use super::session::SignedIn;

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    csrf_token: String,
    theme: Theme,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Theme {
    Light,
    Dark,
    System,
}

/// Sets the cookie and goes back to the page that the form was on.
pub(super) async fn choose(
    reader: SignedIn,
    headers: HeaderMap,
    Form(choice): Form<Choice>,
) -> Result<Response, Problem> {
    if !reader.session.accepts_csrf(&choice.csrf_token) {
        return Err(Problem::forbidden("The form is too old or not from this site."));
    }
    let back = Redirect::to(&page_before(&headers));
    Ok(([(header::SET_COOKIE, cookie(choice.theme))], back).into_response())
}

fn cookie(theme: Theme) -> String {
    let (value, seconds) = match theme {
        Theme::Light => ("light", 31_536_000),
        Theme::Dark => ("dark", 31_536_000),
        Theme::System => ("", 0),
    };
    format!("theme={value}; Path=/; Max-Age={seconds}; SameSite=Lax; Secure; HttpOnly")
}

/// Path and query of the referring page: browsers send it to the same origin.
fn page_before(headers: &HeaderMap) -> String {
    let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let Some(url) = referer.and_then(|text| url::Url::parse(text).ok()) else {
        return "/".to_owned();
    };
    let path = url
        .query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    own_path(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_way_back_is_a_path_of_this_site() {
        let check = |referer: &'static str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::REFERER, HeaderValue::from_static(referer));
            assert_eq!(page_before(&headers), expected);
        };
        check(
            "https://localhost:5601/app/fleet/agents?q=a%20b",
            "/app/fleet/agents?q=a%20b",
        );
        check("https://localhost:5601//evil.example/", "/");
        check("nonsense", "/");
        assert_eq!(page_before(&HeaderMap::new()), "/");
    }
}
