//! Certificate authorities and the certificates they issue.
