//! Templates, life cycle policies and pipelines that clients put: kept as documents, read into memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ingest::Pipelines;
use query::SearchRequest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Operation, Outcome, Refresh, Source, Store, StoreError, WriteResult};

use crate::error::ApiError;
use crate::names;

/// The index of these documents; out of reach of the API itself.
const INDEX: &str = ".flotilla-catalog";
/// Another process on the same store may have changed it: looked at again after this time.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// What kind of object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    IndexTemplate,
    ComponentTemplate,
    LifecyclePolicy,
    Pipeline,
    /// Of the old kind, `_template`.
    LegacyTemplate,
    /// `indices`: index to its part in the alias.
    Alias,
    /// The index of that name is closed.
    Closed,
    /// Of one data stream, where the store cannot keep it.
    Retention,
}

impl Kind {
    fn id(self, name: &str) -> String {
        let kind = match self {
            Self::IndexTemplate => "index-template",
            Self::ComponentTemplate => "component-template",
            Self::LifecyclePolicy => "lifecycle-policy",
            Self::Pipeline => "pipeline",
            Self::LegacyTemplate => "legacy-template",
            Self::Alias => "alias",
            Self::Closed => "closed",
            Self::Retention => "retention",
        };
        format!("{kind}-{name}")
    }
}

/// Everything that was put, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    objects: BTreeMap<(Kind, String), Value>,
    pipelines: Arc<Pipelines>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    kind: Kind,
    name: String,
    /// As text, so that nobody's mapping sees its fields.
    body: String,
}

impl Catalog {
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// Those whose name fits `pattern`, by name.
    pub(crate) fn matching<'a>(&'a self, kind: Kind, pattern: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.objects
            .iter()
            .filter(move |((of, name), _)| *of == kind && pattern.split(',').any(|part| names::matches(part, name)))
            .map(|((_, name), body)| (name.as_str(), body))
    }

    /// All pipelines, ours and those that were put.
    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// The pipeline of documents for `index` when the write names none: the template's, else our own for its data set.
    pub(crate) fn default_pipeline(&self, index: &str) -> Option<&str> {
        self.template_for(index)
            .and_then(|template| default_pipeline_of(template))
            .or_else(|| ingest::builtin::pipeline_for(index))
    }

    /// The template of the highest priority whose patterns fit `index`.
    pub(crate) fn template_for(&self, index: &str) -> Option<&Value> {
        self.named_template_for(index).map(|(_, template)| template)
    }

    /// [`Self::template_for`] with its name.
    pub(crate) fn named_template_for(&self, index: &str) -> Option<(&str, &Value)> {
        let fits = |template: &Value| patterns_of(template).any(|pattern| names::matches(pattern, index));
        self.matching(Kind::IndexTemplate, "*")
            .filter(|(_, template)| fits(template))
            .max_by_key(|(_, template)| priority_of(template))
    }
}

pub(crate) fn priority_of(template: &Value) -> i64 {
    template.get("priority").and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn patterns_of(template: &Value) -> impl Iterator<Item = &str> {
    let patterns = template.get("index_patterns");
    let many = patterns
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    patterns.and_then(Value::as_str).into_iter().chain(many)
}

fn default_pipeline_of(template: &Value) -> Option<&str> {
    let settings = template.pointer("/template/settings")?;
    let nested = settings
        .pointer("/index/default_pipeline")
        .or_else(|| settings.get("default_pipeline"));
    nested.or_else(|| settings.get("index.default_pipeline"))?.as_str()
}

/// The catalog of now, read again when it has grown old or was changed here.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    present: Mutex<Option<(Arc<Catalog>, Instant)>>,
}

impl Catalogs {
    pub(crate) async fn current(&self, store: &dyn Store) -> Result<Arc<Catalog>, ApiError> {
        if let Some((catalog, read)) = &*self.lock()
            && read.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(catalog));
        }
        let catalog = Arc::new(load(store).await?);
        *self.lock() = Some((Arc::clone(&catalog), Instant::now()));
        Ok(catalog)
    }

    /// Keeps an object; `true` when it is new.
    pub(crate) async fn put(&self, store: &dyn Store, kind: Kind, name: &str, body: &Value) -> Result<bool, ApiError> {
        let entry = Entry {
            kind,
            name: name.to_owned(),
            body: body.to_string(),
        };
        let operation = Operation::index(INDEX, kind.id(name), Source::of(&entry));
        let written = one(store, operation).await?;
        *self.lock() = None;
        Ok(written == WriteResult::Created)
    }

    /// Forgets an object; `false` when there is none.
    pub(crate) async fn delete(&self, store: &dyn Store, kind: Kind, name: &str) -> Result<bool, ApiError> {
        let written = one(store, Operation::delete(INDEX, kind.id(name))).await?;
        *self.lock() = None;
        Ok(written == WriteResult::Deleted)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Arc<Catalog>, Instant)>> {
        self.present.lock().expect("no holder of this lock can panic")
    }
}

async fn one(store: &dyn Store, operation: Operation) -> Result<WriteResult, ApiError> {
    make_index(store).await?;
    let outcome = store.bulk(vec![operation], Refresh::WaitFor).await?.pop();
    match outcome {
        Some(Outcome::Done(written)) => Ok(written.result),
        Some(Outcome::Rejected(rejection)) => Err(rejection.into()),
        None => Err(ApiError::too_busy("the store did not answer")),
    }
}

async fn make_index(store: &dyn Store) -> Result<(), ApiError> {
    let keyword = serde_json::json!({ "type": "keyword" });
    let mappings = serde_json::json!({ "dynamic": false, "properties": { "kind": keyword, "name": keyword } });
    match store
        .create_index(INDEX, serde_json::json!({ "mappings": mappings }))
        .await
    {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn load(store: &dyn Store) -> Result<Catalog, ApiError> {
    let found = match store.search(SearchRequest::new(INDEX).size(10_000)).await {
        Ok(found) => found.hits,
        Err(StoreError::IndexNotFound(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut catalog = Catalog::default();
    let mut pipelines = ingest::builtin::pipelines();
    for hit in found {
        let entry = hit.document.source.parse::<Entry>().ok();
        let parsed = entry.and_then(|entry| Some((entry.kind, entry.name, serde_json::from_str(&entry.body).ok()?)));
        let Some((kind, name, body)) = parsed else {
            tracing::error!(id = %hit.document.id, "a catalog document cannot be read and is passed over");
            continue;
        };
        if kind == Kind::Pipeline
            && let Err(error) = pipelines.put(&name, &body)
        {
            tracing::error!(pipeline = %name, %error, "a pipeline that was accepted before is refused now");
        }
        catalog.objects.insert((kind, name), body);
    }
    catalog.pipelines = Arc::new(pipelines);
    Ok(catalog)
}
