//! What a package holds, once it has been read and checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One version of a package.
#[derive(Clone, Debug)]
pub struct Package {
    /// `[a-z0-9_]+`.
    pub name: String,
    /// For people.
    pub title: String,
    /// A semantic version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// `integration`, `input` or `content`.
    pub kind: String,
    /// Version of the package format.
    pub format_version: String,
    /// Ids of categories.
    pub categories: Vec<String>,
    /// Who it can run under: `kibana.version` and the like, as in the manifest.
    pub conditions: Value,
    /// `{type, github}`.
    pub owner: Value,
    /// The ways to use it.
    pub policy_templates: Vec<PolicyTemplate>,
    /// What it writes to.
    pub data_streams: Vec<DataStream>,
    /// Variables of the package as a whole.
    pub vars: Vec<Var>,
    /// Cluster privileges that its agents' keys need.
    pub cluster_privileges: Vec<String>,
    /// The whole manifest, for what has no field of its own here.
    pub manifest: Map<String, Value>,
    /// Path below the package's root to content.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// One way to use a package.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyTemplate {
    /// Unique in the package.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// Ids of categories, beside those of the package.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Folder names of the data streams that belong to it; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_streams: Option<Vec<String>>,
    /// Whether one policy may use it several times.
    pub multiple: bool,
    /// The inputs that it runs.
    pub inputs: Vec<InputDefinition>,
    /// Variables of the template.
    pub vars: Vec<Var>,
}

/// An input of a policy template.
#[derive(Clone, Debug, Serialize)]
pub struct InputDefinition {
    /// The agent's input type, such as `logfile`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// Variables of the input.
    pub vars: Vec<Var>,
    /// The template text of the input itself.
    #[serde(skip)]
    pub template: Option<String>,
}

/// A data stream that a package writes to.
#[derive(Clone, Debug, Serialize)]
pub struct DataStream {
    /// Name of its folder.
    pub path: String,
    /// `logs`, `metrics`, `traces`, `synthetics` or `profiles`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Second part of the data stream's name.
    pub dataset: String,
    /// For people.
    pub title: String,
    /// Its name starts with a dot.
    pub hidden: bool,
    /// It writes to every dataset below its own, too.
    pub dataset_is_prefix: bool,
    /// The streams that feed it.
    pub streams: Vec<StreamDefinition>,
    /// Index mode, settings, mappings, privileges, as in the manifest.
    pub elasticsearch: Value,
}

/// A stream of a data stream: one input type and its template.
#[derive(Clone, Debug, Serialize)]
pub struct StreamDefinition {
    /// The agent's input type.
    pub input: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// On in a new package policy.
    pub enabled: bool,
    /// Variables of the stream.
    pub vars: Vec<Var>,
    /// The template text.
    #[serde(skip)]
    pub template: String,
    /// Where the template is.
    pub template_path: String,
}

/// A variable that a template reads.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Var {
    /// May have dots.
    pub name: String,
    /// `bool`, `email`, `integer`, `password`, `select`, `text`, `textarea`, `time_zone`, `url`, `yaml` or `duration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// A list of values.
    #[serde(default)]
    pub multi: bool,
    /// Must have a value.
    #[serde(default)]
    pub required: bool,
    /// Shown without a click on the advanced options.
    #[serde(default = "yes")]
    pub show_user: bool,
    /// The value of a new package policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Kept apart and never shown again.
    #[serde(default)]
    pub secret: bool,
    /// Everything else in the manifest.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn yes() -> bool {
    true
}

impl Package {
    /// The content of a file of the package.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether it has one input and no data streams of its own: a package of type `input`.
    pub fn is_input(&self) -> bool {
        self.kind == "input"
    }

    /// The data stream of that dataset.
    pub fn data_stream(&self, dataset: &str) -> Option<&DataStream> {
        self.data_streams.iter().find(|stream| stream.dataset == dataset)
    }

    /// The policy template of that name.
    pub fn policy_template(&self, name: &str) -> Option<&PolicyTemplate> {
        self.policy_templates.iter().find(|template| template.name == name)
    }

    /// Whether the package, or one of its policy templates, belongs to a category or to one below it.
    pub fn is_in_category(&self, id: &str) -> bool {
        let own = self.policy_templates.iter().flat_map(|template| &template.categories);
        self.categories.iter().chain(own).any(|category| {
            let above = crate::categories::category(category).and_then(|(_, above)| above);
            category == id || above.is_some_and(|above| above.id == id)
        })
    }

    /// `ga`, `beta` or `experimental`.
    pub fn release(&self) -> &'static str {
        match semver::Version::parse(&self.version) {
            Ok(version) if !version.pre.is_empty() => "beta",
            Ok(version) if version.major == 0 => "experimental",
            _ => "ga",
        }
    }

    /// The data streams that belong to `template`, in the package's order.
    pub fn data_streams_of<'a>(&'a self, template: &'a PolicyTemplate) -> impl Iterator<Item = &'a DataStream> {
        self.data_streams.iter().filter(|stream| {
            template
                .data_streams
                .as_ref()
                .is_none_or(|names| names.contains(&stream.path))
        })
    }
}

impl DataStream {
    /// The stream that `input` feeds.
    pub fn stream(&self, input: &str) -> Option<&StreamDefinition> {
        self.streams.iter().find(|stream| stream.input == input)
    }

    /// `elasticsearch.privileges.indices`, when the manifest has it.
    pub fn index_privileges(&self) -> Option<Vec<String>> {
        let list = self.elasticsearch.pointer("/privileges/indices")?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// `elasticsearch.index_mode`: `time_series` or `logsdb`.
    pub fn index_mode(&self) -> Option<&str> {
        let mode = self.elasticsearch.get("index_mode").and_then(Value::as_str);
        mode.filter(|mode| matches!(*mode, "time_series" | "logsdb"))
    }

    /// `elasticsearch.dynamic_dataset`: events choose their dataset.
    pub fn has_dynamic_dataset(&self) -> bool {
        self.flag("dynamic_dataset")
    }

    /// `elasticsearch.dynamic_namespace`: events choose their namespace.
    pub fn has_dynamic_namespace(&self) -> bool {
        self.flag("dynamic_namespace")
    }

    fn flag(&self, name: &str) -> bool {
        self.elasticsearch.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}
