//! The forms of outputs, one for each type.

use super::super::form::{Choice, Group, Kind, Spec};

/// The types, in the order of their links.
pub(super) const TYPES: [(&str, &str); 4] = [
    ("elasticsearch", "Elasticsearch"),
    ("remote_elasticsearch", "Remote Elasticsearch"),
    ("logstash", "Logstash"),
    ("kafka", "Kafka"),
];

/// The type in words.
pub(super) fn type_name(kind: &str) -> &str {
    TYPES
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(kind, |(_, name)| name)
}

pub(super) fn groups(kind: &str, proxies: Vec<Choice>) -> Vec<Group> {
    let mut groups = vec![start(kind)];
    match kind {
        "remote_elasticsearch" => groups.push(remote()),
        "kafka" => groups.extend(kafka()),
        _ => {}
    }
    groups.push(tls(kind));
    groups.push(end(kind, proxies));
    groups.push(
        Group::new("Advanced", vec![
            Spec::new("config_yaml", "Advanced YAML configuration", Kind::Yaml)
                .help("Goes into the output's section of each agent policy that uses it. A setting of ssl here wins over the field above.")
                .optional(),
        ])
        .folded(),
    );
    groups
}

fn start(kind: &str) -> Group {
    let (label, help) = match kind {
        "logstash" => ("Logstash hosts", "host:port, without a scheme."),
        "kafka" => ("Hosts", "host:port of the brokers that agents ask first."),
        _ => (
            "Hosts",
            "https URLs. Agents spread over them and go on with the rest when one fails.",
        ),
    };
    let mut fields = vec![
        Spec::new("name", "Name", Kind::Text),
        Spec::new("hosts", label, Kind::Rows).help(help),
    ];
    if kind == "kafka" {
        fields.push(
            Spec::new("version", "Kafka version", Kind::Text)
                .help("Of the protocol; 1.0.0 unless your brokers are older.")
                .optional(),
        );
    }
    if kind == "elasticsearch" || kind == "remote_elasticsearch" {
        fields.push(
            Spec::new("ca_trusted_fingerprint", "Elasticsearch CA trusted fingerprint", Kind::Text)
                .help("SHA-256 of the CA, 64 hexadecimal digits. Agents then trust that CA when the server sends it in its chain, and need no file.")
                .optional(),
        );
    }
    Group::new("", fields)
}

fn tls(kind: &str) -> Group {
    let mut fields = vec![
        Spec::new(
            "ssl.certificate_authorities",
            "Server SSL certificate authorities",
            Kind::Certificates,
        )
        .help("Agents check the certificate of the output's hosts with these.")
        .optional(),
        Spec::new("ssl.certificate", "Client SSL certificate", Kind::Certificate)
            .help("What agents present to the output. Only for mutual TLS.")
            .optional(),
        Spec::new("ssl.key", "Client SSL certificate key", Kind::Key("ssl.certificate"))
            .help("Belongs to the certificate above. PEM is kept as a secret; a path stays readable.")
            .optional(),
        Spec::new(
            "ssl.verification_mode",
            "Verification mode",
            Kind::Select(vec![
                Choice::new("", "As the agent is set (full)"),
                Choice::new("full", "Full: chain and name"),
                Choice::new("strict", "Strict: the name must be a subject alternative name"),
                Choice::new("certificate", "Certificate: the chain only"),
                Choice::new("none", "None: nothing is verified"),
            ]),
        )
        .help("What agents verify of the output's certificate.")
        .optional(),
    ];
    if kind == "logstash" {
        // Logstash knows its agents by their certificates alone.
        for field in fields
            .iter_mut()
            .filter(|field| matches!(field.path.as_str(), "ssl.certificate" | "ssl.key"))
        {
            field.optional = false;
        }
    }
    Group::new("Authentication", fields)
        .note("Set up a TLS secure connection")
        .wire("Elastic Agent", "Output", kind == "logstash")
}

fn remote() -> Group {
    Group::new(
        "Remote cluster",
        vec![
            Spec::new("service_token", "Service token", Kind::Secret).help(
                "Made on the remote cluster: POST /_security/service/elastic/fleet-server-remote/credential/token",
            ),
            Spec::new("sync_integrations", "Synchronize integrations", Kind::Switch)
                .help("Installs the integrations of this fleet on the remote cluster."),
            Spec::new("sync_uninstalled_integrations", "Also remove them there", Kind::Switch),
            Spec::new("kibana_url", "Remote Kibana URL", Kind::Text)
                .help("Only to synchronize.")
                .optional(),
            Spec::new("kibana_api_key", "Remote Kibana API key", Kind::Secret)
                .help("Only to synchronize.")
                .optional(),
        ],
    )
}

