//! The diagnostics archive, and its way to Fleet. Secrets are masked before anything is put in.

use std::io::{self, Cursor, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8Path;
use clock::SharedClock;
use fs_err as fs;
use http::Method;
use protocol::{TransitHash, UPLOADS_PATH, UploadBeginResponse, UploadCompleteRequest};
use serde_json::json;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::context::Context;
use crate::fleet_client::{FleetClient, FleetError, FleetRequest};
use crate::logs::log_files;
use crate::state::Enrollment;

/// Newest log bytes that are put in.
const MAX_LOG_BYTES: u64 = 20 * 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Packs `files`, facts about the program and the log files. Blocking.
pub(crate) fn archive(context: &Context, files: Vec<(String, String)>) -> io::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let build = &context.build;
    let version =
        json!({"version": build.version, "commit": build.commit, "build_time": build.time, "snapshot": build.snapshot});
    let mut put = |name: &str, bytes: &[u8]| -> io::Result<()> {
        zip.start_file(name, options).map_err(io::Error::other)?;
        zip.write_all(bytes)
    };
    put("version.txt", version.to_string().as_bytes())?;
    for (name, text) in files {
        put(&name, text.as_bytes())?;
    }
    let mut left = MAX_LOG_BYTES;
    for path in log_files(&context.paths.log_files()).unwrap_or_default().iter().rev() {
        let bytes = tail(path, left)?;
        put(&format!("logs/{}", path.file_name().unwrap_or("log")), &bytes)?;
        left -= bytes.len() as u64;
        if left == 0 {
            break;
        }
    }
    Ok(zip.finish().map_err(io::Error::other)?.into_inner())
}

fn tail(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Seek;
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the upload failed: {0}")]
    Fleet(#[from] FleetError),
    #[error("the upload failed: the server wants chunks of 0 bytes")]
    NoChunkSize,
}

/// Sends an archive to Fleet in chunks, with the connection of the check-ins. Returns the upload's id.
pub(crate) async fn upload(
    client: &FleetClient,
    enrollment: &Enrollment,
    action_id: &str,
    archive: Vec<u8>,
    clock: &SharedClock,
) -> Result<String, UploadError> {
    let archive = Bytes::from(archive);
    let name = format!(
        "elastic-agent-diagnostics-{}.zip",
        clock.now().strftime("%Y-%m-%dT%H-%M-%SZ-00")
    );
    let begin = json!({
        "action_id": action_id,
        "agent_id": enrollment.agent_id,
        "src": "agent",
        "file": {
            "size": archive.len(), "name": name, "ext": "zip", "mime_type": "application/zip",
            "hash": {"sha256": "", "md5": ""},
        },
        "contents": null,
    });
    let answer = post(client, enrollment, UPLOADS_PATH, begin.to_string().into()).await?;
    let started: UploadBeginResponse = serde_json::from_slice(&answer).map_err(|error| FleetError::Unreadable {
        host: client.settings().hosts.join(", "),
        error,
    })?;
    if started.chunk_size == 0 {
        return Err(UploadError::NoChunkSize);
    }
    let path = format!("{UPLOADS_PATH}/{}", started.upload_id);
    let mut hashes = Sha256::new();
    let size = usize::try_from(started.chunk_size).unwrap_or(usize::MAX);
    for (number, start) in (0..archive.len()).step_by(size).enumerate() {
        let chunk = archive.slice(start..archive.len().min(start.saturating_add(size)));
        let hash = Sha256::digest(&chunk);
        hashes.update(hash);
        let request = FleetRequest {
            method: Method::PUT,
            path: &format!("{path}/{number}"),
            api_key: Some(&enrollment.access_api_key),
            body: chunk,
            gzip: false,
            headers: vec![("x-chunk-sha2", hex::encode(hash))],
            timeout: REQUEST_TIMEOUT,
        };
        client.send(request).await?;
    }
    let complete = UploadCompleteRequest {
        transithash: TransitHash {
            sha256: hex::encode(hashes.finalize()),
        },
    };
    post(
        client,
        enrollment,
        &path,
        serde_json::to_vec(&complete).unwrap_or_default().into(),
    )
    .await?;
    Ok(started.upload_id)
}

async fn post(client: &FleetClient, enrollment: &Enrollment, path: &str, body: Bytes) -> Result<Bytes, FleetError> {
    let request = FleetRequest {
        method: Method::POST,
        path,
        api_key: Some(&enrollment.access_api_key),
        body,
        gzip: false,
        headers: Vec::new(),
        timeout: REQUEST_TIMEOUT,
    };
    client.send(request).await
}
