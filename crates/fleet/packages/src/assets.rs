//! What an installation puts into the store: index templates with mappings from the field definitions, and pipelines.
//!
//! Source: packages, what an installation creates.

use serde_json::{Map, Value, json};

use crate::manifest::{PackageError, invalid};
use crate::model::{DataStream, Package};

/// A named body for the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    /// Template or pipeline name.
    pub name: String,
    /// `index_template` or `ingest_pipeline`.
    pub kind: &'static str,
    /// As in the Elasticsearch API.
    pub body: Value,
}

impl Package {
    /// Everything that the package installs.
    ///
    /// # Errors
    /// A pipeline or field definition that is not valid.
    pub fn assets(&self) -> Result<Vec<Asset>, PackageError> {
        let mut assets = Vec::new();
        for data_stream in self.data_streams.iter().filter(|_| !self.is_input()) {
            assets.extend(self.pipelines(data_stream)?);
            assets.push(self.index_template(data_stream)?);
        }
        Ok(assets)
    }

    fn pipelines(&self, data_stream: &DataStream) -> Result<Vec<Asset>, PackageError> {
        let folder = format!("data_stream/{}/elasticsearch/ingest_pipeline/", data_stream.path);
        let mut pipelines = Vec::new();
        for path in self.paths().filter(|path| path.starts_with(&folder)) {
            let file = &path[folder.len()..];
            let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
            let text =
                std::str::from_utf8(self.file(path).unwrap_or_default()).map_err(|_| invalid(path, "not UTF-8"))?;
            let text = with_pipeline_names(text, |name| self.pipeline_name(data_stream, name));
            let mut body =
                settings::from_yaml_as_written(path, &text).map_err(|error| invalid(path, error.to_string()))?;
            if stem == "default" {
                self.add_custom_pipelines(data_stream, &mut body);
            }
            pipelines.push(Asset {
                name: self.pipeline_name(data_stream, stem),
                kind: "ingest_pipeline",
                body,
            });
        }
        Ok(pipelines)
    }

    /// The entry pipeline ends with those that users may add under these names.
    fn add_custom_pipelines(&self, data_stream: &DataStream, body: &mut Value) {
        let (kind, package, dataset) = (&data_stream.kind, &self.name, &data_stream.dataset);
        let names = [
            "global@custom".to_owned(),
            format!("{kind}@custom"),
            format!("{kind}-{package}.integration@custom"),
            format!("{kind}-{dataset}@custom"),
        ];
        if let Some(processors) = body.get_mut("processors").and_then(Value::as_array_mut) {
            let call = |name: String| json!({"pipeline": {"name": name, "ignore_missing_pipeline": true}});
            processors.extend(names.map(call));
        }
    }

    fn pipeline_name(&self, data_stream: &DataStream, file: &str) -> String {
        let entry = format!("{}-{}-{}", data_stream.kind, data_stream.dataset, self.version);
        if file == "default" {
            entry
        } else {
            format!("{entry}-{file}")
        }
    }

    fn index_template(&self, data_stream: &DataStream) -> Result<Asset, PackageError> {
        let dot = if data_stream.hidden { "." } else { "" };
        let name = format!("{dot}{}-{}", data_stream.kind, data_stream.dataset);
        let (pattern, priority) = if data_stream.dataset_is_prefix {
            (format!("{name}.*-*"), 150)
        } else {
            (format!("{name}-*"), 200)
        };
        let mut settings = json!({});
        let entry = format!(
            "data_stream/{}/elasticsearch/ingest_pipeline/default.",
            data_stream.path
        );
        if self.paths().any(|path| path.starts_with(&entry)) {
            settings["index"]["default_pipeline"] = self.pipeline_name(data_stream, "default").into();
        }
        if let Some(mode) = data_stream.index_mode() {
            settings["index"]["mode"] = mode.into();
        }
        let mut template = json!({"settings": settings, "mappings": self.mappings(data_stream)?});
        // What the manifest says itself stands over what follows from the fields.
        for part in ["settings", "mappings"] {
            if let Some(given) = data_stream.elasticsearch.pointer(&format!("/index_template/{part}")) {
                merge(&mut template[part], given);
            }
        }
        let body = json!({
            "index_patterns": [pattern], "priority": priority, "data_stream": {"hidden": data_stream.hidden},
            "template": template,
            "_meta": {"managed_by": "fleet", "managed": true, "package": {"name": self.name}},
        });
        Ok(Asset {
            name,
            kind: "index_template",
            body,
        })
    }

