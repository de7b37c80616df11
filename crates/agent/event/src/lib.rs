//! The document an agent ships: constant bytes and fields.
