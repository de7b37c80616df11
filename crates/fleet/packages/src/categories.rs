//! What the categories of packages are called, and which belong below others. Packages may name others, which have no title.
//!
//! Source: package-registry, categories.

/// A category.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Category {
    /// As packages name it.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
}

/// A category with those below it.
type Group = (Category, &'static [Category]);

const fn named(id: &'static str, title: &'static str) -> Category {
    Category { id, title }
}

const GROUPS: &[Group] = &[
    (named("aws", "AWS"), &[]),
    (named("azure", "Azure"), &[]),
    (named("cloud", "Cloud"), &[]),
    (named("config_management", "Config management"), &[]),
    (named("containers", "Containers"), &[]),
    (named("crm", "CRM"), &[]),
    (named("custom", "Custom"), &[named("custom_logs", "Custom Logs")]),
    (named("datastore", "Database"), &[]),
    (named("elastic_stack", "Elastic Stack"), &[]),
    (named("elasticsearch_sdk", "Elasticsearch SDK"), &[]),
    (named("enterprise_search", "Enterprise Search"), ENTERPRISE_SEARCH),
    (named("google_cloud", "Google Cloud"), &[]),
    (named("infrastructure", "Infrastructure"), INFRASTRUCTURE),
    (named("languages", "Languages"), &[]),
    (named("network", "Network"), &[]),
    (named("observability", "Observability"), OBSERVABILITY),
    (named("os_system", "Operating Systems"), &[]),
    (named("productivity", "Productivity"), &[]),
    (named("security", "Security"), SECURITY),
    (named("support", "Support"), &[]),
    (named("ticketing", "Ticketing"), &[]),
    (named("version_control", "Version Control"), &[]),
];
const ENTERPRISE_SEARCH: &[Category] = &[
    named("app_search", "Application Search"),
    named("connector", "Connector"),
    named("connector_client", "Connector Client"),
    named("connector_package", "Connector Package"),
    named("content_source", "Content Source"),
    named("crawler", "Crawler"),
    named("language_client", "Language Client"),
    named("native_search", "Native Search"),
    named("sdk_search", "SDK"),
    named("workplace_search", "Workplace Search"),
];
const INFRASTRUCTURE: &[Category] = &[
    named("analytics_engine", "Analytics Engine"),
    named("big_data", "Big Data"),
    named("kubernetes", "Kubernetes"),
    named("load_balancer", "Load Balancer"),
    named("message_queue", "Message Broker"),
    named("monitoring_infrastructure", "Monitoring"),
    named("notification", "Notification"),
    named("process_manager", "Process Manager"),
    named("stream_processing", "Stream Processing"),
    named("virtualization", "Virtualization Platform"),
    named("web", "Web Server"),
    named("websphere", "WebSphere Application Server"),
];
const OBSERVABILITY: &[Category] = &[
    named("application_observability", "Application"),
    named("java_observability", "Java"),
    named("monitoring", "Monitoring"),
];
const SECURITY: &[Category] = &[
    named("auditd", "AuditD"),
    named("authentication", "Authentication"),
    named("cdn_security", "Content Delivery Network"),
    named("credential_management", "Credential Management"),
    named("database_security", "Database"),
    named("dns_security", "DNS"),
    named("edr_xdr", "EDR/XDR"),
    named("email_security", "e-mail"),
    named("firewall_security", "Firewall"),
    named("iam", "Identity and Access Management"),
    named("ids_ips", "IDS/IPS"),
    named("network_security", "Network"),
    named("productivity_security", "Productivity"),
    named("proxy_security", "Proxy"),
    named("threat_intel", "Threat Intelligence"),
    named("vpn_security", "VPN"),
    named("web_application_firewall", "Web Application Firewall"),
];

/// The category of that id, and the one above it.
pub fn category(id: &str) -> Option<(Category, Option<Category>)> {
    GROUPS.iter().find_map(|(above, below)| {
        if above.id == id {
            return Some((*above, None));
        }
        let found = below.iter().find(|one| one.id == id)?;
        Some((*found, Some(*above)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_knows_the_one_above_it() {
        assert_eq!(category("iam").unwrap().1, category("security").map(|(above, _)| above));
        assert_eq!(category("os_system").unwrap().0.title, "Operating Systems");
        assert_eq!(category("of_a_stranger"), None);
    }
}
