//! `POST /api/fleet/agents/{id}/checkin`: an agent reports, and waits until there is something for it.
//!
//! Three steps with boxes between them, so that a waiting check-in holds no more than a [`Ticket`]: `begin` reads and
//! notes the report, `Ticket::wait` waits, `answer` writes. Request, body and document are gone before the wait.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use protocol::{AgentId, CheckinRequest, indices};
use tokio::time::Instant;

use crate::action_board::DeliverableAction;
use crate::agent_record::AgentRecord;
use crate::auth::AuthenticatedAgent;
use crate::checkin_change;
use crate::error::ApiError;
use crate::metrics::HeldCount;
use crate::output_keys;
use crate::policy_board::PolicyNews;
use crate::policy_text::PreparedPolicy;
use crate::poll::{News, Ticket};
use crate::server::FleetServer;
use crate::shared_gzip::gzip;
use crate::{body, upgrade_details};

/// A check-in may unpack to so many times its limit.
const UNPACKED: usize = 20;
/// The shortest poll that `poll_timeout` can ask for.
const SHORTEST_POLL: Duration = Duration::from_mins(1);
/// Agents wait this much longer than they say, for the answer to arrive.
const POLL_MARGIN: Duration = Duration::from_mins(2);
/// Actions handed out in one answer.
const MOST_ACTIONS: usize = 100;
/// An agent with a newer revision than this server knows has it from another server, and this one is about to learn of
/// it; after this long the agent is wrong, such as when the store was put back to an older state.
const PATIENCE_WITH_NEWER: Duration = Duration::from_secs(5);
/// Between attempts while the store cannot be reached.
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn checkin(
    State(server): State<Arc<FleetServer>>,
    Path(id): Path<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut ticket = Box::pin(begin(&server, id, request)).await?;
    loop {
        let news = ticket.wait(&server).await;
        match Box::pin(answer(&server, &ticket, &news)).await {
            // Nothing is lost while the store is away: the poll goes on and the news stay news.
            Err(error) if error.is_store_unavailable() && Instant::now() < ticket.deadline => {
                ticket.give_back(news);
                ticket.pause(&server, STORE_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn begin(server: &Arc<FleetServer>, id: AgentId, request: Request) -> Result<Ticket, ApiError> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let agent = server.authenticate_agent(&headers, &id).await?;
    let version = server.version.check(&headers)?;
    let limit = server.settings.limits.checkin.max_body;
    let body = body::read(&headers, body, limit, server.settings.timeouts.read).await?;
    let body = body::unpack(&headers, body, limit * UNPACKED).await?;
    let report: CheckinRequest = body::decode("checkin", &body)?;
    if report.status.is_empty() {
        return Err(ApiError::BadRequest("checkin status missing".to_owned()));
    }
    let poll = poll_time(server, report.poll_timeout.as_deref())?;
    let seq_no = acknowledged_action(server, &agent, report.ack_token.as_deref()).await?;
    if !agent.is_from_memory {
        upgrade_details::record(server, &id, &agent.record, report.upgrade_details.as_deref()).await?;
    }
    let (news, known) = follow_policy(server, &agent, &report).await?;
    checkin_change::note(server, &agent, &report, &version, seq_no)?;
    let held = server.agents.entry(&id).hold();
    let actions = pending_actions(server, &agent, seq_no).await?;
    Ok(Ticket {
        held,
        news,
        revision: known.revision,
        ahead_until: known.is_ahead.then(|| started + PATIENCE_WITH_NEWER),
        seq_no,
        actions,
        deadline: started + with_jitter(poll, server.settings.timeouts.checkin_jitter),
        accepts_gzip: accepts_gzip(&headers),
        _count: HeldCount::new(&server.metrics.polls_held),
    })
}

/// How long to hold a check-in.
fn poll_time(server: &FleetServer, asked: Option<&str>) -> Result<Duration, ApiError> {
    let timeouts = &server.settings.timeouts;
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(timeouts.checkin_long_poll);
    };
    let asked = parse_go_duration(asked).ok_or_else(|| {
        let reason = format!("poll_timeout cannot be parsed as duration: time: invalid duration {asked:?}");
        ApiError::BadRequest(reason)
    })?;
    Ok(asked
        .saturating_sub(POLL_MARGIN)
        .max(SHORTEST_POLL)
        .min(timeouts.checkin_max_poll))
}

/// Unlike in settings, a number without a unit is an error, but for zero.
fn parse_go_duration(text: &str) -> Option<Duration> {
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    (has_unit || text == "0")
        .then(|| settings::parse_duration(text))
        .flatten()
}

/// Takes a random part off, so that agents that came together do not come back together.
fn with_jitter(poll: Duration, jitter: Duration) -> Duration {
    if jitter.is_zero() || jitter >= poll {
        poll
    } else {
        poll.saturating_sub(rand::random_range(Duration::ZERO..jitter))
    }
}

/// One value, exactly `gzip`: what agents send.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().any(|value| value == "gzip")
}

/// The sequence number that the ack token stands for; an unknown one counts as none.
async fn acknowledged_action(
    server: &FleetServer,
    agent: &AuthenticatedAgent,
    token: Option<&str>,
) -> Result<i64, ApiError> {
    let stored = agent.record.action_seq_no;
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(stored);
    };
    let entry = server.agents.entry(&agent.id);
    let remembered = entry
        .state()
        .ack_token
        .as_ref()
        .filter(|(known, _)| &**known == token)
        .map(|(_, number)| *number);
    if let Some(number) = remembered {
        return Ok(number);
    }
    if agent.is_from_memory {
        return Ok(stored);
    }
    let Some(action) = server.store.get(indices::ACTIONS, token).await? else {
        return Ok(stored);
    };
    let number = i64::try_from(action.seq_no).unwrap_or(stored);
    entry.state().ack_token = Some((token.into(), number));
    Ok(number)
}

/// The channel of the agent's policy, and the revision beyond which there is news for it. What the agent says it runs
/// is its acknowledgement: keys are cleaned up after it.
async fn follow_policy(
    server: &Arc<FleetServer>,
    agent: &AuthenticatedAgent,
    report: &CheckinRequest,
) -> Result<(PolicyNews, Known), ApiError> {
    let news = server.policies.subscribe(&agent.record.policy_id);
    let newest = news.borrow().clone();
    let known = known_revision(
        &agent.record,
        report,
        newest.as_deref(),
        server.settings.ignore_checkin_policy_id,
    );
    if let Some(newest) = newest
        && known.revision == newest.revision
        && !agent.is_from_memory
        && is_new_acknowledgement(&agent.record, report)
    {
        output_keys::settle(server, &agent.id, &agent.record, &newest).await?;
    }
    Ok((news, known))
}

/// What an agent has of its policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Known {
    revision: i64,
    /// It is newer than the newest that this server knows.
    is_ahead: bool,
}

