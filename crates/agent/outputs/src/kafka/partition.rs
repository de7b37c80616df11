//! Which partition of its topic an event goes to: `partition.hash`, `partition.random`, `partition.round_robin`.

use event::fields::{self, Fields};

use crate::OutputError;
use crate::elasticsearch::settings::positive;
use crate::format_string::plain;
use crate::setting::Block;

/// The strategy that the policy asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Partitioning {
    /// The same fields, the same partition; without fields, the same key. Without a key at random.
    Hash(Vec<String>),
    Random {
        group_events: usize,
    },
    RoundRobin {
        group_events: usize,
    },
}

impl Partitioning {
    pub(crate) fn from_block(block: &Block<'_>) -> Result<Self, OutputError> {
        let group = |setting: &str| positive(block, setting, 1);
        if block.at("partition.random").is_some() {
            let group_events = group("partition.random.group_events")?;
            return Ok(Self::Random { group_events });
        }
        if block.at("partition.round_robin").is_some() {
            let group_events = group("partition.round_robin.group_events")?;
            return Ok(Self::RoundRobin { group_events });
        }
        let fields = block.list("partition.hash.hash")?;
        let fields = fields.iter().flat_map(|field| field.split(','));
        let named = fields.map(str::trim).filter(|field| !field.is_empty());
        Ok(Self::Hash(named.map(str::to_owned).collect()))
    }

    pub(crate) fn reads_fields(&self) -> bool {
        matches!(self, Self::Hash(fields) if !fields.is_empty())
    }
}

/// Chooses partitions for the events of one connection.
#[derive(Debug)]
pub(crate) struct Partitioner {
    strategy: Partitioning,
    /// Events that still go to `current`.
    left_in_group: usize,
    current: u32,
}

impl Partitioner {
    pub(crate) fn new(strategy: Partitioning) -> Self {
        Self {
            strategy,
            left_in_group: 0,
            current: rand::random(),
        }
    }

    /// A number below `partitions`, which is not 0.
    pub(crate) fn choose(&mut self, event: &Fields, key: Option<&str>, partitions: usize) -> usize {
        let number = match &self.strategy {
            Partitioning::Hash(fields) => hash_of(fields, event, key).unwrap_or_else(rand::random),
            Partitioning::Random { group_events } => {
                let group = *group_events;
                self.grouped(group, |_| rand::random())
            }
            Partitioning::RoundRobin { group_events } => {
                let group = *group_events;
                self.grouped(group, |last| last.wrapping_add(1))
            }
        };
        // The sign is cut off, as other producers of the same keys do.
        (number & 0x7fff_ffff) as usize % partitions
    }

    fn grouped(&mut self, group: usize, next: impl FnOnce(u32) -> u32) -> u32 {
        if self.left_in_group == 0 {
            self.left_in_group = group;
            self.current = next(self.current);
        }
        self.left_in_group -= 1;
        self.current
    }
}

/// `None`: there is nothing to hash.
fn hash_of(names: &[String], event: &Fields, key: Option<&str>) -> Option<u32> {
    if names.is_empty() {
        return key.map(|key| fnv1a(FNV_BASIS, key));
    }
    names.iter().try_fold(FNV_BASIS, |hash, name| {
        Some(fnv1a(hash, &plain(fields::get(event, name)?)?))
    })
}

const FNV_BASIS: u32 = 0x811c_9dc5;

/// FNV-1a of 32 bits, the hash that the original and other producers use for keys.
fn fnv1a(start: u32, text: &str) -> u32 {
    text.bytes()
        .fold(start, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // Vectors of the algorithm's authors.
        assert_eq!(fnv1a(FNV_BASIS, ""), 0x811c_9dc5);
        assert_eq!(fnv1a(FNV_BASIS, "a"), 0xe40c_292c);
        assert_eq!(fnv1a(FNV_BASIS, "foobar"), 0xbf9c_f968);
    }

    #[test]
    fn one_key_is_one_partition_and_groups_stay_together() {
        let event = Fields::new();
        let mut hashed = Partitioner::new(Partitioning::Hash(Vec::new()));
        let first = hashed.choose(&event, Some("host-1"), 7);
        assert!((0..20).all(|_| hashed.choose(&event, Some("host-1"), 7) == first));

        let mut turns = Partitioner::new(Partitioning::RoundRobin { group_events: 2 });
        let chosen: Vec<usize> = (0..6).map(|_| turns.choose(&event, None, 3)).collect();
        assert_eq!((chosen[0], chosen[2], chosen[4]), (chosen[1], chosen[3], chosen[5]));
        let mut all = vec![chosen[0], chosen[2], chosen[4]];
        all.sort_unstable();
        all.dedup();
        assert!(all.len() >= 2, "{chosen:?}");
    }
}
