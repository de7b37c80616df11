//! Test CA, throw-away servers, fixtures and snapshot filters.
