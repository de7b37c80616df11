//! Ids and fingerprints of events.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::settings::Settings;
use super::{Action, Parsed};
use crate::fields::{self, Fields};

#[derive(Debug)]
struct AddId {
    target: String,
}

/// A random id, in the alphabet that Elasticsearch uses for its own.
pub(super) fn add_id(settings: &Settings<'_>) -> Parsed {
    match settings.text("type")?.unwrap_or("elasticsearch") {
        "elasticsearch" => {}
        other => return Err(format!("`type` `{other}` is not known; it may be `elasticsearch`")),
    }
    Ok(Box::new(AddId {
        target: settings.text("target_field")?.unwrap_or("@metadata._id").to_owned(),
    }))
}

impl Action for AddId {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let id = URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
        fields::put(event, &self.target, Value::String(id)).map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct Fingerprint {
    fields: Vec<String>,
    target: String,
    method: fn(&[u8]) -> Vec<u8>,
    encoding: Encoding,
    ignore_missing: bool,
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Hex,
    Base64,
}

pub(super) fn fingerprint(settings: &Settings<'_>) -> Parsed {
    let mut fields = settings.required_texts("fields")?;
    fields.sort();
    fields.dedup();
    let method: fn(&[u8]) -> Vec<u8> = match settings.text("method")?.unwrap_or("sha256") {
        "sha256" => |bytes| Sha256::digest(bytes).to_vec(),
        "sha384" => |bytes| Sha384::digest(bytes).to_vec(),
        "sha512" => |bytes| Sha512::digest(bytes).to_vec(),
        other => {
            return Err(format!(
                "`method` `{other}` is not supported; it may be `sha256`, `sha384` or `sha512`"
            ));
        }
    };
    let encoding = match settings.text("encoding")?.unwrap_or("hex") {
        "hex" => Encoding::Hex,
        "base64" => Encoding::Base64,
        other => {
            return Err(format!(
                "`encoding` `{other}` is not supported; it may be `hex` or `base64`"
            ));
        }
    };
    Ok(Box::new(Fingerprint {
        fields,
        target: settings.text("target_field")?.unwrap_or("fingerprint").to_owned(),
        method,
        encoding,
        ignore_missing: settings.boolean("ignore_missing", false)?,
    }))
}

impl Action for Fingerprint {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let mut text = String::new();
        for field in &self.fields {
            let value = match fields::get(event, field) {
                Some(Value::String(value)) => value.clone(),
                Some(Value::Object(_)) => return Err(format!("`{field}` is a group of fields, not a value")),
                Some(other) => other.to_string(),
                None if self.ignore_missing => continue,
                None => return Err(format!("there is no field `{field}`")),
            };
            text.push('|');
            text.push_str(field);
            text.push('|');
            text.push_str(&value);
        }
        text.push('|');
        let hash = (self.method)(text.as_bytes());
        let encoded = match self.encoding {
            Encoding::Hex => hex::encode(hash),
            Encoding::Base64 => STANDARD.encode(hash),
        };
        fields::put(event, &self.target, Value::String(encoded)).map_err(|error| error.to_string())
    }
}
