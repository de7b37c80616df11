//! Documents in one folder.
