//! The form of a proxy.

use super::super::form::{Group, Kind, Spec};

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group::new("", vec![
            Spec::new("name", "Name", Kind::Text),
            Spec::new("url", "Proxy Url", Kind::Text).help("http, https or socks5, with host and port."),
            Spec::new("proxy_headers", "Proxy headers", Kind::Pairs)
                .help("name: value, one a line; sent to the proxy with CONNECT, never to the host behind it.")
                .optional(),
        ]),
        Group::new("TLS to the proxy", vec![
            Spec::new("certificate_authorities", "Certificate authorities", Kind::Certificate)
                .help("Agents check the certificate of an https proxy with this.")
                .optional(),
            Spec::new("certificate", "Certificate", Kind::Certificate)
                .help("What agents present to the proxy. Only for mutual TLS.")
                .optional(),
            Spec::new("certificate_key", "Certificate key", Kind::Text)
                .help("The path of its key on each host. The API of proxies keeps no secrets, so a pasted key would be readable.")
                .optional(),
        ])
        .wire("Elastic Agent", "Proxy", false),
    ]
}