fn kafka() -> Vec<Group> {
    let choices = |list: &[(&str, &str)]| list.iter().map(|(value, name)| Choice::new(*value, *name)).collect();
    vec![
        Group::new(
            "Who the agents are",
            vec![Spec::new(
                "auth_type",
                "Authentication",
                Kind::Radio(vec![
                    Choice::new("none", "None").with_help("Brokers let anybody write"),
                    Choice::new("user_pass", "Username / Password").with_help("SASL"),
                    Choice::new("ssl", "SSL").with_help("The certificate below"),
                ]),
            )],
        ),
        Group::new(
            "",
            vec![
                Spec::new(
                    "connection_type",
                    "Connection",
                    Kind::Select(choices(&[("plaintext", "Plaintext"), ("encryption", "Encryption")])),
                )
                .optional(),
            ],
        )
        .when("auth_type=none"),
        Group::new(
            "",
            vec![
                Spec::new("username", "Username", Kind::Text),
                Spec::new("password", "Password", Kind::Secret),
                Spec::new(
                    "sasl.mechanism",
                    "SASL mechanism",
                    Kind::Select(choices(&[
                        ("PLAIN", "Plain"),
                        ("SCRAM-SHA-256", "SCRAM-SHA-256"),
                        ("SCRAM-SHA-512", "SCRAM-SHA-512"),
                    ])),
                ),
            ],
        )
        .when("auth_type=user_pass"),
        Group::new(
            "Topics",
            vec![
                Spec::new("topic", "Default topic", Kind::Text)
                    .help("Where events go.")
                    .optional(),
                Spec::new("key", "Key", Kind::Text)
                    .help("Events with the same key reach the same partition.")
                    .optional(),
                Spec::new("client_id", "Client ID", Kind::Text).optional(),
                Spec::new(
                    "partition",
                    "Partitioning strategy",
                    Kind::Select(choices(&[
                        ("hash", "Hash"),
                        ("random", "Random"),
                        ("round_robin", "Round robin"),
                    ])),
                )
                .optional(),
                Spec::new("headers", "Headers", Kind::PairList("key"))
                    .help("name: value, one a line; sent with each event.")
                    .optional(),
            ],
        ),
        Group::new(
            "",
            vec![Spec::new("random.group_events", "Number of events for a partition", Kind::Number).optional()],
        )
        .when("partition=random"),
        Group::new(
            "",
            vec![
                Spec::new(
                    "round_robin.group_events",
                    "Number of events for a partition",
                    Kind::Number,
                )
                .optional(),
            ],
        )
        .when("partition=round_robin"),
        Group::new(
            "",
            vec![
                Spec::new("hash.hash", "List of fields", Kind::Text)
                    .help("Their values make the hash, in place of the key.")
                    .optional(),
            ],
        )
        .when("partition=hash"),
        Group::new(
            "Compression and brokers",
            vec![
                Spec::new(
                    "compression",
                    "Compression",
                    Kind::Select(choices(&[
                        ("gzip", "gzip"),
                        ("snappy", "snappy"),
                        ("lz4", "lz4"),
                        ("none", "None"),
                    ])),
                )
                .optional(),
                Spec::new("timeout", "Timeout", Kind::Number)
                    .help("Seconds that a broker may take for its acknowledgement.")
                    .optional(),
                Spec::new("broker_timeout", "Broker timeout", Kind::Number)
                    .help("Seconds that agents wait for an answer.")
                    .optional(),
                Spec::new(
                    "required_acks",
                    "ACK reliability",
                    Kind::NumberSelect(choices(&[
                        ("1", "Wait for local commit"),
                        ("-1", "Wait for all replicas to commit"),
                        ("0", "Do not wait"),
                    ])),
                )
                .optional(),
            ],
        )
        .folded(),
        Group::new(
            "",
            vec![
                Spec::new("compression_level", "Compression level", Kind::Number)
                    .help("0 to 9.")
                    .optional(),
            ],
        )
        .when("compression=gzip"),
    ]
}

fn end(kind: &str, proxies: Vec<Choice>) -> Group {
    let mut fields = Vec::new();
    if matches!(kind, "elasticsearch" | "logstash") {
        fields.push(
            Spec::new("proxy_id", "Proxy", Kind::Select(proxies))
                .help("Agents send events through it.")
                .optional(),
        );
    }
    if kind.ends_with("elasticsearch") {
        let presets = [
            ("balanced", "Balanced"),
            ("custom", "Custom"),
            ("throughput", "Throughput"),
            ("scale", "Scale"),
            ("latency", "Latency"),
        ];
        fields.push(
            Spec::new(
                "preset",
                "Performance tuning",
                Kind::Select(presets.map(|(value, name)| Choice::new(value, name)).to_vec()),
            )
            .help("Sizes of queue and batches. Custom takes them from the advanced YAML.")
            .optional(),
        );
    }
    fields.push(Spec::new(
        "is_default",
        "Make this output the default for agent integrations.",
        Kind::Switch,
    ));
    fields.push(Spec::new(
        "is_default_monitoring",
        "Make this output the default for agent monitoring.",
        Kind::Switch,
    ));
    if kind.ends_with("elasticsearch") {
        fields.push(
            Spec::new(
                "write_to_logs_streams",
                "Allow agents to write to Streams",
                Kind::Switch,
            )
            .help("Gives agents the right to write to the streams logs and logs.*"),
        );
    }
    Group::new("", fields)
}
