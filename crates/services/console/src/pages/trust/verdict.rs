//! How a connection is: expiry, verification and the outcome of its test, worst first.

use jiff::Timestamp;

use crate::domain::connection_tests::Tested;
use crate::domain::connections::{Connection, common_name};
use crate::pages::look::Look;

/// Days before its end at which a certificate is amber, and red.
pub(in crate::pages) const SOON: i64 = 30;
const NOW: i64 = 7;

/// What is known about a connection.
pub(in crate::pages) struct Verdict {
    /// `ok`, `warn`, `bad` or `off`.
    pub(in crate::pages) look: Look,
    /// Days until the presented certificate ends.
    pub(super) days: Option<i64>,
    /// Each rule: tone, what, what to do.
    pub(in crate::pages) rules: Vec<(&'static str, String, String)>,
}

/// Whole days until `end`.
pub(in crate::pages) fn days_until(now: Timestamp, end: Timestamp) -> i64 {
    end.duration_since(now).as_secs().div_euclid(86_400)
}

/// From here on nobody counts days.
const YEARS_FROM: i64 = 730;

/// `41 days`, `5 years`, `expired 3 days ago`.
pub(in crate::pages) fn days(days: i64) -> String {
    let unit = |days: i64| if days == 1 { "day" } else { "days" };
    if days < 0 {
        format!("expired {} {} ago", -days, unit(-days))
    } else if days >= YEARS_FROM {
        format!("{:.0} years", days as f64 / 365.25)
    } else {
        format!("{days} {}", unit(days))
    }
}

/// The tone of a certificate with so many days left.
pub(in crate::pages) fn tone(days: i64) -> &'static str {
    if days <= NOW {
        "bad"
    } else if days <= SOON {
        "warn"
    } else {
        "ok"
    }
}

impl Verdict {
    pub(in crate::pages) fn of(connection: &Connection, tested: Option<&Tested>, now: Timestamp) -> Self {
        let mut rules = Vec::new();
        if !connection.is_encrypted() {
            rules.push((
                "bad",
                "Nothing is encrypted: the URL is not https".to_owned(),
                "Change the URL to https://.".to_owned(),
            ));
        }
        if connection.verification.text == "none" {
            rules.push((
                "warn",
                "The client checks nothing: verification_mode is none".to_owned(),
                "Give it the CA, then set verification_mode to full.".to_owned(),
            ));
        }
        if connection.unverified_peers > 0 {
            rules.push((
                "warn",
                format!(
                    "{} of its agents were enrolled without verification",
                    connection.unverified_peers
                ),
                "Enroll them again with the CA's fingerprint, as Add agent shows.".to_owned(),
            ));
        }
        let leaf = tested.and_then(|tested| tested.report.presented.first());
        let days = leaf.map(|leaf| days_until(now, leaf.not_after));
        if let Some(tested) = tested {
            rules.extend(handshake(tested, connection));
        }
        if let (Some(leaf), Some(left)) = (leaf, days) {
            let name = common_name(&leaf.subject);
            let end = leaf.not_after.strftime("%-d %b %Y, %H:%M UTC");
            let remedy = match tone(left) {
                "ok" => String::new(),
                _ => "Issue a new one and put it in the same place; it is taken up without a restart.".to_owned(),
            };
            rules.push((
                tone(left),
                format!("{name} expires on {end}, {}", self::days(left)),
                remedy,
            ));
        }
        Self {
            look: look(&rules, days, tested.is_some()),
            days,
            rules,
        }
    }
}

fn handshake(tested: &Tested, connection: &Connection) -> Vec<(&'static str, String, String)> {
    let report = &tested.report;
    if report.ok {
        let trust: Vec<&str> = connection.trust.iter().map(|setting| setting.text.as_str()).collect();
        let mut rules = vec![("ok", format!("Chain leads to {}", trust.join(" or ")), String::new())];
        if connection.verification.text == "full" || connection.verification.text == "strict" {
            rules.push(("ok", "Name matches the URL".to_owned(), String::new()));
        }
        rules.extend(
            report
                .warnings
                .iter()
                .map(|warning| ("warn", warning.clone(), String::new())),
        );
        return rules;
    }
    let needs_identity = connection.is_mutual() && !report.presented.is_empty() && !report.peer_alert.is_empty();
    if needs_identity {
        let what = "The server asks for a client certificate; the console has none to show".to_owned();
        return vec![(
            "off",
            what,
            "What the server presents was seen; the last step only an agent can try.".to_owned(),
        )];
    }
    // Files of settings lie where agents run, not here: no fault of the connection.
    let tone = if report.stage == tls::Stage::Load { "off" } else { "bad" };
    vec![(tone, report.message.clone(), report.hint.clone())]
}

fn look(rules: &[(&'static str, String, String)], days: Option<i64>, is_tested: bool) -> Look {
    let worst = |tone: &str| rules.iter().any(|(one, ..)| *one == tone);
    let expiring = days.filter(|days| *days <= SOON);
    match (worst("bad"), worst("warn"), expiring) {
        (true, _, Some(left)) if left < 0 => Look::new("bad", "Expired"),
        (true, _, Some(_)) => Look::new("bad", "Expiring"),
        (true, ..) => Look::new("bad", "Failing"),
        (_, true, Some(_)) => Look::new("warn", "Expiring"),
        (_, true, None) => Look::new("warn", "Not verified"),
        _ if !is_tested => Look::new("off", "Not tested yet"),
        _ if worst("off") => Look::new("off", "Partly tested"),
        _ => Look::new("ok", "Healthy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_days() {
        let check = |left: i64, expected: &str| assert_eq!(tone(left), expected, "{left}");
        check(31, "ok");
        check(30, "warn");
        check(7, "bad");
        check(-1, "bad");
        assert_eq!(
            [days(1), days(41), days(-3)],
            ["1 day", "41 days", "expired 3 days ago"]
        );
        let (now, end) = (
            "2026-03-01T12:00:00Z".parse().unwrap(),
            "2026-03-02T11:00:00Z".parse().unwrap(),
        );
        assert_eq!([days_until(now, end), days_until(end, now)], [0, -1]);
    }
}
