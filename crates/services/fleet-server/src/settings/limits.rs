//! How much of each endpoint is admitted, and the presets by number of agents.
//! Source: Fleet Server's limits, one preset for each size of fleet.

use std::time::Duration;

/// The limit of one endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// One request each; zero: any rate.
    pub interval: Duration,
    /// So many at once before the interval counts.
    pub burst: u32,
    /// So many in progress; zero: any number.
    pub max: usize,
    /// Bytes of a request's body, after decompression for check-ins twenty times as many; zero: the endpoint's default.
    pub max_body: usize,
}

/// The limits of all endpoints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Agents that the presets are chosen for; zero: none chosen.
    pub max_agents: usize,
    /// Connections; zero: any number. For the listener.
    pub max_connections: usize,
    /// Bytes of a request's head. For the listener.
    pub max_header_bytes: usize,
    /// Check-ins; held ones count.
    pub checkin: Limit,
    /// Enrolments.
    pub enroll: Limit,
    /// How many enrolments may wait when there are more than `enroll` admits.
    pub enroll_queue: usize,
    /// How long an enrolment may wait.
    pub enroll_queue_wait: Duration,
    /// Acknowledgements.
    pub ack: Limit,
    /// Last words of agents.
    pub audit_unenroll: Limit,
    /// Status.
    pub status: Limit,
    /// Artifacts.
    pub artifact: Limit,
    /// Begin of uploads.
    pub upload_start: Limit,
    /// Chunks of uploads.
    pub upload_chunk: Limit,
    /// End of uploads.
    pub upload_end: Limit,
    /// Files for agents.
    pub file_delivery: Limit,
    /// The PGP key.
    pub pgp_retrieval: Limit,
    /// Pace at which a policy change goes out; interval zero: to all at once.
    pub policy: Limit,
    /// Pace at which actions go out; interval zero: to all at once.
    pub action: Limit,
}

