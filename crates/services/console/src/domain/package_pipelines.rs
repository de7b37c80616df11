//! Pipelines of packages, fitted to the processors that there are here.
//!
//! Packages are written for the original, which has processors (`geoip`, `script`, ..) that the pipelines here do not have. A
//! document is worth more than what one of them would have added to it: such a processor is left out and named in the record
//! of the installation, and the rest of the pipeline runs.

use ingest::Pipelines;
use packages::assets::Asset;
use serde_json::{Value, json};

use crate::domain::error::FleetError;

/// Takes out of the pipelines what cannot run here; returns what that was.
///
/// # Errors
/// A pipeline that is none, with or without those processors.
pub(crate) fn fit(assets: &mut [Asset]) -> Result<Vec<String>, FleetError> {
    let mut left_out = Vec::new();
    for asset in assets.iter_mut().filter(|asset| asset.kind == "ingest_pipeline") {
        fit_lists(
            &asset.name,
            &mut asset.body,
            &["processors", "on_failure"],
            &mut left_out,
        );
        if let Err(error) = Pipelines::default().put(&asset.name, &asset.body) {
            return Err(FleetError::invalid(format!(
                "the package has a pipeline that is not valid: {error}"
            )));
        }
    }
    Ok(left_out)
}

fn fit_lists(pipeline: &str, holder: &mut Value, keys: &[&str], left_out: &mut Vec<String>) {
    let Some(map) = holder.as_object_mut() else {
        return;
    };
    for key in keys {
        let Some(Value::Array(list)) = map.get_mut(*key) else {
            continue;
        };
        for processor in list.iter_mut() {
            for config in processor.as_object_mut().into_iter().flat_map(|one| one.values_mut()) {
                fit_lists(pipeline, config, &["on_failure"], left_out);
            }
        }
        list.retain(|processor| runs_here(pipeline, processor, left_out));
        // An empty list of what to do on failure is an error.
        if list.is_empty() && *key == "on_failure" {
            map.shift_remove(*key);
        }
    }
}

fn runs_here(pipeline: &str, processor: &Value, left_out: &mut Vec<String>) -> bool {
    let Err(error) = Pipelines::default().put(pipeline, &json!({"processors": [processor]})) else {
        return true;
    };
    left_out.push(format!("{pipeline}: {error}"));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(body: Value) -> Asset {
        Asset {
            name: "logs-demo".to_owned(),
            kind: "ingest_pipeline",
            body,
        }
    }

    #[test]
    fn a_processor_that_is_not_there_is_left_out_and_named() {
        let mut assets = [asset(json!({
            "processors": [
                {"set": {"field": "a", "value": "1", "on_failure": [{"geoip": {"field": "ip"}}]}},
                {"geoip": {"field": "source.ip"}},
                {"lowercase": {"field": "b"}},
            ],
            "on_failure": [{"script": {"source": "ctx.x = 1"}}],
        }))];
        let left_out = fit(&mut assets).unwrap();
        assert_eq!(
            assets[0].body,
            json!({"processors": [{"set": {"field": "a", "value": "1"}}, {"lowercase": {"field": "b"}}]})
        );
        assert_eq!(left_out.len(), 3, "{left_out:?}");
        assert!(
            left_out[1].contains("logs-demo") && left_out[1].contains("geoip"),
            "{left_out:?}"
        );
    }

    #[test]
    fn what_is_no_pipeline_is_refused() {
        for body in [
            json!({}),
            json!({"processors": {}}),
            json!({"processors": [], "nope": 1}),
        ] {
            assert!(fit(&mut [asset(body.clone())]).is_err(), "{body}");
        }
    }
}
