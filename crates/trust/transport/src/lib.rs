//! Listeners, limits, HTTP client and proxies.
