//! Wire types of the agent protocol and the fleet documents.