    fn mappings(&self, data_stream: &DataStream) -> Result<Value, PackageError> {
        let folder = format!("data_stream/{}/fields/", data_stream.path);
        let (mut properties, mut beside) = (Map::new(), Beside::default());
        beside.time_series = data_stream.index_mode() == Some("time_series");
        for path in self.paths().filter(|path| path.starts_with(&folder)) {
            let text =
                std::str::from_utf8(self.file(path).unwrap_or_default()).map_err(|_| invalid(path, "not UTF-8"))?;
            let fields =
                settings::from_yaml_as_written(path, text).map_err(|error| invalid(path, error.to_string()))?;
            for field in fields.as_array().into_iter().flatten() {
                add_field(&mut properties, &mut beside, "", field, path)?;
            }
        }
        let mut mappings = json!({"properties": properties});
        let source_mode = data_stream.elasticsearch.get("source_mode").and_then(Value::as_str);
        if source_mode == Some("synthetic") {
            mappings["_source"] = json!({"mode": "synthetic"});
        }
        if !beside.dynamic_templates.is_empty() {
            mappings["dynamic_templates"] = beside.dynamic_templates.into();
        }
        if !beside.runtime.is_empty() {
            mappings["runtime"] = beside.runtime.into();
        }
        Ok(mappings)
    }
}

/// What field definitions add to the mappings beside `properties`.
#[derive(Default)]
struct Beside {
    dynamic_templates: Vec<Value>,
    runtime: Map<String, Value>,
    /// Whether fields say what they are in a time series.
    time_series: bool,
}

impl Beside {
    /// An `object` whose fields have a type but no names: they become what a dynamic template says.
    fn add_object(&mut self, path: &str, field: &Value, object_type: &str) {
        let by_value = match object_type {
            "keyword" | "text" | "ip" | "wildcard" => "string",
            "long" | "double" | "boolean" => object_type,
            "flattened" => "object",
            _ => "*",
        };
        let matched = field.get("object_type_mapping_type").and_then(Value::as_str);
        let path_match = if path.contains('*') {
            path.to_owned()
        } else {
            format!("{path}.*")
        };
        let Some(mapping) = mapping_of(field, object_type, self.time_series) else {
            return;
        };
        let template =
            json!({"path_match": path_match, "match_mapping_type": matched.unwrap_or(by_value), "mapping": mapping});
        self.dynamic_templates.push(json!({ path: template }));
    }

    /// A field that is computed when it is searched: `runtime: true`, or the script itself.
    fn add_runtime(&mut self, path: &str, kind: &str, runtime: &Value) {
        let mut mapping = json!({ "type": if kind == "integer" { "long" } else { kind } });
        if let Some(script) = runtime.as_str() {
            mapping["script"] = json!({ "source": script });
        }
        self.runtime.insert(path.to_owned(), mapping);
    }
}

/// Objects are merged at every depth, lists are joined, everything else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => old.extend(new.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}

