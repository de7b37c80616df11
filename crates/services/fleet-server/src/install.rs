//! `GET /install`: this program for bare hosts, and the script that fetches it and joins.
//!
//! One pasted line checks the server by its key, reads the script, and the script checks the program by the SHA-512 that
//! stands in it: nothing runs that was not checked, and no request leaves the user's network. The routes are apart from
//! those of the agent protocol and hold no secret; whoever serves a Fleet Server merges them in.

use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use camino::{Utf8Path, Utf8PathBuf};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, RANGE};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;

/// A program to hand out.
#[derive(Clone, Debug)]
pub struct Program {
    /// As `uname -m` says it: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Where it is.
    pub path: Utf8PathBuf,
}

#[derive(Debug)]
struct Shelf {
    programs: Vec<(Program, Mutex<Option<Hashed>>)>,
}

/// The hash of a program, and the file that it was read from: one that takes its place has another.
#[derive(Debug)]
struct Hashed {
    of: FileMark,
    hash: String,
}

/// What differs when another file, or another content, stands at the same place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FileMark {
    inode: u64,
    size: u64,
    modified_ns: i128,
}

impl FileMark {
    fn of(file: &std::fs::Metadata) -> Self {
        Self {
            inode: file.ino(),
            size: file.size(),
            modified_ns: i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec()),
        }
    }
}

/// The routes `/install`, `/install/flotilla-linux-<architecture>` and, behind it, `.sha512`.
pub fn router(programs: Vec<Program>) -> Router {
    let programs = programs
        .into_iter()
        .map(|program| (program, Mutex::new(None)))
        .collect();
    Router::new()
        .route("/install", get(script))
        .route("/install/{file}", get(file))
        .with_state(Arc::new(Shelf { programs }))
}

impl Shelf {
    /// SHA-512 of a program, hex; read once for each file that stands there.
    async fn hash(&self, architecture: &str) -> std::io::Result<Option<String>> {
        let Some((program, known)) = self.find(architecture) else {
            return Ok(None);
        };
        let mut known = known.lock().await;
        let mark = FileMark::of(&fs_err::tokio::metadata(&program.path).await?);
        if let Some(hashed) = known.as_ref().filter(|hashed| hashed.of == mark) {
            return Ok(Some(hashed.hash.clone()));
        }
        let path = program.path.clone();
        let read = tokio::task::spawn_blocking(move || read_hash(&path)).await;
        let hashed = read.map_err(std::io::Error::other)??;
        let hash = hashed.hash.clone();
        *known = Some(hashed);
        Ok(Some(hash))
    }

    fn find(&self, architecture: &str) -> Option<&(Program, Mutex<Option<Hashed>>)> {
        self.programs
            .iter()
            .find(|(program, _)| program.architecture == architecture)
    }
}

fn read_hash(path: &Utf8Path) -> std::io::Result<Hashed> {
    let mut context = digest::Context::new(&digest::SHA512);
    let mut file = fs_err::File::open(path)?;
    let of = FileMark::of(&file.metadata()?);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => {
                let hash = hex::encode(context.finish());
                return Ok(Hashed { of, hash });
            }
            read => context.update(&buffer[..read]),
        }
    }
}

