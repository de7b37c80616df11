//! What Fleet Server hosts, outputs, proxies and download sources have in common on this page.

use policy::model::{DownloadSource, FleetServerHost, Output, Proxy};

use super::super::form::{Choice, Group};
use super::super::look::url_part;
use super::{host_form, output_form, proxy_form, source_form};
use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::checks::Report;
use crate::domain::documents::{Collection, DOWNLOAD_SOURCES, Fields, HOSTS, OUTPUTS, PROXIES};
use crate::domain::error::FleetError;
use crate::domain::{download_sources, fleet_server_hosts, outputs, proxies};

/// One of the four kinds of object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Object {
    Host,
    Output,
    Proxy,
    Source,
}

impl Object {
    const ALL: [Self; 4] = [Self::Host, Self::Output, Self::Proxy, Self::Source];

    /// From the part of a URL.
    pub(super) fn of(part: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|object| object.part() == part)
    }

    /// In URLs.
    pub(super) fn part(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Output => "output",
            Self::Proxy => "proxy",
            Self::Source => "source",
        }
    }

    /// In sentences.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Host => "Fleet Server host",
            Self::Output => "output",
            Self::Proxy => "proxy",
            Self::Source => "agent binary source",
        }
    }

    pub(super) fn title(self, is_new: bool) -> &'static str {
        match (self, is_new) {
            (Self::Host, true) => "Add Fleet Server",
            (Self::Host, false) => "Edit Fleet Server",
            (Self::Output, true) => "Add new output",
            (Self::Output, false) => "Edit output",
            (Self::Proxy, true) => "Add Proxy",
            (Self::Proxy, false) => "Edit Proxy",
            (Self::Source, true) => "Add agent binary source",
            (Self::Source, false) => "Edit agent binary source",
        }
    }

    /// What a wrong value does, said above the form of an existing object.
    pub(super) fn danger(self) -> &'static str {
        match self {
            Self::Host => {
                "Agents that cannot verify the new settings lose their Fleet Server and have to enroll again."
            }
            Self::Output => {
                "Agents that cannot verify the new settings keep their events until they can send them again."
            }
            Self::Proxy => "Agents must be able to reach the proxy; else they lose what goes through it.",
            Self::Source => "Agents that cannot verify the source are not upgraded; nothing else stops.",
        }
    }

    pub(super) fn collection(self) -> &'static Collection {
        match self {
            Self::Host => &HOSTS,
            Self::Output => &OUTPUTS,
            Self::Proxy => &PROXIES,
            Self::Source => &DOWNLOAD_SOURCES,
        }
    }

    /// The form; `kind` is the type of an output.
    pub(super) async fn groups(self, console: &Console, kind: &str) -> Result<Vec<Group>, FleetError> {
        Ok(match self {
            Self::Host => host_form::groups(proxy_choices(console).await?),
            Self::Output => output_form::groups(kind, proxy_choices(console).await?),
            Self::Proxy => proxy_form::groups(),
            Self::Source => source_form::groups(proxy_choices(console).await?),
        })
    }

    /// The page that follows when one was saved.
    pub(super) fn after_saving(self) -> String {
        format!("/app/fleet/settings?done={}-saved", self.part())
    }

    /// The page that follows when one was made: where agents find a Fleet Server comes before the command that runs it.
    pub(super) fn after_creating(self, id: &str) -> String {
        match self {
            Self::Host => format!(
                "/app/fleet/agents/add-fleet-server?host={}&done=host-saved",
                url_part(id)
            ),
            _ => self.after_saving(),
        }
    }

    pub(super) async fn dry_run(
        self,
        console: &Console,
        id: Option<&str>,
        given: Fields,
    ) -> Result<Report, FleetError> {
        match self {
            Self::Host => fleet_server_hosts::dry_run(console, id, given).await,
            Self::Output => outputs::dry_run(console, id, given).await,
            Self::Proxy => proxies::dry_run(console, id, given).await,
            Self::Source => download_sources::dry_run(console, id, given).await,
        }
    }

    /// The id of what was made.
    pub(super) async fn create(self, console: &Console, actor: &Actor, fields: Fields) -> Result<String, FleetError> {
        Ok(match self {
            Self::Host => fleet_server_hosts::create(console, actor, fields).await?.id,
            Self::Output => outputs::create(console, actor, fields).await?.id,
            Self::Proxy => proxies::create(console, actor, fields).await?.id,
            Self::Source => download_sources::create(console, actor, fields).await?.id,
        })
    }

    pub(super) async fn update(
        self,
        console: &Console,
        actor: &Actor,
        id: &str,
        fields: Fields,
    ) -> Result<(), FleetError> {
        match self {
            Self::Host => fleet_server_hosts::update(console, actor, id, fields)
                .await
                .map(|_: FleetServerHost| ()),
            Self::Output => outputs::update(console, actor, id, fields).await.map(|_: Output| ()),
            Self::Proxy => proxies::update(console, actor, id, fields).await.map(|_: Proxy| ()),
            Self::Source => download_sources::update(console, actor, id, fields)
                .await
                .map(|_: DownloadSource| ()),
        }
    }

    pub(super) async fn delete(self, console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
        match self {
            Self::Host => fleet_server_hosts::delete(console, actor, id).await,
            Self::Output => outputs::delete(console, actor, id).await,
            Self::Proxy => proxies::delete(console, actor, id).await,
            Self::Source => download_sources::delete(console, actor, id).await,
        }
    }
}

/// All proxies, with none in front.
async fn proxy_choices(console: &Console) -> Result<Vec<Choice>, FleetError> {
    let mut choices = vec![Choice::new("", "No proxy")];
    let all = proxies::list(console).await?;
    choices.extend(
        all.into_iter()
            .map(|proxy| Choice::new(proxy.id, format!("{}, {}", proxy.name, proxy.url))),
    );
    Ok(choices)
}
