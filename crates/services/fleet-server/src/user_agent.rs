//! Which agents are served: `User-Agent: Elastic Agent v9.6.0`.

use http::HeaderMap;
use http::header::USER_AGENT;

use crate::error::ApiError;

/// The oldest agent that is served.
const OLDEST: (u64, u64) = (7, 13);

/// Major and minor version of this server; agents may not be newer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ServerVersion {
    major: u64,
    minor: u64,
}

impl ServerVersion {
    /// Reads `9.6.0`, `9.6.0-SNAPSHOT`; an unreadable version accepts every agent.
    pub(crate) fn parse(text: &str) -> Self {
        let version = parse_version(text).unwrap_or(semver::Version::new(u64::MAX, u64::MAX, 0));
        Self {
            major: version.major,
            minor: version.minor,
        }
    }

    /// The agent's version from its User-Agent.
    ///
    /// # Errors
    /// When the header is missing, of another program, or its version is out of range.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<String, ApiError> {
        let text = headers.get(USER_AGENT).ok_or(ApiError::HeaderMissing("User-Agent"))?;
        let text = text
            .to_str()
            .map_err(|_| ApiError::InvalidUserAgent)?
            .to_ascii_lowercase();
        let version = text.strip_prefix("elastic agent ").ok_or(ApiError::InvalidUserAgent)?;
        let version = parse_version(version.trim()).ok_or(ApiError::InvalidUserAgent)?;
        let agent = (version.major, version.minor);
        if agent < OLDEST || agent > (self.major, self.minor) {
            return Err(ApiError::UnsupportedVersion);
        }
        Ok(version.to_string())
    }
}

/// What follows the first `-` does not count, nor does a `v` at the start.
fn parse_version(text: &str) -> Option<semver::Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split_once('-').map_or(text, |(core, _)| core);
    let mut numbers = core.split('.').map(|number| number.parse::<u64>().ok());
    let version = semver::Version::new(numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?);
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_the_accepted_range_pass() {
        let check = |user_agent: &str, expected: Result<&str, &str>| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, user_agent.parse().unwrap());
            let found = ServerVersion::parse("9.6.0")
                .check(&headers)
                .map_err(|error| error.code());
            assert_eq!(found.as_deref().map_err(|code| *code), expected, "{user_agent}");
        };
        check("Elastic Agent v9.6.0", Ok("9.6.0"));
        check("elastic agent 9.6.7-SNAPSHOT", Ok("9.6.7"));
        check("Elastic Agent v8.19.2+build202601", Err("InvalidUserAgent"));
        check("elastic agent 7.13.0", Ok("7.13.0"));
        check("elastic agent 7.12.9", Err("UnsupportedVersion"));
        check("elastic agent 9.7.0", Err("UnsupportedVersion"));
        check("elastic agent 10.0.0", Err("UnsupportedVersion"));
        check("elastic agent ", Err("InvalidUserAgent"));
        check("elastic agent x.y", Err("InvalidUserAgent"));
        check("curl/8", Err("InvalidUserAgent"));
    }

    #[test]
    fn a_missing_header_is_the_client_s_mistake() {
        let error = ServerVersion::parse("9.6.0").check(&HeaderMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Header parameter User-Agent is required, but not found"
        );
    }
}
