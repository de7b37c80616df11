//! Seeds decide what happens next: enrolments, policy edits, check-ins, acknowledgements, a store that goes and comes back.
//! After each step the answers must be possible ones, and in the end every agent runs what it should.
//!
//! `FLOTILLA_SOAK_ROUNDS` is the number of seeds; a failure names its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::support::{Agent, Answer, Fleet, enrolment, quick, running};

const STEPS: usize = 80;
const POLICIES: [&str; 2] = ["policy-a", "policy-b"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_ends_with_agents_that_run_the_newest_policy() {
    for seed in 0..testkit::soak_rounds(8) {
        let mut world = World::new(u64::try_from(seed).unwrap()).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.settles().await;
    }
}

struct World {
    fleet: Fleet,
    random: Random,
    seed: u64,
    tokens: BTreeMap<&'static str, String>,
    /// Newest revision by policy; edits need the store, so these are certain.
    newest: BTreeMap<&'static str, i64>,
    agents: Vec<Simulated>,
    store_is_there: bool,
}

struct Simulated {
    agent: Agent,
    policy: &'static str,
    /// What it runs; 0: nothing yet.
    runs: i64,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut settings = quick();
        settings.timeouts.checkin_long_poll = Duration::from_millis(15);
        settings.timeouts.checkin_flush = Duration::from_millis(5);
        let fleet = Fleet::start(settings).await;
        let mut tokens = BTreeMap::new();
        for policy in POLICIES {
            fleet.publish_policy(policy, 1).await;
            tokens.insert(policy, fleet.enrollment_token(policy, json!({})).await);
        }
        Self {
            fleet,
            random: Random(seed),
            seed,
            tokens,
            newest: POLICIES.map(|policy| (policy, 1)).into(),
            agents: Vec::new(),
            store_is_there: true,
        }
    }

    async fn step(&mut self) {
        match self.random.below(20) {
            0..4 => self.enrolls().await,
            4..6 if self.store_is_there => self.edits().await,
            6..8 => self.store_comes_or_goes(),
            _ => self.checks_in().await,
        }
    }

    async fn enrolls(&mut self) {
        let policy = POLICIES[self.random.below(POLICIES.len())];
        let answer = self
            .fleet
            .post("/api/fleet/agents/enroll", &self.tokens[policy], &enrolment())
            .await;
        if !self.store_is_there {
            self.is_told_to_wait(&answer);
            return;
        }
        assert_eq!(answer.status, 200, "seed {}: {answer:?}", self.seed);
        let item = &answer.json()["item"];
        let text = |field: &str| item[field].as_str().unwrap().to_owned();
        self.agents.push(Simulated {
            agent: Agent {
                id: text("id"),
                key: text("access_api_key"),
            },
            policy,
            runs: 0,
        });
    }

    async fn edits(&mut self) {
        let policy = POLICIES[self.random.below(POLICIES.len())];
        let revision = self.newest[policy] + 1;
        self.fleet.publish_policy(policy, revision).await;
        self.newest.insert(policy, revision);
    }

    fn store_comes_or_goes(&mut self) {
        self.store_is_there = !self.store_is_there;
        if self.store_is_there {
            self.fleet.store.bring_back();
        } else {
            self.fleet.store.take_away();
        }
    }

    /// One agent checks in and, most of the time, acknowledges what it got; now and then it loses the answer.
    async fn checks_in(&mut self) {
        if self.agents.is_empty() {
            return;
        }
        let chosen = self.random.below(self.agents.len());
        let loses_the_answer = self.random.below(8) == 0;
        let Simulated { agent, policy, runs } = &self.agents[chosen];
        let answer = self.fleet.checkin(agent, &running(policy, *runs)).await;
        let Some(revision) = self.revision_of(&answer, policy, *runs) else {
            return;
        };
        if loses_the_answer {
            return;
        }
        let acknowledged = self.fleet.ack(agent, &format!("policy:{policy}:{revision}")).await;
        if acknowledged.status != 200 {
            assert!(!self.store_is_there, "seed {}: {acknowledged:?}", self.seed);
            self.is_told_to_wait(&acknowledged);
        }
        self.agents[chosen].runs = revision;
    }

    /// The revision that a check-in brings: newer than what the agent runs, never newer than what there is.
    fn revision_of(&self, answer: &Answer, policy: &str, runs: i64) -> Option<i64> {
        if answer.status != 200 {
            assert!(!self.store_is_there, "seed {}: {answer:?}", self.seed);
            self.is_told_to_wait(answer);
            return None;
        }
        let body = answer.json();
        let id = body["actions"][0]["id"].as_str()?;
        let (of, revision) = id.strip_prefix("policy:").unwrap().rsplit_once(':').unwrap();
        let revision: i64 = revision.parse().unwrap();
        assert_eq!(of, policy, "seed {}: {id}", self.seed);
        assert!(
            revision > runs && revision <= self.newest[policy],
            "seed {}: {id}, running {runs}, newest {:?}",
            self.seed,
            self.newest
        );
        Some(revision)
    }

    fn is_told_to_wait(&self, answer: &Answer) {
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "seed {}: {answer:?}",
            self.seed
        );
        assert!(answer.header("retry-after").is_some(), "seed {}: {answer:?}", self.seed);
    }

    /// With the store back, a few check-ins bring everybody to the newest policy, and the documents say so.
    async fn settles(mut self) {
        if !self.store_is_there {
            self.store_comes_or_goes();
        }
        for chosen in 0..self.agents.len() {
            let mut tries = 0;
            while self.agents[chosen].runs < self.newest[self.agents[chosen].policy] {
                tries += 1;
                let Simulated { agent, policy, runs } = &self.agents[chosen];
                let answer = self.fleet.checkin(agent, &running(policy, *runs)).await;
                assert!(
                    tries < 1000,
                    "seed {}: {} stays behind with {runs} of {policy}, newest {:?}: {answer:?}",
                    self.seed,
                    agent.id,
                    self.newest
                );
                if let Some(revision) = self.revision_of(&answer, policy, *runs) {
                    self.agents[chosen].runs = revision;
                }
            }
            let Simulated { agent, policy, runs } = &self.agents[chosen];
            self.fleet.checkin(agent, &running(policy, *runs)).await;
            self.fleet
                .until_agent(&agent.id, |document| document["policy_revision_idx"] == *runs)
                .await;
        }
        self.fleet.stop().await;
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine and in every version.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }
}
