//! What every page has around its content.

use super::assets;
use super::session::SignedIn;

/// Navigation, account, theme.
pub(super) struct Frame {
    pub(super) title: String,
    /// The name of the navigation's current item.
    pub(super) section: &'static str,
    pub(super) user: String,
    pub(super) initials: String,
    pub(super) csrf: String,
    pub(super) theme: Option<String>,
    /// What the theme button changes to.
    pub(super) next_theme: &'static str,
    pub(super) assets: String,
    pub(super) toast: Option<String>,
    pub(super) navigation: &'static [Group],
}

/// Items under one heading.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) items: &'static [Item],
}

/// A link of the navigation.
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) href: &'static str,
    pub(super) icon: &'static str,
}

const NAVIGATION: &[Group] = &[
    Group {
        name: "",
        items: &[Item {
            name: "Home",
            href: "/",
            icon: "home",
        }],
    },
    Group {
        name: "Fleet",
        items: &[
            Item {
                name: "Agents",
                href: "/app/fleet/agents",
                icon: "agents",
            },
            Item {
                name: "Agent policies",
                href: "/app/fleet/policies",
                icon: "policy",
            },
            Item {
                name: "Integrations",
                href: "/app/fleet/packages",
                icon: "columns",
            },
            Item {
                name: "Enrollment tokens",
                href: "/app/fleet/enrollment-tokens",
                icon: "key",
            },
            Item {
                name: "Uninstall tokens",
                href: "/app/fleet/uninstall-tokens",
                icon: "trash",
            },
            Item {
                name: "Data streams",
                href: "/app/fleet/data-streams",
                icon: "streams",
            },
            Item {
                name: "Settings",
                href: "/app/fleet/settings",
                icon: "settings",
            },
        ],
    },
    Group {
        name: "Trust",
        items: &[
            Item {
                name: "TLS map",
                href: "/app/trust/map",
                icon: "map",
            },
            Item {
                name: "Certificates",
                href: "/app/trust/certificates",
                icon: "certificate",
            },
        ],
    },
    Group {
        name: "Data",
        items: &[
            Item {
                name: "Explore",
                href: "/app/explore",
                icon: "chart",
            },
            Item {
                name: "Hosts",
                href: "/app/hosts",
                icon: "host",
            },
        ],
    },
    Group {
        name: "Console",
        items: &[Item {
            name: "Audit log",
            href: "/app/audit",
            icon: "audit",
        }],
    },
];

impl Frame {
    pub(super) fn new(reader: &SignedIn, section: &'static str, title: impl Into<String>) -> Self {
        let user = reader.session.principal.username.clone();
        Self {
            title: title.into(),
            section,
            initials: user.chars().take(2).collect::<String>().to_uppercase(),
            user,
            csrf: reader.session.csrf_token(),
            next_theme: next_theme(reader.theme.as_deref()),
            theme: reader.theme.clone(),
            assets: assets::version(),
            toast: None,
            navigation: NAVIGATION,
        }
    }

    /// Says once, at the bottom, what was done.
    pub(super) fn toast(mut self, done: Option<&str>) -> Self {
        self.toast = done.map(str::to_owned);
        self
    }
}

/// From the system's choice to dark, to light, and back.
fn next_theme(present: Option<&str>) -> &'static str {
    match present {
        None => "dark",
        Some("dark") => "light",
        Some(_) => "system",
    }
}
