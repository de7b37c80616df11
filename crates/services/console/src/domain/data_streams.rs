//! The data streams that agents write to.

use serde_json::{Value, json};

use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::installed_packages;

/// A data stream.
#[derive(Clone, Debug)]
pub struct DataStream {
    /// `{type}-{dataset}-{namespace}`.
    pub index: String,
    /// `logs`, `metrics`, ..
    pub kind: String,
    /// Second part of the name.
    pub dataset: String,
    /// Third part of the name.
    pub namespace: String,
    /// The package that defines it; empty when none does.
    pub package: String,
    /// That package's version.
    pub package_version: String,
    /// Milliseconds since 1970 of the newest document; 0 when there is none.
    pub last_activity_ms: i64,
    /// On disk.
    pub size_in_bytes: u64,
    /// Documents.
    pub documents: u64,
}

/// All data streams, by name.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console) -> Result<Vec<DataStream>, FleetError> {
    let patterns = ["logs-*-*", "metrics-*-*", "traces-*-*", "synthetics-*-*"].map(str::to_owned);
    let packages = installed_packages::installed(console).await?;
    let mut streams = Vec::new();
    for info in console.store.data_streams(&patterns).await? {
        let Some((kind, rest)) = info.name.split_once('-') else {
            continue;
        };
        let Some((dataset, namespace)) = rest.rsplit_once('-') else {
            continue;
        };
        let package = packages.iter().find(|package| {
            package
                .data_streams
                .iter()
                .any(|stream| stream.dataset == dataset && stream.kind == kind)
        });
        let newest = info
            .newest_timestamp
            .as_deref()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        streams.push(DataStream {
            index: info.name.clone(),
            kind: kind.to_owned(),
            dataset: dataset.to_owned(),
            namespace: namespace.to_owned(),
            package: package.map(|package| package.name.clone()).unwrap_or_default(),
            package_version: package.map(|package| package.version.clone()).unwrap_or_default(),
            last_activity_ms: newest.map_or(0, jiff::Timestamp::as_millisecond),
            size_in_bytes: info.bytes,
            documents: info.documents,
        });
    }
    streams.sort_by(|one, other| one.index.cmp(&other.index));
    Ok(streams)
}

impl DataStream {
    /// In the shape of the API.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "index": self.index, "dataset": self.dataset, "namespace": self.namespace, "type": self.kind,
            "package": self.package, "package_version": self.package_version, "last_activity_ms": self.last_activity_ms,
            "size_in_bytes": self.size_in_bytes, "size_in_bytes_formatted": formatted(self.size_in_bytes),
            "dashboards": [], "serviceDetails": null,
        })
    }
}

/// `1.2mb`, as the original writes sizes.
pub fn formatted(bytes: u64) -> String {
    let units = ["b", "kb", "mb", "gb", "tb"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let text = format!("{size:.1}");
    format!("{}{}", text.strip_suffix(".0").unwrap_or(&text), units[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [(0, "0b"), (1023, "1023b"), (1536, "1.5kb"), (10 << 20, "10mb")] {
            assert_eq!(super::formatted(bytes), expected);
        }
    }
}
