//! A line of a log as pages show it.

use serde_json::Value;

use super::explore::documents::{field, message};

/// Time, level and message; the template's macro `log_lines` shows many.
pub(super) struct LogLine {
    /// `14:31:07`, UTC.
    clock: String,
    /// With the day and the milliseconds, for the title.
    exact: String,
    level: String,
    message: String,
}

impl LogLine {
    /// From a document; dotted and nested fields alike.
    pub(super) fn of(source: &Value) -> Self {
        let time = source["@timestamp"]
            .as_str()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let written = |format: &str| time.map_or_else(String::new, |time| time.strftime(format).to_string());
        Self {
            clock: written("%H:%M:%S"),
            exact: written("%-d %b %Y, %H:%M:%S%.3f UTC"),
            level: field(source, "log.level").unwrap_or_default().to_lowercase(),
            message: message(source),
        }
    }

    pub(super) fn clock(&self) -> &str {
        &self.clock
    }

    pub(super) fn exact(&self) -> &str {
        &self.exact
    }

    pub(super) fn level(&self) -> &str {
        &self.level
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The class that colours it.
    pub(super) fn class(&self) -> &'static str {
        match self.level.as_str() {
            "error" | "critical" | "fatal" => "l-error",
            "warn" | "warning" => "l-warn",
            _ => "l-info",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_and_dotted_documents_are_the_same_line() {
        let time = "2026-03-01T12:00:00.5Z";
        for source in [
            json!({"@timestamp": time, "log": {"level": "WARN"}, "message": "late"}),
            json!({"@timestamp": time, "log.level": "warn", "message": "late"}),
        ] {
            let line = LogLine::of(&source);
            assert_eq!(
                [line.clock(), line.level(), line.message()],
                ["12:00:00", "warn", "late"]
            );
            assert_eq!(line.exact(), "1 Mar 2026, 12:00:00.500 UTC");
            assert_eq!(line.class(), "l-warn");
        }
        assert_eq!(LogLine::of(&json!({"message": "when?"})).clock(), "");
    }
}
