//! What a client's words in `aggs` add to the results: `meta`, and with `typed_keys` the type before each name.

use serde_json::{Map, Value};

/// Adds them to the results of `aggs`.
pub(crate) fn decorate(aggs: Option<&Value>, results: &mut Map<String, Value>, typed: bool) {
    let Some(Value::Object(aggs)) = aggs else { return };
    let mut named = Map::new();
    for (name, mut result) in std::mem::take(results) {
        let body = aggs.get(&name);
        let Some(body) = body.and_then(Value::as_object) else {
            named.insert(name, result);
            continue;
        };
        let children = body.get("aggs").or_else(|| body.get("aggregations"));
        decorate_children(children, &mut result, typed);
        if let (Some(meta), Some(result)) = (body.get("meta"), result.as_object_mut()) {
            result.shift_insert(0, "meta".to_owned(), meta.clone());
        }
        let kind = body
            .keys()
            .find(|key| !matches!(key.as_str(), "aggs" | "aggregations" | "meta"));
        let name = match kind.filter(|_| typed) {
            Some(kind) => format!("{}#{name}", type_of(kind, &result)),
            None => name,
        };
        named.insert(name, result);
    }
    *results = named;
}

/// Children lie in the buckets, or in the one bucket that the result is.
fn decorate_children(aggs: Option<&Value>, result: &mut Value, typed: bool) {
    if aggs.is_none() {
        return;
    }
    match result.get_mut("buckets") {
        Some(Value::Array(buckets)) => buckets
            .iter_mut()
            .for_each(|bucket| decorate_bucket(aggs, bucket, typed)),
        Some(Value::Object(buckets)) => buckets
            .values_mut()
            .for_each(|bucket| decorate_bucket(aggs, bucket, typed)),
        _ => decorate_bucket(aggs, result, typed),
    }
}

fn decorate_bucket(aggs: Option<&Value>, bucket: &mut Value, typed: bool) {
    let (Some(Value::Object(children)), Some(bucket)) = (aggs, bucket.as_object_mut()) else {
        return;
    };
    let mut found = Map::new();
    for name in children.keys() {
        if let Some(result) = bucket.shift_remove(name) {
            found.insert(name.clone(), result);
        }
    }
    decorate(aggs, &mut found, typed);
    bucket.extend(found);
}

/// Source: Elasticsearch reference, return the type of the aggregation.
fn type_of(kind: &str, result: &Value) -> String {
    match kind {
        "terms" => {
            let key = result.pointer("/buckets/0/key");
            match key {
                None => "umterms",
                Some(Value::String(_)) => "sterms",
                Some(key) if key.is_f64() => "dterms",
                Some(_) => "lterms",
            }
        }
        "percentiles" => "tdigest_percentiles",
        "cumulative_sum" | "serial_diff" | "bucket_script" | "avg_bucket" | "sum_bucket" => "simple_value",
        "max_bucket" | "min_bucket" => "bucket_metric_value",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_carry_types_and_meta_comes_back() {
        let aggs = json!({ "x": { "terms": { "field": "a" }, "meta": { "m": 1 }, "aggs": { "y": { "max": { "field": "n" } } } } });
        let mut results = json!({ "x": { "buckets": [{ "key": "k", "doc_count": 1, "y": { "value": 1.0 } }] } });
        decorate(Some(&aggs), results.as_object_mut().unwrap(), true);
        let expected = json!({ "sterms#x": { "meta": { "m": 1 }, "buckets": [{ "key": "k", "doc_count": 1, "max#y": { "value": 1.0 } }] } });
        assert_eq!(results, expected);
    }
}
