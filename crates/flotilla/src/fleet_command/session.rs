//! Requests to the Fleet API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use tls::{ClientTls, LoadOptions};
use transport::{HttpClient, HttpClientSettings, read_body};

use super::arguments::ConsoleArguments;
use super::connection::Target;
use super::render::Printer;
use crate::printer::Hint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bulk actions over a large fleet take a while.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Ten thousand agents with their components.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// A console, and how answers are shown.
#[derive(Debug)]
pub(super) struct Session {
    client: HttpClient,
    base: String,
    printer: Printer,
}

impl Session {
    /// Nothing is connected yet.
    pub(super) fn open(arguments: &ConsoleArguments) -> Result<Self> {
        let target = Target::resolve(arguments)?;
        let tls = ClientTls::load(&target.ssl, LoadOptions::named("fleet"))
            .context("cannot load what the console is verified with")?;
        let mut headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("kbn-xsrf"),
            HeaderValue::from_static("true"),
        )]);
        if let Some(authorization) = &target.authorization {
            let mut value = HeaderValue::from_str(authorization.expose())
                .context("the login holds a character that HTTP cannot carry")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Self {
            client: HttpClient::new(HttpClientSettings {
                tls,
                proxy: None,
                connect_timeout: CONNECT_TIMEOUT,
                headers,
                connect_to: None,
            }),
            base: target.url.as_str().trim_end_matches('/').to_owned(),
            printer: Printer::new(arguments.json),
        })
    }

    /// How answers are shown.
    pub(super) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// One request with a JSON body or none; the answer, when it is a success.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (content_type, bytes) = match body {
            Some(body) => (Some("application/json"), serde_json::to_vec(body)?.into()),
            None => (None, Bytes::new()),
        };
        self.send(method, path, content_type, bytes).await
    }

    /// As [`Session::call`], with any body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).with_context(|| format!("`{path}` is no path"))?;
        let exchange = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            let body = read_body(answer.into_body(), LARGEST_ANSWER).await?;
            Ok::<_, transport::RequestError>((status, body))
        };
        let Ok(exchanged) = tokio::time::timeout(TIMEOUT, exchange).await else {
            bail!(
                "the console at {} did not answer within {} s",
                self.base,
                TIMEOUT.as_secs()
            );
        };
        let (status, body) = exchanged.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return Ok(read_answer(&body));
        }
        Err(refused(status, &body))
    }

    fn unreachable(&self, error: &transport::RequestError) -> anyhow::Error {
        let hint = if error.is_connect()
            && error
                .explanation()
                .is_some_and(|story| story.class == "unknown_authority")
        {
            "name the console's CA with `--certificate-authorities`, or its SHA-256 with `--ca-trusted-fingerprint`"
        } else {
            "check that `flotilla up` runs there, and name its console with `--url`"
        };
        Hint::error(format!("cannot ask the console at {}: {error}", self.base), hint)
    }
}

fn read_answer(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// The console's own words, and what to do where they do not say it.
fn refused(status: StatusCode, body: &Bytes) -> anyhow::Error {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
    let message = if message.is_empty() {
        format!("the console answered {status}")
    } else {
        format!("the console answered {}: {message}", status.as_u16())
    };
    match status {
        StatusCode::UNAUTHORIZED => Hint::error(message, "check the user and password, or the API key"),
        StatusCode::FORBIDDEN => Hint::error(message, "use a login that may do this; viewers only look"),
        _ => anyhow::anyhow!(message),
    }
}

/// A value inside a path or query.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_the_consoles_words() {
        let check = |status: u16, body: &'static str, expected: &str| {
            let error = refused(
                StatusCode::from_u16(status).unwrap(),
                &Bytes::from_static(body.as_bytes()),
            );
            assert_eq!(error.to_string(), expected);
        };
        check(
            404,
            r#"{"message":"Agent x not found"}"#,
            "the console answered 404: Agent x not found",
        );
        check(502, "<html>", "the console answered 502 Bad Gateway");
    }

    #[test]
    fn ids_cannot_leave_their_place() {
        assert_eq!(encoded("a b/../c?d=e&f"), "a%20b%2F..%2Fc%3Fd%3De%26f");
    }
}
