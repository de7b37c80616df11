//! Which console, as whom, verified by what.

use anyhow::{Context, Result};
use secret::Secret;
use tls::SslSettings;
use url::Url;

use super::arguments::ConsoleArguments;
use crate::printer::Hint;

const DEFAULT_URL: &str = "https://localhost:5601";

/// A console to talk to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) ssl: SslSettings,
    /// The `Authorization` header; none: the client certificate says who it is.
    pub(super) authorization: Option<Secret>,
}

impl Target {
    /// From flags, environment and data folder, in this order.
    pub(super) fn resolve(arguments: &ConsoleArguments) -> Result<Self> {
        let url = match &arguments.url {
            Some(url) => url.clone(),
            None => Url::parse(DEFAULT_URL).context("the default URL is not one")?,
        };
        if url.scheme() != "https" {
            return Err(Hint::error(
                format!("`{url}` is not encrypted: the login would be readable on the way"),
                "use https",
            ));
        }
        let connection = &arguments.connection;
        Ok(Self {
            url,
            authorization: connection.login()?.authorization(),
            ssl: connection.ssl(connection.kept_authority().as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_is_refused() {
        let plain = ConsoleArguments {
            url: Url::parse("http://console:5601").ok(),
            ..ConsoleArguments::default()
        };
        let refused = Target::resolve(&plain).unwrap_err().to_string();
        assert!(refused.contains("not encrypted"));
    }
}
