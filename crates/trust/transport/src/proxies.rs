//! Which proxy a connection takes: none, the configured one, or what the environment says for its host.
//!
//! A configured proxy is for every host, and the environment does not count beside it. Source: the HTTP client of the stock
//! agent, which is Go's with `proxy_url`, `proxy_disable` and otherwise the environment.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use url::Url;

use crate::connector::Target;
use crate::no_proxy::{NoProxy, is_loopback};
use crate::proxy::ProxySettings;

/// Which proxy a client takes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Proxies {
    /// None, whatever the environment says: `proxy_disable`.
    #[default]
    Direct,
    /// This one, for every host: `proxy_url`.
    Fixed(Arc<ProxySettings>),
    /// What the environment says for each host.
    Environment(Arc<EnvironmentProxies>),
}

/// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentProxies {
    https: Option<Arc<ProxySettings>>,
    http: Option<Arc<ProxySettings>>,
    no_proxy: NoProxy,
}

/// A variable that holds no proxy. Its value is not repeated: it may hold a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the environment variable `{variable}` holds no proxy URL and is ignored; write it as http://HOST:PORT")]
pub struct ProxyVariableError {
    /// Its name.
    pub variable: &'static str,
}

/// What the binary found in its environment.
static OF_PROCESS: OnceLock<Arc<EnvironmentProxies>> = OnceLock::new();

impl Proxies {
    /// A configured proxy when there is one, else the environment's.
    pub(crate) fn configured(proxy: Option<ProxySettings>) -> Self {
        match proxy {
            Some(proxy) if proxy.disable => Self::Direct,
            Some(proxy) => Self::Fixed(Arc::new(proxy)),
            None => Self::of_process(),
        }
    }

    /// The environment's, as the binary handed it in.
    fn of_process() -> Self {
        OF_PROCESS
            .get()
            .map_or(Self::Direct, |found| Self::Environment(found.clone()))
    }

    /// The proxy for one target.
    pub(crate) fn proxy_for(&self, target: &Target) -> Option<&Arc<ProxySettings>> {
        match self {
            Self::Direct => None,
            Self::Fixed(proxy) => Some(proxy).filter(|proxy| !proxy.disable),
            Self::Environment(found) => found.proxy_for(target),
        }
    }
}

/// Whether the environment of the process names a proxy for the host of a URL.
pub fn environment_has_proxy_for(url: &Url) -> bool {
    let uri = url.as_str().parse::<http::Uri>().ok();
    let target = uri.and_then(|uri| Target::of(&uri).ok());
    target.is_some_and(|target| Proxies::of_process().proxy_for(&target).is_some())
}

impl EnvironmentProxies {
    /// Reads the variables with `lookup`: upper case before lower case, an empty one counts as absent.
    ///
    /// # Errors
    /// Beside what could be read: the variables that hold no proxy.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<ProxyVariableError>) {
        let mut errors = Vec::new();
        let first = |names: [&'static str; 2]| {
            let found = names.into_iter().find_map(|name| {
                lookup(name)
                    .filter(|value| !value.is_empty())
                    .map(|value| (name, value))
            });
            found.unwrap_or((names[0], String::new()))
        };
        let mut proxy = |names| {
            let (variable, value) = first(names);
            let settings = from_text(&value);
            if settings.is_none() && !value.is_empty() {
                errors.push(ProxyVariableError { variable });
            }
            settings.map(Arc::new)
        };
        let found = Self {
            https: proxy(["HTTPS_PROXY", "https_proxy"]),
            http: proxy(["HTTP_PROXY", "http_proxy"]),
            no_proxy: NoProxy::parse(&first(["NO_PROXY", "no_proxy"]).1),
        };
        (found, errors)
    }

    /// Makes them those of the process, once; clients made from then on take them.
    pub fn install(self) {
        // Set twice only by tests that share a process; the first counts.
        let _already_set = OF_PROCESS.set(Arc::new(self));
    }

    /// This machine is always reached directly.
    fn proxy_for(&self, target: &Target) -> Option<&Arc<ProxySettings>> {
        if is_loopback(&target.host) || self.no_proxy.covers(&target.host, target.port) {
            return None;
        }
        if target.encrypted {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }
}

/// A URL, or `host:port` of an http proxy.
fn from_text(text: &str) -> Option<ProxySettings> {
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = url.ok().filter(Url::has_host)?;
    Some(ProxySettings {
        url,
        headers: HeaderMap::new(),
        tls: None,
        disable: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxies = Proxies::Environment(Arc::new(EnvironmentProxies::read(lookup).0));
        let target = Target::of(&url.parse().unwrap()).unwrap();
        proxies.proxy_for(&target).map(|proxy| proxy.name())
    }

    #[test]
    fn the_environment_is_read_as_go_reads_it() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2")];
        for (variables, url, expected) in [
            (&[][..], "https://fleet.test", None),
            (&both, "https://fleet.test", Some("http://s:1")),
            (&both, "http://fleet.test", Some("http://p:2")),
            (&both, "https://localhost:8220", None),
            (&both, "https://127.0.0.1:8220", None),
            (&both, "https://[::1]:8220", None),
            (
                &[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:1")],
                "https://fleet.test",
                Some("http://upper:1"),
            ),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "http://lower:1")],
                "https://fleet.test",
                Some("http://lower:1"),
            ),
            (
                &[("https_proxy", "http://s:1"), ("no_proxy", "a.test,.b.test:8220")],
                "https://x.b.test:8220",
                None,
            ),
            (
                &[("https_proxy", "http://s:1"), ("no_proxy", "a.test,.b.test:8220")],
                "https://x.b.test:9200",
                Some("http://s:1"),
            ),
            (
                &[("HTTPS_PROXY", "http://s:1"), ("NO_PROXY", "*")],
                "https://a.test",
                None,
            ),
        ] {
            assert_eq!(chosen(variables, url).as_deref(), expected, "{variables:?} {url}");
        }
    }

    #[test]
    fn a_variable_that_holds_no_proxy_is_named_without_its_value() {
        let (proxies, errors) =
            EnvironmentProxies::read(|name| (name == "https_proxy").then(|| "http://user:geheim@".to_owned()));
        assert!(proxies.https.is_none());
        assert_eq!(
            errors,
            [ProxyVariableError {
                variable: "https_proxy"
            }]
        );
        assert!(!errors[0].to_string().contains("geheim"));
    }

    #[test]
    fn what_is_configured_wins() {
        let proxy = |disable| ProxySettings {
            disable,
            ..from_text("fixed:1").unwrap()
        };
        assert!(matches!(Proxies::configured(Some(proxy(true))), Proxies::Direct));
        let target = Target::of(&"https://localhost".parse().unwrap()).unwrap();
        let fixed = Proxies::configured(Some(proxy(false)));
        assert_eq!(fixed.proxy_for(&target).unwrap().name(), "http://fixed:1");
    }
}
