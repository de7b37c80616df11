//! The one loader and writer of certificate files.
