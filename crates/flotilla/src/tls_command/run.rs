//! Runs a parsed command line.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tls::{ClientTls, Explanation, LoadOptions, Reloader, ServerTls, SslSettings};
use tokio_util::sync::CancellationToken;
use transport::diagnose::{self, CheckRequest, Report, TestServer};
use transport::{HeaderMap, ProxySettings};

use super::arguments::{CheckArguments, ServeArguments, ShowArguments, TlsArguments, TlsCommand};
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
    // Name look-ups in progress do not hold up the end.
    runtime.shutdown_background();
    i32::from(!worked)
}

async fn check(arguments: &CheckArguments) -> bool {
    let (tls, request) = match prepare_check(arguments) {
        Ok(prepared) => prepared,
        Err(story) => return print(&Report::from(story), arguments.json),
    };
    let stop = CancellationToken::new();
    let reloader = Reloader::new();
    reloader.watch(&tls);
    let reloading = tokio::spawn({
        let (reloader, stop) = (reloader.clone(), stop.clone());
        async move { reloader.run(stop).await }
    });
    let mut worked = true;
    for round in 0..arguments.repeat {
        if round > 0 {
            tokio::time::sleep(arguments.interval).await;
        }
        worked &= print(&diagnose::check(&tls, &request).await, arguments.json);
    }
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
    let tls =
        ClientTls::load(&settings_file::of_client(arguments)?, options).map_err(|error| Explanation::from(&error))?;
    let mut request = CheckRequest::from_url(&arguments.url, arguments.timeout)?;
    request.connect_to = arguments.connect_to;
    request.proxy = arguments.proxy_url.as_ref().map(|url| ProxySettings {
        url: url.clone(),
        headers: arguments.proxy_header.iter().cloned().collect::<HeaderMap>(),
        tls: None,
        disable: false,
    });
    Ok((tls, request))
}

async fn serve(arguments: &ServeArguments) -> bool {
    let server = match prepare_serve(arguments) {
        Ok(server) => server,
        Err(story) => return print(&Report::from(story), arguments.json),
    };
    let address = server.local_addr();
    if arguments.json && arguments.listen.port() == 0 {
        printer::line(json!({ "listening": address.to_string() }));
    } else {
        printer::note(format!("listening on {address}; Ctrl-C ends it"));
    }
    let stop = CancellationToken::new();
    let reloader = Reloader::new();
    reloader.watch(server.tls());
    let reloading = tokio::spawn({
        let stop = stop.clone();
        async move { reloader.run(stop).await }
    });
    let worked = serve_until_signal(&server, arguments.json).await;
    stop.cancel();
    if let Err(error) = reloading.await {
        printer::warning(format!("the watch over certificate files broke: {error}"));
    }
    worked
}

async fn serve_until_signal(server: &TestServer, json: bool) -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        printer::warning("signals cannot be listened to");
        return false;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => return true,
            _ = terminate.recv() => return true,
            served = server.serve_one() => match served {
                Ok(served) => {
                    if !json {
                        printer::line(format!("connection from {}", served.peer));
                    }
                    print(&served.report, json);
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
    if !settings.enabled {
        return Err(Explanation {
            stage: tls::Stage::Load,
            ..Explanation::new("bad_value:enabled", "`ssl.enabled` is false: there is no TLS to serve")
                .with_hint("remove the key, or set it to true")
        });
    }
    let options = LoadOptions {
        alpn: tls::Alpn::Http1,
        ..LoadOptions::named("tls serve")
    };
    let tls = ServerTls::load(&settings, options).map_err(|error| Explanation::from(&error))?;
    TestServer::bind(arguments.listen, tls).map_err(|error| Explanation {
        stage: tls::Stage::Load,
        ..Explanation::new("cannot_listen", error.to_string()).with_hint("choose another `--listen`")
    })
}

fn show(arguments: &ShowArguments) -> bool {
    let passphrase = match &arguments.passphrase_path {
        None => None,
        Some(path) => match certs::read_passphrase_file(path, "--passphrase-path") {
            Ok(passphrase) => Some(passphrase),
            Err(error) => {
                printer::error(&error.into());
                return false;
            }
        },
    };
    let mut worked = true;
    for file in &arguments.files {
        match diagnose::show(file, passphrase.as_ref()) {
            Ok(items) if arguments.json => items.iter().for_each(|item| printer::line(json!(item))),
            Ok(items) => items.iter().for_each(printer::line),
            Err(error) => {
                worked = false;
                if arguments.json {
                    printer::line(json!({ "file": file, "error": error.to_string() }));
                } else {
                    printer::error(&error.into());
                }
            }
        }
    }
    worked
}

fn print(report: &Report, json: bool) -> bool {
    if json {
        printer::line(json!(report));
    } else {
        printer::line(report);
    }
    report.ok
}
