//! The Fleet API and the pages on 5601.