async fn script(State(shelf): State<Arc<Shelf>>, uri: http::Uri, headers: HeaderMap) -> Response {
    // HTTP/2 has the host in the request's target, HTTP/1.1 in the header.
    let of_header = || headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(of_header)
        .unwrap_or_default();
    let plain = |character: char| character.is_ascii_alphanumeric() || ".-:[]".contains(character);
    if host.is_empty() || !host.chars().all(plain) {
        return (StatusCode::BAD_REQUEST, "the header `host` names no host\n").into_response();
    }
    let mut cases = String::new();
    for (program, _) in &shelf.programs {
        let architecture = &program.architecture;
        match shelf.hash(architecture).await {
            Ok(Some(hash)) => {
                let _infallible = writeln!(cases, "        {architecture}) sum={hash} ;;");
            }
            Ok(None) => {}
            Err(error) => return unreadable(&error),
        }
    }
    let text = include_str!("install.sh")
        .replace("@HOST@", host)
        .replace("@CASES@", cases.trim_end());
    ([(CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], text).into_response()
}

async fn file(State(shelf): State<Arc<Shelf>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let not_found = || (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    let Some(rest) = name.strip_prefix("flotilla-linux-") else {
        return not_found();
    };
    if let Some(architecture) = rest.strip_suffix(".sha512") {
        return match shelf.hash(architecture).await {
            Ok(Some(hash)) => format!("{hash}  flotilla-linux-{architecture}\n").into_response(),
            Ok(None) => not_found(),
            Err(error) => unreadable(&error),
        };
    }
    let Some((program, _)) = shelf.find(rest) else {
        return not_found();
    };
    match deliver(program, headers.get(RANGE).and_then(|range| range.to_str().ok())).await {
        Ok(response) => response,
        Err(error) => unreadable(&error),
    }
}

async fn deliver(program: &Program, range: Option<&str>) -> std::io::Result<Response> {
    let mut file = fs_err::tokio::File::open(&program.path).await?;
    let length = file.metadata().await?.len();
    let common = [(CONTENT_TYPE, "application/octet-stream"), (ACCEPT_RANGES, "bytes")];
    let Some(wanted) = range.map(|range| single_range(range, length)) else {
        let body = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024));
        return Ok((common, [(CONTENT_LENGTH, length.to_string())], body).into_response());
    };
    let Some((first, last)) = wanted else {
        let all = [(CONTENT_RANGE, format!("bytes */{length}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
    };
    file.seek(std::io::SeekFrom::Start(first)).await?;
    let size = last - first + 1;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(size), 64 * 1024));
    let part = [
        (CONTENT_LENGTH, size.to_string()),
        (CONTENT_RANGE, format!("bytes {first}-{last}/{length}")),
    ];
    Ok((StatusCode::PARTIAL_CONTENT, common, part, body).into_response())
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`; `None` when it cannot be had.
fn single_range(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first, last) {
        ("", count) => (
            length.checked_sub(count.parse::<u64>().ok()?.min(length))?,
            length.checked_sub(1)?,
        ),
        (first, "") => (first.parse().ok()?, length.checked_sub(1)?),
        (first, last) => (
            first.parse().ok()?,
            last.parse::<u64>().ok()?.min(length.checked_sub(1)?),
        ),
    };
    (first <= last).then_some((first, last))
}

fn unreadable(error: &std::io::Error) -> Response {
    tracing::error!(%error, "the program cannot be handed out");
    (StatusCode::SERVICE_UNAVAILABLE, "the program cannot be read\n").into_response()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn ranges_are_single_and_inside() {
        let check =
            |range: &str, expected: Option<(u64, u64)>| assert_eq!(single_range(range, 10), expected, "{range}");
        check("bytes=0-3", Some((0, 3)));
        check("bytes=4-", Some((4, 9)));
        check("bytes=-4", Some((6, 9)));
        check("bytes=-40", Some((0, 9)));
        check("bytes=8-40", Some((8, 9)));
        check("bytes=10-", None);
        check("bytes=5-4", None);
        check("bytes=0-1,3-4", None);
        check("lines=0-1", None);
        assert_eq!(single_range("bytes=0-", 0), None);
    }

    async fn get(path: &str, header: (&str, &str)) -> (StatusCode, HeaderMap, String) {
        let folder = tempfile::tempdir().unwrap();
        let program = Utf8PathBuf::from_path_buf(folder.path().join("program")).unwrap();
        fs_err::write(&program, "0123456789").unwrap();
        let router = router(vec![Program {
            architecture: "x86_64".to_owned(),
            path: program,
        }]);
        let request = Request::get(path)
            .header(header.0, header.1)
            .body(Body::empty())
            .unwrap();
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn script_and_program_belong_together() {
        let (_, _, sum) = get("/install/flotilla-linux-x86_64.sha512", ("host", "fleet")).await;
        let sum = sum.split_whitespace().next().unwrap().to_owned();
        assert_eq!(sum.len(), 128);
        let (status, _, script) = get("/install", ("host", "fleet.example:8220")).await;
        assert_eq!(status, 200);
        assert!(script.contains(&format!("x86_64) sum={sum}")), "{script}");
        assert!(
            script.contains("https://fleet.example:8220/install") && !script.contains("@HOST@"),
            "{script}"
        );
        let (status, headers, body) = get("/install/flotilla-linux-x86_64", ("range", "bytes=2-4")).await;
        assert_eq!((status.as_u16(), body.as_str()), (206, "234"));
        assert_eq!(headers[CONTENT_RANGE], "bytes 2-4/10");
        let (status, headers, _) = get("/install/flotilla-linux-x86_64", ("range", "bytes=10-")).await;
        assert_eq!(
            (status.as_u16(), &headers[CONTENT_RANGE]),
            (416, &http::HeaderValue::from_static("bytes */10"))
        );
    }

    /// As an upgrade of this program's own package does it under a server that runs.
    #[tokio::test]
    async fn a_program_that_was_replaced_has_its_own_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("program")).unwrap();
        let shelf = Shelf {
            programs: vec![(
                Program {
                    architecture: "x86_64".to_owned(),
                    path: path.clone(),
                },
                Mutex::new(None),
            )],
        };
        fs_err::write(&path, "0123456789").unwrap();
        let before = shelf.hash("x86_64").await.unwrap().unwrap();
        assert_eq!(shelf.hash("x86_64").await.unwrap().as_ref(), Some(&before));
        let beside = folder.path().join("beside");
        fs_err::write(&beside, "9876543210").unwrap();
        fs_err::rename(&beside, &path).unwrap();
        let after = shelf.hash("x86_64").await.unwrap().unwrap();
        assert_ne!(after, before);
        assert_eq!(after, read_hash(&path).unwrap().hash);
    }

    #[tokio::test]
    async fn the_host_of_an_http_2_request_is_known() {
        let (status, _, script) = get("https://fleet.example:8220/install", ("accept", "*/*")).await;
        assert_eq!(status, 200);
        assert!(script.contains("https://fleet.example:8220/install"), "{script}");
    }

    #[tokio::test]
    async fn nothing_else_is_handed_out() {
        for path in [
            "/install/flotilla-linux-sparc",
            "/install/..%2fetc%2fpasswd",
            "/install/program",
        ] {
            assert_eq!(get(path, ("host", "fleet")).await.0, 404, "{path}");
        }
        assert_eq!(get("/install", ("host", "fleet$(reboot)")).await.0, 400);
    }
}
