//! Compiles hosts, outputs, proxies and package policies to the agent policy.