/// `{{ IngestPipeline "name" }}` is the installed name of another pipeline of the data stream.
fn with_pipeline_names(text: &str, name: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((tag, next)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        match tag.trim().strip_prefix("IngestPipeline") {
            Some(file) => out.push_str(&name(file.trim().trim_matches(['"', '\'']))),
            None => out.extend(["{{", tag, "}}"]),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// Adds the field to `properties`, those of the object `above` (empty: of the document).
fn add_field(
    properties: &mut Map<String, Value>,
    beside: &mut Beside,
    above: &str,
    field: &Value,
    path: &str,
) -> Result<(), PackageError> {
    let name = field
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| invalid(path, "a field has no `name`"))?;
    let kind = field.get("type").and_then(Value::as_str).unwrap_or("keyword");
    let children = field.get("fields").and_then(Value::as_array);
    let full_name = if above.is_empty() {
        name.to_owned()
    } else {
        format!("{above}.{name}")
    };
    let runtime = field
        .get("runtime")
        .filter(|runtime| runtime.as_bool() == Some(true) || runtime.is_string());
    if let Some(runtime) = runtime {
        beside.add_runtime(&full_name, kind, runtime);
        return Ok(());
    }
    if let Some(object_type) = field
        .get("object_type")
        .and_then(Value::as_str)
        .filter(|_| kind == "object")
    {
        beside.add_object(&full_name, field, object_type);
    }
    let name = name.split_once(".*").map_or(name, |(parent, _)| parent);
    if matches!(kind, "group" | "nested") || children.is_some() {
        let group = group_at(properties, name);
        if kind == "nested" {
            group.insert("type".to_owned(), "nested".into());
        }
        for key in [
            "dynamic",
            "enabled",
            "subobjects",
            "include_in_parent",
            "include_in_root",
        ] {
            if let Some(value) = field.get(key).filter(|value| !value.is_null()) {
                group.insert(key.to_owned(), value.clone());
            }
        }
        let inner = group.entry("properties").or_insert_with(|| json!({}));
        let Some(inner) = inner.as_object_mut() else {
            return Err(invalid(path, format!("`{name}` is a value, too")));
        };
        return children
            .into_iter()
            .flatten()
            .try_for_each(|child| add_field(inner, beside, &full_name, child, path));
    }
    let (parents, leaf) = name
        .rsplit_once('.')
        .map_or((None, name), |(parents, leaf)| (Some(parents), leaf));
    let place = match parents {
        None => properties,
        Some(parents) => {
            let inner = group_at(properties, parents)
                .entry("properties")
                .or_insert_with(|| json!({}));
            inner
                .as_object_mut()
                .ok_or_else(|| invalid(path, format!("`{parents}` is a value, too")))?
        }
    };
    if let Some(mapping) = mapping_of(field, kind, beside.time_series) {
        place.insert(leaf.to_owned(), mapping);
    }
    Ok(())
}

/// The mapping object of a dotted name; its parents are made on the way.
fn group_at<'a>(properties: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let (head, rest) = name
        .split_once('.')
        .map_or((name, None), |(head, rest)| (head, Some(rest)));
    let slot = properties.entry(head).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    let object = slot.as_object_mut().expect("just made an object");
    match rest {
        None => object,
        Some(rest) => {
            let inner = object.entry("properties").or_insert_with(|| json!({}));
            if !inner.is_object() {
                *inner = json!({});
            }
            group_at(inner.as_object_mut().expect("just made an object"), rest)
        }
    }
}

fn mapping_of(field: &Value, kind: &str, time_series: bool) -> Option<Value> {
    let given = |key: &str| field.get(key).filter(|value| !value.is_null());
    let mut mapping = match kind {
        "integer" => json!({"type": "long"}),
        "keyword" | "wildcard" => {
            json!({"type": kind, "ignore_above": given("ignore_above").cloned().unwrap_or(1024.into())})
        }
        "scaled_float" => {
            json!({"type": kind, "scaling_factor": given("scaling_factor").cloned().unwrap_or(1000.into())})
        }
        "array" => json!({"type": field.get("object_type").and_then(Value::as_str).unwrap_or("keyword")}),
        "object" => json!({"type": "object", "dynamic": true}),
        "alias" => json!({"type": "alias", "path": given("path")?}),
        "constant_keyword" => match given("value") {
            Some(value) => json!({"type": kind, "value": value}),
            None => json!({"type": kind}),
        },
        "date" => match given("date_format") {
            Some(format) => json!({"type": kind, "format": format}),
            None => json!({"type": kind}),
        },
        other => json!({"type": other}),
    };
    for key in [
        "index",
        "doc_values",
        "copy_to",
        "normalizer",
        "null_value",
        "enabled",
        "dynamic",
        "subobjects",
    ] {
        if let Some(value) = given(key) {
            mapping[key] = value.clone();
        }
    }
    if let Some(unit) = given("unit") {
        mapping["meta"]["unit"] = unit.clone();
    }
    for inner in field
        .get("multi_fields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (Some(name), Some(kind)) = (inner["name"].as_str(), inner["type"].as_str()) else {
            continue;
        };
        mapping["fields"][name] = mapping_of(inner, kind, false)?;
    }
    if time_series {
        add_time_series(&mut mapping, field);
    }
    Some(mapping)
}

