//! The form of an agent binary source.

use super::super::form::{Choice, Group, Kind, Spec};

pub(super) fn groups(proxies: Vec<Choice>) -> Vec<Group> {
    vec![
        Group::new("", vec![
            Spec::new("name", "Name", Kind::Text),
            Spec::new("proxy_id", "Proxy", Kind::Select(proxies)).help("Agents download through it.").optional(),
            Spec::new("host", "Host", Kind::Text).help("http or https URL of the folder that holds beats/elastic-agent/..."),
            Spec::new("is_default", "Make this host the default for all agent policies.", Kind::Switch),
        ]),
        Group::new("Who the agents are", vec![
            Spec::new("auth.username", "Username", Kind::Text).optional(),
            Spec::new("auth.password", "Password", Kind::Secret).optional(),
            Spec::new("auth.api_key", "API key", Kind::Secret).help("In place of user name and password.").optional(),
            Spec::new("auth.headers", "Headers", Kind::PairList("key")).help("name: value, one a line.").optional(),
        ])
        .note("when the source asks for it")
        .folded(),
        Group::new("TLS / Secure connection", vec![
            Spec::new("ssl.certificate_authorities", "Server SSL certificate authorities", Kind::Certificates)
                .help("Agents check the certificate of the source with these. Without, upgrades from a source with your own CA fail.")
                .optional(),
            Spec::new("ssl.certificate", "Client SSL certificate", Kind::Certificate)
                .help("What agents present to the source. Only for mutual TLS.")
                .optional(),
            Spec::new("ssl.key", "Client SSL certificate key", Kind::Key("ssl.certificate")).help("Belongs to the certificate above.").optional(),
        ])
        .wire("Elastic Agent", "Download source", false),
    ]
}
