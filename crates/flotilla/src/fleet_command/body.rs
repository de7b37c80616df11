//! Bodies of requests: a file, and single settings over it.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Map, Value};

use crate::printer::Hint;

/// The largest file that is read, bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

/// What is sent.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BodyArguments {
    /// Fields as JSON or YAML; `-` reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(super) file: Option<String>,
    /// One field, as YAML: `ssl.client_auth=required`; repeatable, over those of the file
    #[arg(short = 's', long = "set", value_name = "FIELD=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, Value)>,
}

impl BodyArguments {
    /// The body, if anything was given.
    pub(super) fn read(&self) -> Result<Option<Value>> {
        if self.file.is_none() && self.set.is_empty() {
            return Ok(None);
        }
        self.object().map(|fields| Some(Value::Object(fields)))
    }

    /// The fields that were given; none is an empty object.
    pub(super) fn object(&self) -> Result<Map<String, Value>> {
        let mut fields = match &self.file {
            None => Map::new(),
            Some(file) => match settings::from_yaml_as_written(file, &text_of(file)?)? {
                Value::Object(fields) => fields,
                Value::Null => Map::new(),
                _ => {
                    return Err(Hint::error(
                        format!("`{file}`, named by `--file`, holds no object"),
                        "write fields with their values: `name: web`",
                    ));
                }
            },
        };
        for (path, value) in &self.set {
            set(&mut fields, path, value.clone())?;
        }
        Ok(fields)
    }

    /// As [`BodyArguments::object`]; nothing at all is an error.
    pub(super) fn changes(&self) -> Result<Map<String, Value>> {
        let fields = self.object()?;
        ensure!(
            !fields.is_empty(),
            "nothing to change was given: use `--set FIELD=VALUE` or `--file FILE`"
        );
        Ok(fields)
    }
}

fn text_of(file: &str) -> Result<String> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().take(LIMIT + 1).read_to_string(&mut text)
    } else {
        fs_err::File::open(file)?.take(LIMIT + 1).read_to_string(&mut text)
    };
    read.with_context(|| format!("cannot read `{file}`, named by `--file`"))?;
    ensure!(
        text.len() as u64 <= LIMIT,
        "`{file}`, named by `--file`, is larger than {LIMIT} bytes"
    );
    Ok(text)
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    let (path, value) = text
        .split_once('=')
        .filter(|(path, _)| !path.is_empty())
        .ok_or("write `field=value`")?;
    let value = if value.is_empty() {
        Value::String(String::new())
    } else {
        settings::from_yaml_as_written("--set", value).map_err(|error| error.to_string())?
    };
    Ok((path.to_owned(), value))
}

fn set(fields: &mut Map<String, Value>, path: &str, value: Value) -> Result<()> {
    let Some((first, rest)) = path.split_once('.') else {
        fields.insert(path.to_owned(), value);
        return Ok(());
    };
    let inner = fields.entry(first).or_insert_with(|| Value::Object(Map::new()));
    match inner {
        Value::Object(inner) => set(inner, rest, value),
        _ => Err(Hint::error(
            format!("`{first}` is a value, so `{path}` cannot be set inside it"),
            "set the whole of it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(file: Option<&str>, set: &[&str]) -> BodyArguments {
        BodyArguments {
            file: file.map(str::to_owned),
            set: set.iter().map(|text| assignment(text).unwrap()).collect(),
        }
    }

    #[test]
    fn settings_are_yaml_and_go_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.yml");
        fs_err::write(&path, "name: web\nssl:\n  client_auth: none\n").unwrap();
        let given = body(
            path.to_str(),
            &[
                "ssl.client_auth=required",
                "is_default=true",
                "host_urls=[a, b]",
                "proxy_id=null",
            ],
        );
        assert_eq!(
            Value::Object(given.object().unwrap()),
            json!({"name": "web", "ssl": {"client_auth": "required"}, "is_default": true, "host_urls": ["a", "b"], "proxy_id": null})
        );
    }

    #[test]
    fn what_makes_no_object_is_refused() {
        assert!(assignment("name").is_err() && assignment("=x").is_err());
        let error = body(None, &["name=web", "name.first=x"]).object().unwrap_err();
        assert!(error.to_string().contains("name.first"), "{error}");
        assert!(body(None, &[]).changes().is_err());
        assert_eq!(body(None, &[]).read().unwrap(), None);
    }
}
