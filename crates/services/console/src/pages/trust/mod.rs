//! Trust: the map of TLS connections, and every certificate in use.

mod certificates;
mod drawing;
mod map;
pub(super) mod verdict;

pub(super) use certificates::{Certificate, page as certificates};
pub(super) use map::{page as map, test, test_all};
