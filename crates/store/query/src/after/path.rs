//! `buckets_path`: where the numbers of a pipeline aggregation come from.

use serde_json::{Map, Value};

use crate::dsl::QueryError;

/// `a>b['key']>metric.value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BucketsPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Step {
    name: String,
    /// Of a keyed bucket.
    key: Option<String>,
}

impl BucketsPath {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        let wrong = || QueryError::argument(format!("[buckets_path] cannot read [{text}]"));
        let step = |part: &str| {
            let part = part.trim();
            let (name, key) = match part.split_once('[') {
                None => (part, None),
                Some((name, rest)) => {
                    let key = rest.strip_suffix(']').ok_or_else(wrong)?;
                    (name, Some(key.trim_matches(['\'', '"']).to_owned()))
                }
            };
            if name.is_empty() {
                return Err(wrong());
            }
            Ok(Step {
                name: name.to_owned(),
                key,
            })
        };
        Ok(Self {
            steps: text.split('>').map(step).collect::<Result<_, _>>()?,
        })
    }

    /// The aggregation that it begins at.
    pub(crate) fn first(&self) -> &str {
        let step = &self.steps[0];
        if self.steps.len() == 1 {
            // The last step may name a value of the metric, or a key with dots in it.
            step.name.split('.').next().unwrap_or(&step.name)
        } else {
            &step.name
        }
    }

    /// Whether it stands for a bucket's own count or key.
    pub(crate) fn is_own(&self) -> bool {
        self.steps.len() == 1 && matches!(self.steps[0].name.as_str(), "_count" | "_key")
    }

    /// The path without its first step.
    pub(crate) fn rest(&self) -> Self {
        match self.steps.split_first() {
            Some((_, rest)) if !rest.is_empty() => Self { steps: rest.to_vec() },
            _ => Self {
                steps: vec![Step {
                    name: "_count".to_owned(),
                    key: None,
                }],
            },
        }
    }

    /// The number that it leads to in a bucket.
    pub(crate) fn number(&self, bucket: &Map<String, Value>) -> Option<f64> {
        let (last, before) = self.steps.split_last()?;
        let mut at = bucket;
        for step in before {
            at = step.inside(at)?;
        }
        match last.name.as_str() {
            "_count" => at.get("doc_count").and_then(Value::as_f64),
            "_key" => at.get("key").and_then(Value::as_f64),
            name => metric(at, name),
        }
    }
}

impl Step {
    fn inside<'a>(&self, bucket: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
        let result = bucket.get(&self.name)?;
        let Some(key) = &self.key else {
            return result.as_object();
        };
        match result.get("buckets")? {
            Value::Object(keyed) => keyed.get(key)?.as_object(),
            Value::Array(buckets) => buckets
                .iter()
                .find(|bucket| {
                    ["key_as_string", "key"]
                        .iter()
                        .any(|name| bucket.get(*name).is_some_and(|found| found == key.as_str()))
                })?
                .as_object(),
            _ => None,
        }
    }
}

/// `name`, or `name.property`.
fn metric(bucket: &Map<String, Value>, name: &str) -> Option<f64> {
    // What is there and null is a gap, which is another thing than not to be there.
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    if let Some(result) = bucket.get(name) {
        return result.get("value").or_else(|| result.get("doc_count")).map(number);
    }
    let (name, property) = name.split_once('.')?;
    let result = bucket.get(name)?;
    let of_many = || result.get("values").and_then(|values| values.get(property));
    result.get(property).or_else(of_many).map(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_numbers() {
        let bucket = json!({
            "key": 5, "doc_count": 3, "s": { "value": 1.5 }, "st": { "max": 7.0 }, "p": { "values": { "99.0": 9.0 } },
            "f": { "doc_count": 2, "m": { "value": 4.0 } },
            "t": { "buckets": [{ "key": "x", "doc_count": 1, "m": { "value": 8.0 } }] },
        });
        let check = |text: &str, expected: Option<f64>| {
            let path = BucketsPath::parse(text).unwrap();
            assert_eq!(path.number(bucket.as_object().unwrap()), expected, "{text}");
        };
        check("_count", Some(3.0));
        check("_key", Some(5.0));
        check("s", Some(1.5));
        check("st.max", Some(7.0));
        check("p.99.0", Some(9.0));
        check("f>m", Some(4.0));
        check("f>_count", Some(2.0));
        check("t['x']>m", Some(8.0));
        check("t['y']>m", None);
        check("none", None);
        assert!(BucketsPath::parse("a>").is_err());
        assert!(BucketsPath::parse("a['x").is_err());
    }
}
