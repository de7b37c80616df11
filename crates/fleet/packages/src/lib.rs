//! Package format and our own definitions.