/// Whether the agent runs another revision than its document says.
fn is_new_acknowledgement(record: &AgentRecord, report: &CheckinRequest) -> bool {
    report.agent_policy_id.is_some()
        && (record.agent_policy_id != report.agent_policy_id
            || Some(record.policy_revision_idx) != report.policy_revision_idx)
}

/// The revision that the agent has. Source: Fleet protocol, policy logic of check-ins.
fn known_revision(
    record: &AgentRecord,
    report: &CheckinRequest,
    newest: Option<&PreparedPolicy>,
    ignore_report: bool,
) -> Known {
    let is = |revision| Known {
        revision,
        is_ahead: false,
    };
    if newest.is_some_and(|newest| lacks_a_key(record, newest)) {
        return is(0);
    }
    let reported = report
        .agent_policy_id
        .as_ref()
        .filter(|id| !id.is_empty())
        .zip(report.policy_revision_idx);
    match reported.filter(|_| !ignore_report) {
        None => is(record.policy_revision_idx),
        Some((policy_id, _)) if *policy_id != record.policy_id => is(0),
        Some((_, revision)) => Known {
            revision,
            is_ahead: newest.is_some_and(|newest| revision > newest.revision),
        },
    }
}

/// Whether an output of the policy has no key in the agent's document.
fn lacks_a_key(record: &AgentRecord, newest: &PreparedPolicy) -> bool {
    let has_key = |name: &str| {
        record
            .outputs
            .get(name)
            .is_some_and(|output| !output.api_key.is_empty())
    };
    newest.key_outputs.iter().any(|output| !has_key(&output.name))
}

/// Actions that were written before this check-in and that the agent does not have.
async fn pending_actions(
    server: &FleetServer,
    agent: &AuthenticatedAgent,
    seq_no: i64,
) -> Result<Vec<Arc<DeliverableAction>>, ApiError> {
    if agent.is_from_memory || !server.actions.may_have(&agent.id, seq_no) {
        return Ok(Vec::new());
    }
    server.find_actions(&agent.id, seq_no, MOST_ACTIONS).await
}

async fn answer(server: &Arc<FleetServer>, ticket: &Ticket, news: &News) -> Result<Response, ApiError> {
    match news {
        News::Nothing => Ok(json_response(Bytes::from_static(
            b"{\"ack_token\":\"\",\"action\":\"checkin\"}",
        ))),
        News::Actions(actions) => {
            server.action_pace.wait().await;
            Ok(actions_answer(server, ticket, actions))
        }
        News::Policy(policy) => {
            server.policy_pace.wait().await;
            policy_answer(server, ticket, policy).await
        }
    }
}

