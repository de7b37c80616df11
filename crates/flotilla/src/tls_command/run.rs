//! Runs a parsed command line.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use secret::Secret;
use serde_json::{Value, json};
use tls::{ClientTls, Explanation, LoadOptions, Reloader, ServerTls, SslError, SslSettings};
use tokio_util::sync::CancellationToken;
use transport::diagnose::{self, CheckRequest, Item, ItemKind, Report, ShowError, TestServer};
use transport::{HeaderName, HeaderValue, ProxySettings};

use super::arguments::{CheckArguments, ServeArguments, ShowArguments, TlsArguments, TlsCommand};
use super::passphrase::{self, with_passphrase};
use super::settings_file;
use crate::printer;

/// Runs the command; the result is the exit status: 0 when everything asked for worked, 1 when not.
pub(crate) fn run(arguments: TlsArguments) -> i32 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            printer::error(&anyhow::Error::from(error).context("cannot start"));
            return 1;
        }
    };
    let worked = match arguments.command {
        TlsCommand::Check(arguments) => runtime.block_on(check(&arguments)),
        TlsCommand::Serve(arguments) => runtime.block_on(serve(&arguments)),
        TlsCommand::Show(arguments) => show(&arguments),
    };
    // Name look-ups in progress do not hold up the end.
    runtime.shutdown_background();
    i32::from(!worked)
}

async fn check(arguments: &CheckArguments) -> bool {
    let form = Form::of(arguments.json, arguments.details);
    let (tls, request) = match prepare_check(arguments) {
        Ok(prepared) => prepared,
        Err(story) => return print(&Report::from(story), form),
    };
    let reloader = Reloader::new();
    reloader.watch(&tls);
    let rounds = async {
        let mut worked = true;
        for round in 0..arguments.repeat {
            if round > 0 {
                tokio::time::sleep(arguments.interval).await;
            }
            worked &= print(&diagnose::check(&tls, &request).await, form);
        }
        worked
    };
    while_files_are_followed(reloader, rounds).await
}

/// Does `work` while certificate files are followed.
async fn while_files_are_followed(reloader: Reloader, work: impl Future<Output = bool>) -> bool {
    let stop = CancellationToken::new();
    let reloading = tokio::spawn({
        let stop = stop.clone();
        async move { reloader.run(stop).await }
    });
    let worked = work.await;
    stop.cancel();
    if let Err(error) = reloading.await {
        printer::warning(format!("the watch over certificate files broke: {error}"));
    }
    worked
}

fn prepare_check(arguments: &CheckArguments) -> Result<(Arc<ClientTls>, CheckRequest), Explanation> {
    let options = LoadOptions {
        resumption: false,
        ..LoadOptions::named("tls check")
    };
    let mut request = CheckRequest::from_url(&arguments.url, arguments.timeout)?;
    request.connect_to = arguments.connect_to;
    request.proxy = proxy(arguments)?;
    let settings = settings_file::of_client(arguments)?;
    let tls = with_passphrase(&settings, |settings| ClientTls::load(settings, options.clone()));
    Ok((tls.map_err(|error| Explanation::from(&error))?, request))
}

fn proxy(arguments: &CheckArguments) -> Result<Option<ProxySettings>, Explanation> {
    let Some(url) = &arguments.proxy_url else {
        return Ok(arguments.proxy_disabled.then(ProxySettings::disabled));
    };
    Ok(Some(ProxySettings {
        headers: arguments
            .proxy_header
            .iter()
            .map(|text| header(text))
            .collect::<Result<_, _>>()?,
        ..ProxySettings::from_url(url)?
    }))
}

