//! How states, times and sizes are shown: a shape, a colour and a word.

use jiff::Timestamp;

use crate::domain::agent_status::AgentStatus;
use crate::domain::page::Page;

/// A state: `tone` names shape and colour of the style sheet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Look {
    pub(super) tone: &'static str,
    pub(super) word: String,
}

impl Look {
    pub(super) fn new(tone: &'static str, word: impl Into<String>) -> Self {
        Self {
            tone,
            word: word.into(),
        }
    }

    /// An agent's status in the words of the pages.
    pub(super) fn of_agent(status: AgentStatus) -> Self {
        match status {
            AgentStatus::Online => Self::new("ok", "Healthy"),
            AgentStatus::Degraded => Self::new("warn", "Unhealthy"),
            AgentStatus::Error => Self::new("bad", "Failed"),
            AgentStatus::Orphaned => Self::new("warn", "Orphaned"),
            AgentStatus::Updating | AgentStatus::Enrolling | AgentStatus::Unenrolling => Self::new("act", "Updating"),
            AgentStatus::Offline => Self::new("off", "Offline"),
            AgentStatus::Inactive => Self::new("off", "Inactive"),
            AgentStatus::Uninstalled => Self::new("off", "Uninstalled"),
            AgentStatus::Unenrolled => Self::new("off", "Unenrolled"),
        }
    }

    /// A unit's or component's state as agents write it.
    pub(super) fn of_unit(state: &str) -> Self {
        match state.to_ascii_uppercase().as_str() {
            "HEALTHY" => Self::new("ok", "Healthy"),
            "DEGRADED" => Self::new("warn", "Degraded"),
            "FAILED" => Self::new("bad", "Failed"),
            "STARTING" | "CONFIGURING" | "UPGRADING" => Self::new("act", "Starting"),
            _ => Self::new("off", "Stopped"),
        }
    }
}

/// A moment: exact for the title, relative for the eye.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Moment {
    pub(super) exact: String,
    pub(super) relative: String,
}

impl Moment {
    /// From RFC 3339; an en dash for what is missing or no time.
    pub(super) fn parse(now: Timestamp, text: Option<&str>) -> Self {
        match text.and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(time) => Self::of(now, time),
            None => Self {
                exact: String::new(),
                relative: "–".to_owned(),
            },
        }
    }

    pub(super) fn of(now: Timestamp, time: Timestamp) -> Self {
        let seconds = now.duration_since(time).as_secs();
        let relative = if seconds < 0 {
            format!("in {}", span(to_nearest(-seconds)))
        } else {
            format!("{} ago", span(seconds))
        };
        Self {
            exact: time.strftime("%-d %b %Y, %H:%M:%S UTC").to_string(),
            relative,
        }
    }
}

/// What lies ahead is said to the nearest unit: a token for 24 hours ends in 24 hours, not in 23.
fn to_nearest(seconds: i64) -> i64 {
    match seconds {
        ..60 => seconds,
        60..3_600 => seconds + 30,
        3_600..172_800 => seconds + 1_800,
        _ => seconds + 43_200,
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A piece of a meter, in hundredths of its width.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) tone: &'static str,
    pub(super) start: f64,
    pub(super) width: f64,
}

/// No piece is too small to be seen.
const NARROWEST: f64 = 0.35;

/// A meter of `parts` in their order.
pub(super) fn segments(parts: &[(&'static str, u64)]) -> Vec<Segment> {
    let total: u64 = parts.iter().map(|(_, count)| count).sum();
    let mut start = 0.0;
    let present = parts.iter().filter(|(_, count)| *count > 0);
    present
        .map(|(tone, count)| {
            let width = (*count as f64 * 100.0 / total as f64).max(NARROWEST);
            let segment = Segment { tone, start, width };
            start += width;
            segment
        })
        .collect()
}

/// `41.6 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {}", units[unit])
    }
}

