//! Queue, bulk requests and the other ways to ship.
