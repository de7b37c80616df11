//! The `ssl` block of a file, with flags on top.

use camino::Utf8Path;
use serde_json::{Map, Value, json};
use tls::{Explanation, SslSettings, Stage};

use super::arguments::CheckArguments;

/// The most that is read of a settings file.
const MAX_BYTES: u64 = 4 << 20;

/// The settings of a client: the file's, overridden by flags.
pub(super) fn of_client(arguments: &CheckArguments) -> Result<SslSettings, Explanation> {
    let mut block = match &arguments.config {
        Some(path) => read(path)?,
        None => Map::new(),
    };
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            block.insert(key.to_owned(), value);
        }
    };
    let text = |value: &Option<String>| value.as_ref().map(|text| json!(text));
    let list = |values: &[String]| (!values.is_empty()).then(|| json!(values));
    set("certificate_authorities", list(&arguments.certificate_authorities));
    set("ca_trusted_fingerprint", text(&arguments.ca_trusted_fingerprint));
    set("ca_sha256", list(&arguments.ca_sha256));
    set("certificate", text(&arguments.certificate));
    set("key", text(&arguments.key));
    set("key_passphrase_path", text(&arguments.key_passphrase_path));
    set("verification_mode", text(&arguments.verification_mode));
    SslSettings::from_value(&Value::Object(block)).map_err(|error| Explanation::from(&error))
}

/// The settings of a server.
pub(super) fn of_server(path: &Utf8Path) -> Result<SslSettings, Explanation> {
    SslSettings::from_value(&Value::Object(read(path)?)).map_err(|error| Explanation::from(&error))
}

fn read(path: &Utf8Path) -> Result<Map<String, Value>, Explanation> {
    let failed = |class: &str, message: String, hint: &str| Explanation {
        stage: Stage::Load,
        ..Explanation::new(class, message).with_hint(hint)
    };
    let text = read_text(path).map_err(|error| {
        failed(
            "file_unreadable",
            format!("cannot read the settings: {error}"),
            "check the path after `--config`",
        )
    })?;
    let value = settings::from_yaml(path.as_str(), &text).map_err(|error| {
        failed(
            "bad_value:config",
            error.to_string(),
            "write it as YAML with one `ssl` block",
        )
    })?;
    match value {
        Value::Object(mut file) => match file.remove("ssl") {
            Some(Value::Object(block)) => Ok(block),
            None | Some(Value::Null) if file.is_empty() => Ok(Map::new()),
            _ => Err(failed(
                "bad_value:ssl",
                format!("`{path}` holds no `ssl` block"),
                "put the settings below `ssl:`, or write them dotted, as in `ssl.verification_mode: full`",
            )),
        },
        _ => Err(failed(
            "bad_value:config",
            format!("`{path}` holds no settings"),
            "write it as YAML with one `ssl` block",
        )),
    }
}

fn read_text(path: &Utf8Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = fs_err::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is larger than 4 MiB",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("ssl.yml");
        fs_err::write(&path, text).unwrap();
        let class = of_server(&path).map_or_else(|story| story.class, |_| "none".to_owned());
        assert_eq!(class, expected, "{text}");
    }

    #[test]
    fn a_file_holds_one_block_in_either_form() {
        check("ssl:\n  verification_mode: none\n", "none");
        check(
            "ssl.verification_mode: none\nssl.certificate_reload.enabled: false\n",
            "none",
        );
        check("ssl:\n", "none");
        check("", "none");
        check("ssl: yes\n", "bad_value:ssl");
        check("verification_mode: none\n", "bad_value:ssl");
        check("ssl:\n  verification_mode: nine\n", "bad_value:verification_mode");
        check("ssl: [", "bad_value:config");
    }
}
