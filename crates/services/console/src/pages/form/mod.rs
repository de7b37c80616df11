//! Forms: fields described once, shown with what stands in them, and read back as the objects of the API.
//!
//! [`spec`] says what a field is; [`values`] is what stands in a form, from an object or from what was sent; [`object`] makes the
//! object of it; [`view`] is the HTML; [`material`] reads uploads and shows what certificates say. All works without script.

pub(super) mod material;
pub(super) mod object;
pub(super) mod spec;
pub(super) mod values;
pub(super) mod view;

pub(super) use object::{object, problem_of, problems};
pub(super) use spec::{Choice, Group, Kind, Spec};
pub(super) use values::{Submission, Values};
pub(super) use view::{GroupView, Notes, groups};
