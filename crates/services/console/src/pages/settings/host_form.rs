//! The form of a Fleet Server host, with the ten TLS fields of the three legs that meet there.

use super::super::form::{Choice, Group, Kind, Spec};

const AGENT: &str = "Elastic Agent";
const FLEET_SERVER: &str = "Fleet Server";

pub(super) fn groups(proxies: Vec<Choice>) -> Vec<Group> {
    vec![
        Group::new("", vec![
            Spec::new("name", "Name", Kind::Text),
            Spec::new("proxy_id", "Proxy", Kind::Select(proxies))
                .help("Agents call Fleet Server through it. The certificate of Fleet Server is verified through it as well.")
                .optional(),
            Spec::new("host_urls", "URL", Kind::Rows)
                .help("Agents try these in turn. The first one is shown when you add agents. All have the same protocol and path."),
        ]),
        Group::new("Fleet Server, facing agents", vec![
            Spec::new("ssl.certificate_authorities", "Elastic Agents certificate authorities", Kind::Certificates)
                .older("Server SSL certificate authorities")
                .help("Fleet Server checks the certificates that agents present with these.")
                .optional(),
            Spec::new("ssl.certificate", "SSL server certificate", Kind::Certificate)
                .older("Client SSL certificate")
                .help("What Fleet Server presents to agents on port 8220. It must name every host of the URLs.")
                .optional(),
            Spec::new("ssl.key", "SSL server private key", Kind::Key("ssl.certificate"))
                .older("Client SSL certificate key")
                .help("Belongs to the certificate above. PEM is kept as a secret; a path stays readable.")
                .optional(),
        ])
        .wire(AGENT, FLEET_SERVER, false),
        Group::new("Fleet Server, calling Elasticsearch", vec![
            Spec::new("ssl.es_certificate_authorities", "Elasticsearch certificate authorities", Kind::Certificates)
                .older("Elasticsearch certificate authorities")
                .help("Fleet Server checks the certificate of Elasticsearch with these.")
                .optional(),
            Spec::new("ssl.es_certificate", "SSL client certificate for Elasticsearch", Kind::Certificate)
                .older("SSL certificate for Elasticsearch")
                .help("What Fleet Server presents to Elasticsearch. Only for mutual TLS.")
                .optional(),
            Spec::new("ssl.es_key", "SSL private key for Elasticsearch", Kind::Key("ssl.es_certificate"))
                .older("SSL certificate key for Elasticsearch")
                .help("Belongs to the certificate above.")
                .optional(),
        ])
        .wire(FLEET_SERVER, "Elasticsearch", false),
        Group::new("Elastic Agent, calling Fleet Server", vec![
            Spec::new("ssl.agent_certificate_authorities", "Fleet Server certificate authorities", Kind::Certificates)
                .help("Agents check the certificate of Fleet Server with these, besides what they were enrolled with.")
                .optional(),
            Spec::new("ssl.agent_certificate", "SSL client certificate for Fleet Server", Kind::Certificate)
                .help("What agents present to Fleet Server. Only for mutual TLS; a path names a file of each host.")
                .optional(),
            Spec::new("ssl.agent_key", "SSL private key for Fleet Server", Kind::Key("ssl.agent_certificate"))
                .help("Belongs to the certificate above.")
                .optional(),
        ])
        .wire(AGENT, FLEET_SERVER, true),
        Group::new("", vec![
            Spec::new("ssl.client_auth", "Client auth", Kind::Radio(vec![
                Choice::new("", "None").with_help("Agents present nothing"),
                Choice::new("required", "Required").with_help("Agents without a certificate are refused"),
                Choice::new("optional", "Optional").with_help("Checked when presented"),
            ]))
            .older("Enable client authentication")
            .help("Whether Fleet Server asks agents for a certificate.")
            .optional(),
            Spec::new("is_default", "Make this Fleet server the default one.", Kind::Switch)
                .help("Agent policies that name no Fleet Server host use the default one."),
        ]),
    ]
}