/// A piece of a command, with the class that colours it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Tinted<'a> {
    pub(super) class: &'static str,
    pub(super) text: &'a str,
}

/// Flags and their values in a command, and all between them; together they are the text.
pub(super) fn tinted(command: &str) -> Vec<Tinted<'_>> {
    let mut pieces = Vec::new();
    let piece = |class, text| Tinted { class, text };
    let is_space = |letter: char| letter.is_whitespace();
    let mut rest = command;
    while let Some(start) = rest.find(" --").map(|at| at + 1) {
        let (before, flag) = rest.split_at(start);
        let end = flag
            .find(|letter| is_space(letter) || letter == '=')
            .unwrap_or(flag.len());
        pieces.push(piece("", before));
        pieces.push(piece("flag", &flag[..end]));
        rest = &flag[end..];
        if rest.starts_with('=') {
            let end = rest.find(is_space).unwrap_or(rest.len());
            pieces.push(piece("", &rest[..1]));
            pieces.push(piece("value", &rest[1..end]));
            rest = &rest[end..];
        }
    }
    pieces.push(piece("", rest));
    pieces
}

/// A text as one part of a path or value of a URL.
pub(super) fn url_part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `25,000`.
pub(super) fn figure(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Where a page of a list stands, with links to its neighbours.
#[derive(Clone, Debug)]
pub(super) struct Paging {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) total: String,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

impl Paging {
    /// `link` makes the URL of a page number.
    pub(super) fn of<T>(page: &Page<T>, link: impl Fn(usize) -> String) -> Self {
        let offset = page.request.offset() as u64;
        let last = offset + page.items.len() as u64;
        let number = page.request.page.max(1);
        Self {
            first: figure(if page.items.is_empty() { 0 } else { offset + 1 }),
            last: figure(last),
            total: figure(page.total),
            previous: (number > 1).then(|| link(number - 1)),
            next: (last < page.total).then(|| link(number + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_and_exact() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let check = |time: &str, expected: &str| assert_eq!(Moment::parse(now, Some(time)).relative, expected);
        check("2026-03-01T11:59:48Z", "12 s ago");
        check("2026-03-01T11:00:00Z", "1 h ago");
        check("2026-02-10T12:00:00Z", "19 d ago");
        check("2026-03-01T12:05:00Z", "in 5 min");
        check("2026-03-02T11:59:59Z", "in 24 h");
        check("2026-03-08T11:59:59Z", "in 7 d");
        assert_eq!(Moment::parse(now, None).relative, "–");
        assert_eq!(
            Moment::parse(now, Some("2026-03-01T11:00:00Z")).exact,
            "1 Mar 2026, 11:00:00 UTC"
        );
    }

    #[test]
    fn figures_and_sizes_are_grouped() {
        assert_eq!(
            [0, 999, 25_000, 1_234_567].map(figure),
            ["0", "999", "25,000", "1,234,567"]
        );
        assert_eq!([12, 41_600_000_000].map(bytes), ["12 B", "41.6 GB"]);
    }

    #[test]
    fn flags_and_values_of_a_command_stand_out() {
        let command = "sudo elastic-agent install \\\n  --url=https://f:8220 \\\n  --insecure\nls --";
        let pieces = tinted(command);
        let colored = pieces.iter().filter(|piece| !piece.class.is_empty());
        let colored: Vec<_> = colored.map(|piece| (piece.class, piece.text)).collect();
        assert_eq!(
            colored,
            [
                ("flag", "--url"),
                ("value", "https://f:8220"),
                ("flag", "--insecure"),
                ("flag", "--")
            ]
        );
        let together: String = pieces.iter().map(|piece| piece.text).collect();
        assert_eq!(together, command);
    }

    #[test]
    fn three_of_many_are_seen() {
        let segments = segments(&[("ok", 24_997), ("bad", 3), ("off", 0)]);
        assert_eq!(segments.len(), 2);
        assert!((segments[1].width - NARROWEST).abs() < f64::EPSILON);
    }
}
