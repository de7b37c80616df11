//! Somebody who is logged in.

use super::Browser;
use crate::Flotilla;

/// Somebody in front of a browser, logged in to the console of a running `up`.
#[derive(Debug)]
pub struct User<'a> {
    /// What is in front of them. It ends before the server does, so that a step that fails can still be looked at.
    pub browser: Browser,
    /// What they are logged in to.
    pub flotilla: &'a Flotilla,
}

impl<'a> User<'a> {
    /// Goes to a page, logs in there, and is on it.
    pub fn log_in(mut browser: Browser, flotilla: &'a Flotilla, page: &str) -> Self {
        browser.visit(&flotilla.text("/urls/console"));
        browser.open(page);
        browser.log_in(&flotilla.text("/username"), &flotilla.text("/password"));
        assert_eq!(
            browser.address(),
            page,
            "whoever logs in is on the page that was asked for"
        );
        Self { browser, flotilla }
    }
}
