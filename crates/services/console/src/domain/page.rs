//! A page of a list.

use crate::domain::error::FleetError;

/// The deepest hit that a page may reach.
const DEEPEST: usize = 10_000;

/// Which page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRequest {
    /// From 1.
    pub page: usize,
    /// Items of a page.
    pub per_page: usize,
}

impl PageRequest {
    /// Checks that the page can be reached.
    ///
    /// # Errors
    /// Deeper than 10,000 items.
    pub fn checked(self) -> Result<Self, FleetError> {
        if self.page.max(1).saturating_mul(self.per_page) > DEEPEST {
            return Err(FleetError::invalid(
                "You cannot use page and perPage page over 10000 agents; use searchAfter instead",
            ));
        }
        Ok(self)
    }

    /// Items before the page.
    pub fn offset(self) -> usize {
        self.page.saturating_sub(1).saturating_mul(self.per_page)
    }

    /// Cuts the page out of a whole list.
    pub fn of<T>(self, all: Vec<T>) -> Page<T> {
        let total = all.len() as u64;
        let items = all.into_iter().skip(self.offset()).take(self.per_page).collect();
        Page {
            items,
            total,
            request: self,
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many the whole list has.
    pub total: u64,
    /// What was asked for.
    pub request: PageRequest,
}
