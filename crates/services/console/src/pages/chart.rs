//! Charts as SVG, laid out on the server: what a template needs to draw them without a script.
//!
//! A chart is 1000 by 100 units and stretched to its place; labels stand beside it as text. Missing data is a gap.

use std::fmt::Write as _;

/// Width of a chart in its own units.
const WIDTH: f64 = 1000.0;
/// Height of a chart in its own units.
const HEIGHT: f64 = 100.0;
/// Of the room of a bucket, what its bar leaves free.
const BAR_GAP: f64 = 0.24;

/// One curve, or one layer of the bars.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The colour, as the style sheet names it: `c1`, `bad`, ..
    pub(super) tone: &'static str,
    /// One value for each bucket.
    pub(super) values: Vec<Option<f64>>,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Chart {
    pub(super) unit: &'static str,
    /// A sentence for those who do not see it.
    pub(super) summary: String,
    /// From the top down.
    pub(super) y: Vec<String>,
    pub(super) grid: Vec<f64>,
    pub(super) x: Vec<String>,
    pub(super) curves: Vec<Curve>,
    /// Tone and shape of each layer of bars.
    pub(super) bars: Vec<(&'static str, String)>,
    pub(super) zones: Vec<Zone>,
    pub(super) legend: Vec<LegendRow>,
    pub(super) is_empty: bool,
}

impl Chart {
    /// Whether a click on a bucket leads somewhere.
    pub(super) fn has_links(&self) -> bool {
        self.zones.iter().any(|zone| zone.href.is_some())
    }
}

/// A series in figures.
#[derive(Clone, Debug)]
pub(super) struct LegendRow {
    pub(super) name: &'static str,
    pub(super) tone: &'static str,
    pub(super) last: String,
    pub(super) mean: String,
    pub(super) max: String,
}

impl LegendRow {
    fn of(series: &Series) -> Self {
        let present: Vec<f64> = series.values.iter().flatten().copied().collect();
        let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let count = present.len();
        Self {
            name: series.name,
            tone: series.tone,
            last: text(present.last().copied()),
            mean: text((count > 0).then(|| present.iter().sum::<f64>() / count as f64)),
            max: text(present.iter().copied().reduce(f64::max)),
        }
    }
}

/// A line with the area under it.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) tone: &'static str,
    pub(super) line: String,
    pub(super) area: String,
}

/// What a bucket says when it is pointed at, and where a click on it leads.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) x: f64,
    pub(super) width: f64,
    pub(super) title: String,
    pub(super) href: Option<String>,
}

/// Names of the buckets: the short one under the chart, the long one when pointed at.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) short: String,
    pub(super) long: String,
    pub(super) href: Option<String>,
}

/// Curves over each other.
pub(super) fn lines(what: &str, unit: &'static str, buckets: &[Bucket], series: &[Series]) -> Chart {
    let highest = series
        .iter()
        .flat_map(|one| one.values.iter().flatten())
        .copied()
        .fold(0.0, f64::max);
    let scale = Scale::up_to(highest);
    let mut chart = frame(what, unit, buckets, series, &scale);
    chart.curves = series.iter().map(|one| Curve::of(one, &scale)).collect();
    chart
}

/// Bars of parts that make a whole, the first series at the bottom.
pub(super) fn bars(what: &str, unit: &'static str, buckets: &[Bucket], series: &[Series]) -> Chart {
    let value = |one: &Series, index: usize| one.values.get(index).copied().flatten().unwrap_or(0.0);
    let whole = |index: usize| series.iter().map(|one| value(one, index)).sum::<f64>();
    let scale = Scale::up_to((0..buckets.len()).map(whole).fold(0.0, f64::max));
    let mut chart = frame(what, unit, buckets, series, &scale);
    let place = WIDTH / buckets.len().max(1) as f64;
    let mut bottoms = vec![HEIGHT; buckets.len()];
    for one in series {
        let mut shape = String::new();
        for (index, bottom) in bottoms.iter_mut().enumerate() {
            let height = rounded(value(one, index) / scale.top * HEIGHT);
            if height <= 0.0 {
                continue;
            }
            let (x, width) = (
                rounded((index as f64 + BAR_GAP / 2.0) * place),
                rounded(place * (1.0 - BAR_GAP)),
            );
            let foot = rounded(*bottom);
            write!(shape, "M{x} {foot}h{width}v-{height}h-{width}z").expect("a string can be written to");
            *bottom -= height;
        }
        chart.bars.push((one.tone, shape));
    }
    chart
}

/// A small curve without axes, 0 to `top`, for a cell of a table.
pub(super) fn spark(tone: &'static str, values: &[Option<f64>], top: f64) -> Curve {
    let highest = values.iter().flatten().copied().fold(top, f64::max);
    let scale = Scale {
        top: if highest > 0.0 { highest } else { 1.0 },
        step: 1.0,
    };
    let series = Series {
        name: "",
        tone,
        values: values.to_vec(),
    };
    Curve::of(&series, &scale)
}

fn frame(what: &str, unit: &'static str, buckets: &[Bucket], series: &[Series], scale: &Scale) -> Chart {
    let place = WIDTH / buckets.len().max(1) as f64;
    let zone = |(index, bucket): (usize, &Bucket)| Zone {
        x: rounded(index as f64 * place),
        width: rounded(place),
        title: title(bucket, series, index),
        href: bucket.href.clone(),
    };
    let spoken = series.iter().map(|one| {
        let highest = one.values.iter().flatten().copied().fold(0.0, f64::max);
        format!("{} is {} at most", one.name, short(highest))
    });
    Chart {
        unit,
        summary: format!("{what} in {unit}: {}.", spoken.collect::<Vec<_>>().join("; ")),
        y: scale.ticks().iter().rev().map(|tick| short(*tick)).collect(),
        grid: scale
            .ticks()
            .iter()
            .map(|tick| rounded(HEIGHT - tick / scale.top * HEIGHT))
            .collect(),
        x: time_labels(buckets),
        zones: buckets.iter().enumerate().map(zone).collect(),
        legend: series.iter().map(LegendRow::of).collect(),
        is_empty: series.iter().all(|one| one.values.iter().all(Option::is_none)),
        ..Chart::default()
    }
}

