//! Files of the package format -> [`Package`], with an error that names the file and what is wrong in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{DataStream, InputDefinition, Package, PolicyTemplate, StreamDefinition, Var};

const DATA_STREAM_TYPES: [&str; 5] = ["logs", "metrics", "traces", "synthetics", "profiles"];
const MAX_DATA_STREAMS: usize = 500;

/// Why a package was refused. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file that every package has.
    #[error("the package has no `{0}`")]
    Missing(String),
    /// A file that is not what the format says.
    #[error("`{path}` is not valid: {message}")]
    Invalid {
        /// Path below the package's root.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Neither a zip file nor a tar with gzip, or a damaged one.
    #[error("the upload is not a readable zip or tar.gz file: {0}")]
    Archive(String),
    /// A name that points out of the package's folder.
    #[error("the archive has an entry with an unsafe path: `{0}`")]
    UnsafePath(String),
    /// More than one folder at the top, or files beside it.
    #[error("the archive must hold one folder, named `{expected}`, and has `{found}`")]
    WrongRoot {
        /// `{name}-{version}`.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A limit that keeps an upload from filling memory or disk.
    #[error("the archive exceeds the limit of {limit} {unit}")]
    TooBig {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
}

pub(crate) fn invalid(path: &str, message: impl Into<String>) -> PackageError {
    PackageError::Invalid {
        path: path.to_owned(),
        message: message.into(),
    }
}

impl Package {
    /// Reads a package from its files, whose paths are relative to the package's folder.
    ///
    /// # Errors
    /// The first file that is missing or not valid, and why.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, PackageError> {
        let manifest = Manifest::read(&files, "manifest.yml")?;
        let name = manifest.required("name")?;
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_name {
            return Err(invalid(
                "manifest.yml",
                "`name` may only have lower case letters, digits and `_`",
            ));
        }
        let version = manifest.required("version")?;
        semver::Version::parse(&version)
            .map_err(|error| invalid("manifest.yml", format!("`version` is not a semantic version: {error}")))?;
        let kind = manifest.text("type").unwrap_or_else(|| "integration".to_owned());
        if !["integration", "input", "content"].contains(&kind.as_str()) {
            return Err(invalid(
                "manifest.yml",
                format!("`type` is `{kind}`; known are integration, input, content"),
            ));
        }
        let (policy_templates, input_streams) = policy_templates(&files, &manifest, &name, &kind)?;
        let mut data_streams = data_streams(&files, &name)?;
        data_streams.extend(input_streams);
        Ok(Self {
            title: manifest.required("title")?,
            description: manifest.text("description").unwrap_or_default(),
            format_version: manifest.text("format_version").unwrap_or_else(|| "1.0.0".to_owned()),
            categories: manifest.texts("categories"),
            conditions: manifest.conditions(),
            owner: manifest.map.get("owner").cloned().unwrap_or_else(|| json!({})),
            vars: manifest.vars("vars")?,
            cluster_privileges: manifest.cluster_privileges(),
            manifest: manifest.map,
            name,
            version,
            kind,
            policy_templates,
            data_streams,
            files,
        })
    }
}

/// One YAML file that must be a map.
struct Manifest {
    path: String,
    map: Map<String, Value>,
}

impl Manifest {
    fn read(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Result<Self, PackageError> {
        let bytes = files.get(path).ok_or_else(|| PackageError::Missing(path.to_owned()))?;
        let text = std::str::from_utf8(bytes).map_err(|_| invalid(path, "not UTF-8 text"))?;
        match settings::from_yaml_as_written(path, text).map_err(|error| invalid(path, error.to_string()))? {
            Value::Object(map) => Ok(Self {
                path: path.to_owned(),
                map: undotted(map),
            }),
            _ => Err(invalid(path, "not a map")),
        }
    }

    fn nested(&self, map: &Value, what: &str) -> Result<Self, PackageError> {
        let map = map
            .as_object()
            .ok_or_else(|| invalid(&self.path, format!("an entry of `{what}` is not a map")))?;
        Ok(Self {
            path: self.path.clone(),
            map: map.clone(),
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.map.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn required(&self, key: &str) -> Result<String, PackageError> {
        self.text(key)
            .ok_or_else(|| invalid(&self.path, format!("`{key}` is missing or not a text")))
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.map.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let list = self.map.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    fn list(&self, key: &str) -> Result<&[Value], PackageError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(invalid(&self.path, format!("`{key}` is not a list"))),
        }
    }

    fn vars(&self, key: &str) -> Result<Vec<Var>, PackageError> {
        let read = |value: &Value| {
            serde_json::from_value(value.clone())
                .map_err(|error| invalid(&self.path, format!("an entry of `{key}` is not a variable: {error}")))
        };
        self.list(key)?.iter().map(read).collect()
    }

    /// `kibana.version: x` is `{kibana: {version: x}}`.
    fn conditions(&self) -> Value {
        let given = self.map.get("conditions").and_then(Value::as_object).cloned();
        Value::Object(undotted(given.unwrap_or_default()))
    }

    fn cluster_privileges(&self) -> Vec<String> {
        let list = self
            .map
            .get("elasticsearch")
            .and_then(|value| value.pointer("/privileges/cluster"));
        let list = list.and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }
}

/// Manifests write a few keys with dots (`elasticsearch.privileges.indices`); those of the top level are nested here.
fn undotted(map: Map<String, Value>) -> Map<String, Value> {
    let mut nested = Map::new();
    for (key, value) in map {
        insert_at(&mut nested, &key, value);
    }
    nested
}

fn insert_at(map: &mut Map<String, Value>, key: &str, value: Value) {
    let Some((head, rest)) = key.split_once('.') else {
        match (map.get_mut(key), value) {
            // Both ways to write it, one after the other.
            (Some(Value::Object(present)), Value::Object(more)) => present.extend(more),
            (_, value) => {
                map.insert(key.to_owned(), value);
            }
        }
        return;
    };
    if let Some(below) = map.entry(head).or_insert_with(|| json!({})).as_object_mut() {
        insert_at(below, rest, value);
    }
}

type Templates = (Vec<PolicyTemplate>, Vec<DataStream>);

fn policy_templates(
    files: &BTreeMap<String, Vec<u8>>,
    manifest: &Manifest,
    package: &str,
    kind: &str,
) -> Result<Templates, PackageError> {
    let mut templates = Vec::new();
    let mut input_streams = Vec::new();
    for entry in manifest.list("policy_templates")? {
        let entry = manifest.nested(entry, "policy_templates")?;
        if kind == "input" {
            let (template, stream) = input_template(files, &entry, package)?;
            templates.push(template);
            input_streams.push(stream);
        } else {
            templates.push(integration_template(files, &entry)?);
        }
    }
    Ok((templates, input_streams))
}

fn integration_template(files: &BTreeMap<String, Vec<u8>>, entry: &Manifest) -> Result<PolicyTemplate, PackageError> {
    let mut inputs = Vec::new();
    for input in entry.list("inputs")? {
        let input = entry.nested(input, "inputs")?;
        let template = match input.text("template_path") {
            Some(path) => Some(text_file(files, &format!("agent/input/{path}"))?),
            None => None,
        };
        inputs.push(InputDefinition {
            kind: input.required("type")?,
            title: input.text("title").unwrap_or_default(),
            description: input.text("description").unwrap_or_default(),
            vars: input.vars("vars")?,
            template,
        });
    }
    Ok(PolicyTemplate {
        name: entry.required("name")?,
        title: entry.text("title").unwrap_or_default(),
        description: entry.text("description").unwrap_or_default(),
        categories: entry.texts("categories"),
        data_streams: entry
            .map
            .contains_key("data_streams")
            .then(|| entry.texts("data_streams")),
        multiple: entry.flag("multiple", true),
        inputs,
        vars: entry.vars("vars")?,
    })
}

/// A template of an input package is one input with one stream, whose variables are the stream's.
fn input_template(
    files: &BTreeMap<String, Vec<u8>>,
    entry: &Manifest,
    package: &str,
) -> Result<(PolicyTemplate, DataStream), PackageError> {
    let name = entry.required("name")?;
    let input = entry.required("input")?;
    let title = entry.text("title").unwrap_or_default();
    let description = entry.text("description").unwrap_or_default();
    let template_path = entry
        .text("template_path")
        .unwrap_or_else(|| "input.yml.hbs".to_owned());
    let vars = entry.vars("vars")?;
    let stream = StreamDefinition {
        input: input.clone(),
        title: title.clone(),
        description: description.clone(),
        enabled: true,
        template: text_file(files, &format!("agent/input/{template_path}"))?,
        template_path,
        vars,
    };
    let data_stream = DataStream {
        path: format!("{package}.{name}"),
        kind: entry.text("type").unwrap_or_else(|| "logs".to_owned()),
        dataset: format!("{package}.{name}"),
        title: title.clone(),
        hidden: false,
        dataset_is_prefix: false,
        streams: vec![stream],
        elasticsearch: json!({"dynamic_dataset": entry.flag("dynamic_dataset", false)}),
    };
    let template = PolicyTemplate {
        name,
        categories: entry.texts("categories"),
        data_streams: Some(vec![data_stream.path.clone()]),
        multiple: entry.flag("multiple", true),
        inputs: vec![InputDefinition {
            kind: input,
            title: title.clone(),
            description: description.clone(),
            vars: Vec::new(),
            template: None,
        }],
        vars: Vec::new(),
        title,
        description,
    };
    Ok((template, data_stream))
}

fn data_streams(files: &BTreeMap<String, Vec<u8>>, package: &str) -> Result<Vec<DataStream>, PackageError> {
    let folders: Vec<&str> = files
        .keys()
        .filter_map(|path| path.strip_prefix("data_stream/")?.strip_suffix("/manifest.yml"))
        .filter(|folder| !folder.contains('/'))
        .collect();
    if folders.len() > MAX_DATA_STREAMS {
        return Err(PackageError::TooBig {
            limit: MAX_DATA_STREAMS as u64,
            unit: "data streams",
        });
    }
    folders
        .into_iter()
        .map(|folder| data_stream(files, package, folder))
        .collect()
}

fn data_stream(files: &BTreeMap<String, Vec<u8>>, package: &str, folder: &str) -> Result<DataStream, PackageError> {
    let path = format!("data_stream/{folder}/manifest.yml");
    let manifest = Manifest::read(files, &path)?;
    let kind = manifest.text("type").unwrap_or_else(|| "logs".to_owned());
    if !DATA_STREAM_TYPES.contains(&kind.as_str()) {
        return Err(invalid(
            &path,
            format!("`type` is `{kind}`; known are {}", DATA_STREAM_TYPES.join(", ")),
        ));
    }
    let mut streams = Vec::new();
    for entry in manifest.list("streams")? {
        let entry = manifest.nested(entry, "streams")?;
        let template_path = entry
            .text("template_path")
            .unwrap_or_else(|| "stream.yml.hbs".to_owned());
        streams.push(StreamDefinition {
            input: entry.required("input")?,
            title: entry.text("title").unwrap_or_default(),
            description: entry.text("description").unwrap_or_default(),
            enabled: entry.flag("enabled", true),
            vars: entry.vars("vars")?,
            template: text_file(files, &format!("data_stream/{folder}/agent/stream/{template_path}"))?,
            template_path,
        });
    }
    Ok(DataStream {
        path: folder.to_owned(),
        dataset: manifest
            .text("dataset")
            .unwrap_or_else(|| format!("{package}.{folder}")),
        title: manifest.required("title")?,
        hidden: manifest.flag("hidden", false),
        dataset_is_prefix: manifest.flag("dataset_is_prefix", false),
        elasticsearch: manifest.map.get("elasticsearch").cloned().unwrap_or_else(|| json!({})),
        kind,
        streams,
    })
}

fn text_file(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Result<String, PackageError> {
    let bytes = files.get(path).ok_or_else(|| PackageError::Missing(path.to_owned()))?;
    String::from_utf8(bytes.clone()).map_err(|_| invalid(path, "not UTF-8 text"))
}