const fn limit(interval_micros: u64, burst: u32, max: usize, max_body: usize) -> Limit {
    Limit {
        interval: Duration::from_micros(interval_micros),
        burst,
        max,
        max_body,
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Default for Limits {
    /// No pace at all, only bounds on what is in progress at once: this server's enrolment and dispatch are cheap enough
    /// not to need one.
    fn default() -> Self {
        Self {
            max_agents: 0,
            max_connections: 0,
            max_header_bytes: 8 * KIB,
            checkin: limit(0, 0, 200_000, MIB),
            enroll: limit(0, 0, 256, 512 * KIB),
            enroll_queue: 20_000,
            enroll_queue_wait: Duration::from_mins(1),
            ack: limit(0, 0, 4_000, 2 * MIB),
            audit_unenroll: limit(0, 0, 1_000, KIB),
            status: limit(0, 0, 1_000, 0),
            artifact: limit(0, 0, 1_000, 0),
            upload_start: limit(0, 0, 20, 5 * MIB),
            upload_chunk: limit(0, 0, 20, 4 * MIB),
            upload_end: limit(0, 0, 20, KIB),
            file_delivery: limit(0, 0, 50, 0),
            pgp_retrieval: limit(0, 0, 1_000, 0),
            policy: limit(0, 1, 0, 0),
            action: limit(0, 1, 0, 0),
        }
    }
}

/// One row of the table: agents, connections, then interval (µs), burst, max for check-in, enrol, ack, artifact, and the
/// pace of policies and actions.
struct Preset {
    agents: usize,
    recommended_mib: u64,
    connections: usize,
    checkin: (u64, u32, usize),
    enroll: (u64, u32, usize),
    ack: (u64, u32, usize),
    artifact: (u64, u32, usize),
    policy: u64,
    action: (u64, u32),
}

const PRESETS: [Preset; 8] = [
    Preset {
        agents: 500,
        recommended_mib: 256,
        connections: 1500,
        checkin: (5000, 100, 500),
        enroll: (10_000, 10, 20),
        ack: (4000, 100, 200),
        artifact: (5000, 100, 200),
        policy: 5000,
        action: (5000, 1),
    },
    Preset {
        agents: 1000,
        recommended_mib: 512,
        connections: 3000,
        checkin: (5000, 200, 1000),
        enroll: (10_000, 20, 40),
        ack: (4000, 200, 400),
        artifact: (5000, 200, 400),
        policy: 5000,
        action: (5000, 1),
    },
    Preset {
        agents: 2500,
        recommended_mib: 1024,
        connections: 7000,
        checkin: (5000, 500, 2500),
        enroll: (10_000, 50, 100),
        ack: (4000, 500, 1000),
        artifact: (5000, 500, 1000),
        policy: 5000,
        action: (5000, 1),
    },
    Preset {
        agents: 5000,
        recommended_mib: 2048,
        connections: 12_000,
        checkin: (2000, 1000, 5000),
        enroll: (10_000, 100, 200),
        ack: (2000, 1000, 2000),
        artifact: (2000, 1000, 2000),
        policy: 5000,
        action: (5000, 5),
    },
    Preset {
        agents: 10_000,
        recommended_mib: 4048,
        connections: 22_000,
        checkin: (1000, 2000, 10_000),
        enroll: (10_000, 100, 200),
        ack: (1000, 2000, 4000),
        artifact: (1000, 2000, 4000),
        policy: 5000,
        action: (1000, 10),
    },
    Preset {
        agents: 20_000,
        recommended_mib: 8096,
        connections: 42_000,
        checkin: (500, 4000, 20_000),
        enroll: (10_000, 100, 200),
        ack: (500, 4000, 8000),
        artifact: (500, 4000, 8000),
        policy: 5000,
        action: (1000, 100),
    },
    Preset {
        agents: 40_000,
        recommended_mib: 16_192,
        connections: 0,
        checkin: (500, 4000, 40_000),
        enroll: (10_000, 100, 200),
        ack: (500, 4000, 8000),
        artifact: (500, 4000, 8000),
        policy: 2000,
        action: (500, 100),
    },
    Preset {
        agents: usize::MAX,
        recommended_mib: 32_384,
        connections: 0,
        checkin: (250, 8000, 80_000),
        enroll: (10_000, 200, 400),
        ack: (250, 8000, 16_000),
        artifact: (250, 8000, 16_000),
        policy: 250,
        action: (250, 100),
    },
];

impl Limits {
    /// The preset for a fleet of `agents`.
    pub fn for_agents(agents: usize) -> Self {
        let preset = PRESETS
            .iter()
            .find(|preset| agents <= preset.agents)
            .unwrap_or(&PRESETS[7]);
        Self::of(preset, agents)
    }

    /// The largest preset whose recommended memory is there.
    pub fn for_memory(mib: u64) -> Self {
        let preset = PRESETS
            .iter()
            .rev()
            .find(|preset| preset.recommended_mib <= mib)
            .unwrap_or(&PRESETS[0]);
        Self::of(preset, 0)
    }

    fn of(preset: &Preset, agents: usize) -> Self {
        let of = |(interval, burst, max): (u64, u32, usize), body| limit(interval, burst, max, body);
        let bodies = Self::default();
        Self {
            max_agents: agents,
            max_connections: preset.connections,
            checkin: of(preset.checkin, bodies.checkin.max_body),
            enroll: of(preset.enroll, bodies.enroll.max_body),
            ack: of(preset.ack, bodies.ack.max_body),
            audit_unenroll: of(preset.ack, bodies.audit_unenroll.max_body),
            status: limit(5000, preset.artifact.1, preset.artifact.2, 0),
            artifact: of(preset.artifact, 0),
            upload_start: limit(2_000_000, 5, 10, bodies.upload_start.max_body),
            upload_chunk: limit(3000, 5, 10, bodies.upload_chunk.max_body),
            upload_end: limit(2_000_000, 5, 10, bodies.upload_end.max_body),
            file_delivery: limit(100_000, 8, 16, 0),
            pgp_retrieval: of(preset.artifact, 0),
            policy: limit(preset.policy, 1, 0, 0),
            action: limit(preset.action.0, preset.action.1, 0, 0),
            ..bodies
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_follows_the_number_of_agents() {
        let check = |agents: usize, checkin_max: usize, connections: usize| {
            let limits = Limits::for_agents(agents);
            assert_eq!(
                (limits.checkin.max, limits.max_connections),
                (checkin_max, connections),
                "{agents}"
            );
        };
        check(1, 500, 1500);
        check(500, 500, 1500);
        check(501, 1000, 3000);
        check(10_000, 10_000, 22_000);
        check(1_000_000, 80_000, 0);
    }

    #[test]
    fn the_preset_follows_the_memory() {
        assert_eq!(Limits::for_memory(100).checkin.max, 500);
        assert_eq!(Limits::for_memory(4100).checkin.max, 10_000);
        assert_eq!(Limits::for_memory(4100).enroll, limit(10_000, 100, 200, 512 * KIB));
    }
}
