//! Files, journald, host metrics and listeners as event sources.
