//! The Fleet Server protocol on 8220.
