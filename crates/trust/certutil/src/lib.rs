//! elasticsearch-certutil, rebuilt.