/// The value may be a password, so errors do not repeat it.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), Explanation> {
    let wrong = |problem| {
        Explanation::at_load(
            "bad_value:proxy_headers",
            format!("a `--proxy-header` cannot be used: {problem}"),
        )
        .with_hint("write it as NAME=VALUE")
    };
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("it has no `=`"))?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| wrong("the part before `=` is no header name"))?;
    let mut value: HeaderValue = value
        .trim()
        .parse()
        .map_err(|_| wrong("the part after `=` is no header value"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

async fn serve(arguments: &ServeArguments) -> bool {
    let form = Form::of(arguments.json, arguments.details);
    let server = match prepare_serve(arguments) {
        Ok(server) => server,
        Err(story) => return print(&Report::from(story), form),
    };
    let reloader = Reloader::new();
    if let Some(tls) = server.tls() {
        reloader.watch(tls);
    }
    while_files_are_followed(reloader, serve_until_signal(&server, arguments, form)).await
}

async fn serve_until_signal(server: &TestServer, arguments: &ServeArguments, form: Form) -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        printer::warning("signals cannot be listened to");
        return false;
    };
    // Only now, as whoever reads it may end the program at once.
    let address = server.local_addr();
    if arguments.json && arguments.listen.port() == 0 {
        printer::line(json!({ "listening": address.to_string() }));
    } else {
        printer::note(format!("listening on {address}; Ctrl-C ends it"));
    }
    loop {
        tokio::select! {
            _ = interrupt.recv() => return true,
            _ = terminate.recv() => return true,
            served = server.serve_one() => match served {
                Ok(served) => {
                    if form == Form::Text {
                        printer::line(format!("connection from {}", served.peer));
                    }
                    print(&served.report, form);
                }
                Err(error) => {
                    printer::warning(format!("a connection cannot be accepted: {error}"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

fn prepare_serve(arguments: &ServeArguments) -> Result<TestServer, Explanation> {
    let settings: SslSettings = settings_file::of_server(&arguments.config)?;
    let options = LoadOptions {
        alpn: tls::Alpn::Http1,
        ..LoadOptions::named("tls serve")
    };
    // Nothing of a disabled block is loaded.
    let tls = settings
        .enabled
        .then(|| ServerTls::load(&settings, options))
        .transpose();
    let tls = tls.map_err(|error| Explanation::from(&error))?;
    TestServer::bind(arguments.listen, tls).map_err(|error| {
        Explanation::at_load("cannot_listen", error.to_string()).with_hint("choose another `--listen`")
    })
}

fn show(arguments: &ShowArguments) -> bool {
    let passphrase = match &arguments.passphrase_path {
        None => passphrase::from_environment(),
        Some(path) => match certs::read_passphrase_file(path, "--passphrase-path") {
            Ok(passphrase) => Some(passphrase),
            Err(error) => {
                cannot_show(path, ShowError::File(error), arguments.json);
                return false;
            }
        },
    };
    let mut worked = true;
    for file in &arguments.files {
        match show_file(file, passphrase.as_ref()) {
            Ok(items) if arguments.json => items.iter().for_each(|item| printer::line(json!(item))),
            Ok(items) => items.iter().for_each(printer::line),
            Err(error) => {
                worked = false;
                cannot_show(file, error, arguments.json);
            }
        }
    }
    worked
}

/// What is encrypted is asked for, where somebody can answer and has not done so yet.
fn show_file(file: &Utf8Path, passphrase: Option<&Secret>) -> Result<Vec<Item>, ShowError> {
    let items = diagnose::show(file, passphrase)?;
    let closed = items.iter().any(|item| matches!(item.kind, ItemKind::Encrypted { .. }));
    if !closed || passphrase.is_some() {
        return Ok(items);
    }
    match passphrase::typed(&format!("Passphrase of `{file}`: ")) {
        Some(passphrase) => diagnose::show(file, Some(&passphrase)),
        None => Ok(items),
    }
}

/// Says why a file cannot be shown, in the form of a failed check.
fn cannot_show(file: &Utf8Path, error: ShowError, json: bool) {
    let story = match error {
        ShowError::File(error) => Explanation::from(&SslError::from(error)),
        nothing @ ShowError::Nothing { .. } => {
            Explanation::at_load("no_pem", nothing.to_string()).with_hint("give a PEM, DER or PKCS#12 file")
        }
    };
    if json {
        let mut line = brief(&Report::from(story));
        line["file"] = json!(file);
        printer::line(line);
    } else {
        printer::error(&printer::Hint::error(story.message, story.hint.unwrap_or_default()));
    }
}

/// How outcomes are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Text,
    /// The fields that scripts rely on.
    Json,
    /// With everything that is known.
    DetailedJson,
}

impl Form {
    fn of(json: bool, details: bool) -> Self {
        match (json, details) {
            (false, _) => Self::Text,
            (true, false) => Self::Json,
            (true, true) => Self::DetailedJson,
        }
    }
}

fn print(report: &Report, form: Form) -> bool {
    match form {
        Form::Text => printer::line(report),
        Form::Json => printer::line(brief(report)),
        Form::DetailedJson => printer::line(json!(report)),
    }
    report.ok
}

fn brief(report: &Report) -> Value {
    json!({
        "ok": report.ok,
        "stage": report.stage,
        "error_class": report.error_class,
        "peer_alert": report.peer_alert,
        "message": report.message,
        "hint": report.hint,
    })
}