/// What a field is in a time series: one of those that tell series apart, or a measurement.
fn add_time_series(mapping: &mut Value, field: &Value) {
    if field.get("dimension").and_then(Value::as_bool) == Some(true) {
        mapping["time_series_dimension"] = true.into();
        // No value of a dimension may be left out.
        if let Some(mapping) = mapping.as_object_mut() {
            mapping.shift_remove("ignore_above");
        }
    }
    if let Some(kind) = field.get("metric_type").and_then(Value::as_str) {
        mapping["time_series_metric"] = kind.into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn package() -> Package {
        let mut files = BTreeMap::new();
        let mut add = |path: &str, text: &str| files.insert(path.to_owned(), text.as_bytes().to_vec());
        add(
            "manifest.yml",
            "name: demo\ntitle: Demo\nversion: 1.2.0\ntype: integration\n",
        );
        add(
            "data_stream/log/manifest.yml",
            "title: Log\ntype: logs\nelasticsearch:\n  index_template:\n    settings: {index: {codec: best_compression}}\n    mappings: {dynamic: false}\n",
        );
        add(
            "data_stream/log/elasticsearch/ingest_pipeline/default.yml",
            "processors:\n- pipeline:\n    name: '{{ IngestPipeline \"inner\" }}'\n- set: {field: a, value: '{{{b}}}'}\n",
        );
        add(
            "data_stream/log/elasticsearch/ingest_pipeline/inner.json",
            "{\"processors\": []}",
        );
        add(
            "data_stream/log/fields/fields.yml",
            "- name: demo\n  type: group\n  fields:\n    - name: count\n      type: integer\n      unit: byte\n    - name: host.name\n\
             - name: message\n  type: text\n  multi_fields: [{name: raw, type: keyword}]\n\
             - name: demo.labels\n  type: object\n  object_type: keyword\n\
             - name: demo.sizes.*\n  type: object\n  object_type: scaled_float\n  object_type_mapping_type: long\n\
             - name: doubled\n  type: integer\n  runtime: emit(2)\n",
        );
        Package::from_files(files).unwrap()
    }

    #[test]
    fn fields_become_mappings_and_pipelines_call_each_other_by_installed_name() {
        let assets = package().assets().unwrap();
        let names: Vec<&str> = assets.iter().map(|asset| asset.name.as_str()).collect();
        assert_eq!(
            names,
            ["logs-demo.log-1.2.0", "logs-demo.log-1.2.0-inner", "logs-demo.log"]
        );
        assert_eq!(
            assets[0].body["processors"][0]["pipeline"]["name"],
            "logs-demo.log-1.2.0-inner"
        );
        assert_eq!(assets[0].body["processors"][1]["set"]["value"], "{{{b}}}");
        let custom = json!({"name": "logs-demo.log@custom", "ignore_missing_pipeline": true});
        assert_eq!(assets[0].body["processors"][5]["pipeline"], custom);
        assert_eq!(assets[1].body["processors"], json!([]), "only the entry calls them");
        assert_eq!(assets[2].body["index_patterns"], json!(["logs-demo.log-*"]));
        assert_eq!(
            assets[2].body["template"]["settings"]["index"]["default_pipeline"],
            "logs-demo.log-1.2.0"
        );
        let properties = &assets[2].body["template"]["mappings"]["properties"];
        assert_eq!(
            properties["demo"]["properties"]["count"],
            json!({"type": "long", "meta": {"unit": "byte"}})
        );
        let host = &properties["demo"]["properties"]["host"]["properties"]["name"];
        assert_eq!(host, &json!({"type": "keyword", "ignore_above": 1024}));
        assert_eq!(properties["message"]["fields"]["raw"]["type"], "keyword");
    }

    #[test]
    fn a_time_series_has_its_mode_and_its_fields_say_what_they_are() {
        let manifest = "name: demo\ntitle: Demo\nversion: 1.2.0\ntype: integration\n";
        let fields = "- {name: host.name, dimension: true}\n- {name: load, type: double, metric_type: gauge}\n\
                      - {name: of, type: object, object_type: long, metric_type: counter}\n";
        let template = |stream: &str| {
            let files = [
                ("manifest.yml", manifest),
                ("data_stream/load/manifest.yml", stream),
                ("data_stream/load/fields/fields.yml", fields),
            ];
            let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
            let package = Package::from_files(files.into()).unwrap();
            package.assets().unwrap()[0].body["template"].clone()
        };
        let series = template(
            "title: Load\ntype: metrics\nelasticsearch.index_mode: time_series\nelasticsearch: {source_mode: synthetic}\n",
        );
        assert_eq!(series["settings"]["index"]["mode"], "time_series");
        assert_eq!(series["mappings"]["_source"], json!({"mode": "synthetic"}));
        let properties = &series["mappings"]["properties"];
        let dimension = json!({"type": "keyword", "time_series_dimension": true});
        assert_eq!(properties["host"]["properties"]["name"], dimension);
        assert_eq!(
            properties["load"],
            json!({"type": "double", "time_series_metric": "gauge"})
        );
        let each = &series["mappings"]["dynamic_templates"][0]["of"]["mapping"];
        assert_eq!(each, &json!({"type": "long", "time_series_metric": "counter"}));
        let plain = template("title: Load\ntype: metrics\n");
        assert_eq!(plain["settings"], json!({}));
        assert!(!plain["mappings"].to_string().contains("time_series"), "{plain}");
    }

    #[test]
    fn objects_of_one_type_become_dynamic_templates_and_the_manifest_adds_to_the_template() {
        let assets = package().assets().unwrap();
        let template = &assets[2].body["template"];
        assert_eq!(
            template["mappings"]["dynamic_templates"],
            json!([
                {"demo.labels": {"path_match": "demo.labels.*", "match_mapping_type": "string",
                                 "mapping": {"type": "keyword", "ignore_above": 1024}}},
                {"demo.sizes.*": {"path_match": "demo.sizes.*", "match_mapping_type": "long",
                                  "mapping": {"type": "scaled_float", "scaling_factor": 1000}}},
            ])
        );
        let demo = &template["mappings"]["properties"]["demo"]["properties"];
        let open = json!({"type": "object", "dynamic": true});
        assert_eq!((&demo["labels"], &demo["sizes"]), (&open, &open));
        let computed = json!({"doubled": {"type": "long", "script": {"source": "emit(2)"}}});
        assert_eq!(template["mappings"]["runtime"], computed);
        assert_eq!(template["mappings"]["dynamic"], false);
        assert_eq!(template["settings"]["index"]["codec"], "best_compression");
        assert_eq!(template["settings"]["index"]["default_pipeline"], "logs-demo.log-1.2.0");
    }
}
