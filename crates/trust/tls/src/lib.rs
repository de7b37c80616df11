//! ssl.* settings to verified TLS.