fn title(bucket: &Bucket, series: &[Series], index: usize) -> String {
    let mut text = bucket.long.clone();
    for one in series.iter().rev() {
        if let Some(value) = one.values.get(index).copied().flatten() {
            write!(text, "\n{} {}", one.name, short(value)).expect("a string can be written to");
        }
    }
    text
}

/// Five at most, first and last among them.
fn time_labels(buckets: &[Bucket]) -> Vec<String> {
    let Some(last) = buckets.len().checked_sub(1) else {
        return Vec::new();
    };
    let parts = last.min(4);
    let at = |part: usize| buckets[(last * part).checked_div(parts).unwrap_or(0)].short.clone();
    (0..=parts).map(at).collect()
}

/// The axis from 0 to a round number.
struct Scale {
    top: f64,
    step: f64,
}

impl Scale {
    fn up_to(highest: f64) -> Self {
        if highest <= 0.0 {
            return Self { top: 1.0, step: 1.0 };
        }
        let magnitude = 10_f64.powf((highest / 3.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .iter()
            .map(|factor| factor * magnitude)
            .find(|step| step * 3.0 >= highest)
            .unwrap_or(10.0 * magnitude);
        Self {
            top: (highest / step).ceil().max(1.0) * step,
            step,
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let count = (self.top / self.step).round().max(1.0) as usize;
        (0..=count).map(|index| index as f64 * self.step).collect()
    }
}

impl Curve {
    fn of(series: &Series, scale: &Scale) -> Self {
        let place = WIDTH / series.values.len().max(1) as f64;
        let point = |index: usize, value: f64| {
            let x = rounded((index as f64 + 0.5) * place);
            (x, rounded(HEIGHT - (value / scale.top).clamp(0.0, 1.0) * HEIGHT))
        };
        let (mut line, mut area) = (String::new(), String::new());
        for run in runs(&series.values) {
            let points: Vec<(f64, f64)> = run.iter().map(|(index, value)| point(*index, *value)).collect();
            let (first, last) = (points[0], points[points.len() - 1]);
            let mut through = String::new();
            for (x, y) in &points {
                write!(through, "L{x} {y}").expect("a string can be written to");
            }
            // A lone point would not be seen: it gets a short line.
            let end = if points.len() == 1 {
                format!("h{}", rounded(place / 2.0))
            } else {
                String::new()
            };
            write!(line, "M{} {}{through}{end}", first.0, first.1).expect("a string can be written to");
            write!(area, "M{} {HEIGHT}{through}L{} {HEIGHT}Z", first.0, last.0).expect("a string can be written to");
        }
        Self {
            tone: series.tone,
            line,
            area,
        }
    }
}

/// The stretches without a gap.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(usize, f64)>> {
    let mut runs: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut open = false;
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else {
            open = false;
            continue;
        };
        if !open {
            runs.push(Vec::new());
        }
        open = true;
        if let Some(run) = runs.last_mut() {
            run.push((index, *value));
        }
    }
    runs
}

/// Three digits that count.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{}k", trimmed(value / 1000.0, 1)),
        size if size >= 100.0 => trimmed(value, 0),
        size if size >= 10.0 => trimmed(value, 1),
        _ => trimmed(value, 2),
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(count: usize) -> Vec<Bucket> {
        let bucket = |index: usize| Bucket {
            short: format!("{index}"),
            long: format!("minute {index}"),
            href: None,
        };
        (0..count).map(bucket).collect()
    }

    #[test]
    fn axes_are_round() {
        let check = |highest: f64, expected: &[f64]| assert_eq!(Scale::up_to(highest).ticks(), expected, "{highest}");
        check(0.0, &[0.0, 1.0]);
        check(1.0, &[0.0, 0.5, 1.0]);
        check(100.0, &[0.0, 50.0, 100.0]);
        check(612.0, &[0.0, 250.0, 500.0, 750.0]);
    }

    #[test]
    fn missing_data_is_a_gap() {
        let values = vec![Some(1.0), Some(2.0), None, Some(4.0)];
        let chart = lines(
            "x",
            "%",
            &buckets(4),
            &[Series {
                name: "a",
                tone: "c1",
                values,
            }],
        );
        assert_eq!(chart.curves[0].line.matches('M').count(), 2);
    }

    #[test]
    fn bars_stand_on_each_other() {
        let series = |name, value| Series {
            name,
            tone: "c1",
            values: vec![Some(value)],
        };
        let chart = bars(
            "x",
            "documents",
            &buckets(1),
            &[series("low", 1.0), series("high", 3.0)],
        );
        assert_eq!(chart.bars[0].1, "M120 100h760v-25h-760z");
        assert_eq!(chart.bars[1].1, "M120 75h760v-75h-760z");
    }

    #[test]
    fn figures_are_short() {
        let check = |value: f64, expected: &str| assert_eq!(short(value), expected);
        check(0.0, "0");
        check(0.254, "0.25");
        check(12.34, "12.3");
        check(4_210.0, "4210");
        check(48_210.0, "48.2k");
    }
}
