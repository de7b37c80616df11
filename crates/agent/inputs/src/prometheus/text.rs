//! The text exposition format: `name{label="value"} number [time]`, with `# TYPE` lines before.

use std::collections::HashMap;

/// What a metric is, as far as it matters to its document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// Anything else.
    #[default]
    Other,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    /// In the order of their names.
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
    pub(super) kind: Kind,
}

/// All samples; lines that are none are left out.
pub(super) fn parse(text: &str) -> Vec<Sample> {
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_ascii_whitespace();
            if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
                kinds.insert(name, kind);
            }
            continue;
        }
        samples.extend(sample(line, &kinds));
    }
    samples
}

fn sample(line: &str, kinds: &HashMap<&str, &str>) -> Option<Sample> {
    let end = line.find(|character: char| character == '{' || character.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (mut labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    labels.sort();
    let value = number(rest.split_ascii_whitespace().next()?)?;
    (!name.is_empty()).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
        kind: kind(name, kinds),
    })
}

/// Sums, counts and buckets of histograms and summaries are counters as well.
fn kind(name: &str, kinds: &HashMap<&str, &str>) -> Kind {
    if let Some(kind) = kinds.get(name) {
        return if *kind == "counter" { Kind::Counter } else { Kind::Other };
    }
    let parts = ["_total", "_sum", "_count", "_bucket"];
    let base = parts.iter().find_map(|part| kinds.get(name.strip_suffix(part)?));
    if matches!(base, Some(&("counter" | "histogram" | "summary"))) {
        Kind::Counter
    } else {
        Kind::Other
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

/// The inside of the braces, and what is behind them.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim().to_owned(), value));
        text = rest;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_format_is_read() {
        let text = "# HELP x y\n# TYPE http_requests counter\nhttp_requests{method=\"post\",code=\"200\"} 1027 1395066363000\n# TYPE up gauge\nup 1\nmsdos{path=\"C:\\\\D\\\"x\\n\"} -Inf\n# TYPE lat histogram\nlat_sum 3.5\nnonsense\n";
        let samples = parse(text);
        let short: Vec<(&str, f64, Kind)> = samples
            .iter()
            .map(|sample| (sample.name.as_str(), sample.value, sample.kind))
            .collect();
        let expected = [
            ("http_requests", 1027.0, Kind::Counter),
            ("up", 1.0, Kind::Other),
            ("msdos", f64::NEG_INFINITY, Kind::Other),
            ("lat_sum", 3.5, Kind::Counter),
        ];
        assert_eq!(short, expected);
        assert_eq!(
            samples[0].labels,
            [("code".into(), "200".into()), ("method".into(), "post".into())]
        );
        assert_eq!(samples[2].labels, [("path".to_owned(), "C:\\D\"x\n".to_owned())]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-9{}\"=\\\\, .#\\n\u{e9}TYPE]{0,60}") {
            parse(&text);
        }
    }
}
