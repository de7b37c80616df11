//! Requests that a stock Fleet Server made, replayed; the answers must have the recorded fields and values.
