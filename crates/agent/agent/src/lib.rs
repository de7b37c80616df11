//! Enrols, checks in, applies policies and runs inputs and outputs.