fn actions_answer(server: &FleetServer, ticket: &Ticket, actions: &[Arc<DeliverableAction>]) -> Response {
    let mut text = b"{\"ack_token\":".to_vec();
    let last = actions.last();
    crate::json_text::write_string(last.map_or("", |action| &action.document_id), &mut text);
    text.extend_from_slice(b",\"action\":\"checkin\",\"actions\":[");
    for (place, action) in actions.iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        action.write(&ticket.held.entry.id, &mut text);
    }
    text.extend_from_slice(b"]}");
    if let Some(last) = last {
        let number = i64::try_from(last.seq_no).unwrap_or(i64::MAX);
        ticket.held.entry.state().ack_token = Some((last.document_id.as_str().into(), number));
    }
    server.metrics.actions_sent.inc_by(actions.len() as u64);
    let compression = server.settings.compression;
    if ticket.accepts_gzip && compression.level > 0 && text.len() > compression.threshold {
        return gzip_response(gzip(&text, compression.level));
    }
    json_response(Bytes::from(text))
}

async fn policy_answer(
    server: &Arc<FleetServer>,
    ticket: &Ticket,
    policy: &PreparedPolicy,
) -> Result<Response, ApiError> {
    let entry = &ticket.held.entry;
    let keys = output_keys::complete(server, entry, policy).await?;
    server.metrics.policies_sent.inc();
    tracing::debug!(agent.id = %entry.id, policy.id = %policy.policy_id, policy.revision = policy.revision, "policy sent");
    let compression = server.settings.compression;
    if ticket.accepts_gzip && compression.level > 0 && policy.plain_length() > compression.threshold {
        return Ok(gzip_response(policy.gzip_answer(&entry.id, &keys)));
    }
    Ok(json_response(Bytes::from(policy.answer(&entry.id, &keys))))
}

fn json_response(text: Bytes) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

fn gzip_response(packed: Vec<u8>) -> Response {
    let mut response = json_response(Bytes::from(packed));
    response
        .headers_mut()
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;

    fn policy(revision: i64, outputs: &Value) -> PreparedPolicy {
        let permissions: serde_json::Map<_, _> = outputs
            .as_object()
            .unwrap()
            .keys()
            .map(|name| (name.clone(), json!({"r": {}})))
            .collect();
        let data = json!({"outputs": outputs, "output_permissions": permissions});
        let document = json!({"policy_id": "p", "revision_idx": revision, "data": data});
        PreparedPolicy::new(serde_json::from_value(document).unwrap(), &HashMap::new(), 1).unwrap()
    }

    fn report(policy_id: &str, revision: i64) -> CheckinRequest {
        CheckinRequest {
            agent_policy_id: Some(policy_id.into()),
            policy_revision_idx: Some(revision),
            ..CheckinRequest::default()
        }
    }

    #[test]
    fn the_revision_that_an_agent_has() {
        let record = AgentRecord {
            policy_id: "p".into(),
            policy_revision_idx: 2,
            ..AgentRecord::default()
        };
        let newest = policy(3, &json!({}));
        let check = |report: &CheckinRequest, newest: Option<&PreparedPolicy>, ignore: bool, expected: i64| {
            let known = known_revision(&record, report, newest, ignore);
            assert_eq!(
                known,
                Known {
                    revision: expected,
                    is_ahead: expected == 4 && newest.is_some()
                },
                "{report:?}"
            );
        };
        check(&CheckinRequest::default(), Some(&newest), false, 2);
        check(&report("p", 3), Some(&newest), false, 3);
        check(&report("p", 3), Some(&newest), true, 2);
        check(&report("other", 3), Some(&newest), false, 0);
        check(&report("p", 4), Some(&newest), false, 4);
        check(&report("p", 4), None, false, 4);
        check(
            &report("p", 3),
            Some(&policy(3, &json!({"o": {"type": "elasticsearch"}}))),
            false,
            0,
        );
        check(
            &report("p", 3),
            Some(&policy(3, &json!({"o": {"type": "logstash"}}))),
            false,
            3,
        );
    }

    #[test]
    fn durations_of_agents_need_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_go_duration(text), expected.map(Duration::from_secs), "{text}");
        };
        check("5m", Some(300));
        check("1h30m", Some(5400));
        check("0", Some(0));
        check("5", None);
        check("abc", None);
        check("-5m", None);
    }

    #[test]
    fn jitter_shortens_polls_that_are_longer() {
        let second = Duration::from_secs(1);
        assert_eq!(with_jitter(second, second), second);
        assert_eq!(with_jitter(second, Duration::ZERO), second);
        for _ in 0..50 {
            let poll = with_jitter(second * 10, second);
            assert!(poll > second * 9 && poll <= second * 10, "{poll:?}");
        }
    }
}
