//! URLs of hosts and outputs in the form in which the original keeps them.

use crate::domain::error::FleetError;

/// `scheme://host:port/path`, with port 80 or 443 written out when it is absent and a bare `/` dropped.
///
/// # Errors
/// Not an http or https URL.
pub(crate) fn normalised(text: &str, field: &str) -> Result<String, FleetError> {
    let invalid =
        |why: &str| FleetError::invalid(format!("[request body.{field}]: `{text}` is not a valid URL: {why}"));
    let url = url::Url::parse(text.trim()).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the scheme must be http or https"));
    }
    let host = url.host_str().ok_or_else(|| invalid("it has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| invalid("it has no port"))?;
    let path = if url.path() == "/" { "" } else { url.path() };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let user = match (url.username(), url.password()) {
        ("", None) => String::new(),
        (user, None) => format!("{user}@"),
        (user, Some(password)) => format!("{user}:{password}@"),
    };
    Ok(format!("{}://{user}{host}:{port}{path}{query}", url.scheme()))
}

/// `host:port` of logstash and kafka.
pub(crate) fn check_host_port(text: &str, what: &str) -> Result<(), FleetError> {
    if text.contains("://") {
        return Err(FleetError::invalid(
            "Host address must begin with a domain name or IP address",
        ));
    }
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && !host.contains(char::is_whitespace));
    let is_valid = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_valid {
        Ok(())
    } else {
        Err(FleetError::invalid(format!(
            "Invalid {what} host: `{text}` must be host:port"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_out_and_bare_slashes_dropped() {
        for (given, expected) in [
            ("https://fs.example", "https://fs.example:443"),
            ("https://fs.example/", "https://fs.example:443"),
            ("http://fs.example:8220/path", "http://fs.example:8220/path"),
            ("https://[::1]:8220", "https://[::1]:8220"),
            ("HTTPS://FS.example:443", "https://fs.example:443"),
        ] {
            assert_eq!(normalised(given, "host_urls.0").unwrap(), expected);
        }
        for refused in ["fs.example:8220", "ftp://fs.example", "", "https://"] {
            assert!(normalised(refused, "host_urls.0").is_err(), "{refused}");
        }
    }

    #[test]
    fn brokers_have_a_host_and_a_port() {
        for good in ["broker:9092", "10.0.0.1:9092", "[::1]:9092"] {
            assert!(check_host_port(good, "Kafka").is_ok(), "{good}");
        }
        for bad in ["broker", "broker:0", "broker:70000", "https://broker:9092", ":9092"] {
            assert!(check_host_port(bad, "Kafka").is_err(), "{bad}");
        }
    }
}
