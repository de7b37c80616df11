//! API keys, tokens, users, roles and privileges.
