//! A form as HTML: groups, fields, what is wrong with them and what they hold.

use askama::Template;
use jiff::Timestamp;

use super::material::{self, Card};
use super::object::{applies, is_hidden};
use super::spec::{Choice, Group, Kind, Spec, Wire};
use super::values::Values;

/// What was found about fields: errors and warnings by path.
#[derive(Clone, Debug, Default)]
pub(in crate::pages) struct Notes {
    pub(in crate::pages) wrong: Vec<(String, String)>,
    pub(in crate::pages) warnings: Vec<(String, String)>,
}

/// A group with its fields.
#[derive(Template)]
#[template(path = "form_group.html")]
pub(in crate::pages) struct GroupView {
    title: String,
    note: String,
    wire: Option<Wire>,
    when: &'static str,
    shown: bool,
    /// `None` for a group that cannot be folded.
    open: Option<bool>,
    fields: Vec<FieldView>,
}

/// A field with what stands in it.
#[derive(Template)]
#[template(path = "form_field.html")]
pub(in crate::pages) struct FieldView {
    name: String,
    id: String,
    label: String,
    older: &'static str,
    help: String,
    optional: bool,
    control: Control,
    wrong: Vec<String>,
    warnings: Vec<String>,
    cards: Vec<Card>,
}

enum Control {
    Input {
        kind: &'static str,
        value: String,
    },
    Rows(Vec<String>),
    Area {
        value: String,
        rows: usize,
    },
    Material {
        value: String,
        many: bool,
        values: Vec<String>,
    },
    Secret {
        stored: bool,
        value: String,
        is_key: bool,
    },
    Switch(bool),
    Select(Vec<(Choice, bool)>),
    Radio(Vec<(Choice, bool)>),
}

/// The groups as they are shown.
pub(in crate::pages) fn groups(groups: &[Group], values: &Values, notes: &Notes, now: Timestamp) -> Vec<GroupView> {
    groups
        .iter()
        .map(|group| GroupView::of(group, values, notes, now))
        .collect()
}

impl GroupView {
    fn of(group: &Group, values: &Values, notes: &Notes, now: Timestamp) -> Self {
        let fields: Vec<FieldView> = group
            .fields
            .iter()
            .map(|spec| FieldView::of(spec, values, notes, now))
            .collect();
        let has_something = fields.iter().any(FieldView::has_something);
        Self {
            title: group.title.clone(),
            note: group.note.clone(),
            wire: group.wire,
            when: group.when,
            shown: applies(group, values),
            open: group.folded.then_some(has_something),
            fields,
        }
    }
}

impl FieldView {
    fn of(spec: &Spec, values: &Values, notes: &Notes, now: Timestamp) -> Self {
        let about = |list: &[(String, String)]| -> Vec<String> {
            let mine = list.iter().filter(|(path, _)| is_about(path, &spec.path));
            mine.map(|(_, text)| text.clone()).collect()
        };
        Self {
            name: spec.path.clone(),
            id: spec.path.replace(['.', '/', '*', ' '], "-"),
            label: spec.label.clone(),
            older: spec.older,
            help: spec.help.clone(),
            optional: spec.optional,
            control: control(spec, values),
            wrong: about(&notes.wrong),
            warnings: about(&notes.warnings),
            cards: material::cards(spec, values, now),
        }
    }

    fn has_something(&self) -> bool {
        let filled = match &self.control {
            Control::Input { value, .. } | Control::Area { value, .. } => !value.is_empty(),
            Control::Material { value, values, .. } => !value.is_empty() || !values.is_empty(),
            Control::Secret { stored, value, .. } => *stored || !value.is_empty(),
            Control::Rows(rows) => rows.iter().any(|row| !row.is_empty()),
            Control::Switch(_) | Control::Select(_) | Control::Radio(_) => false,
        };
        filled || !self.wrong.is_empty() || !self.warnings.is_empty()
    }
}

/// `ssl.certificate_authorities.0` is about `ssl.certificate_authorities`, and so is `secrets.ssl.key` about `ssl.key`.
pub(in crate::pages) fn is_about(finding: &str, path: &str) -> bool {
    let finding = finding.strip_prefix("secrets.").unwrap_or(finding);
    match finding.strip_prefix(path) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('.')
            .is_some_and(|index| index.parse::<usize>().is_ok()),
        None => false,
    }
}

fn control(spec: &Spec, values: &Values) -> Control {
    let path = spec.path.as_str();
    let value = values.one(path).to_owned();
    let chosen = |choices: &[Choice]| {
        let is_known = choices.iter().any(|choice| choice.value == value);
        let marked = choices.iter().enumerate().map(|(index, choice)| {
            let selected = choice.value == value || !is_known && index == 0;
            (choice.clone(), selected)
        });
        marked.collect()
    };
    match &spec.kind {
        Kind::Text => Control::Input { kind: "text", value },
        Kind::Number => Control::Input { kind: "number", value },
        Kind::Rows => Control::Rows(with_blank(values.all(path))),
        Kind::Certificate => Control::Material {
            value,
            many: false,
            values: Vec::new(),
        },
        Kind::Certificates => Control::Material {
            value: String::new(),
            many: true,
            values: values.all(path).into_iter().map(str::to_owned).collect(),
        },
        Kind::Key(_) | Kind::Secret => {
            let secret = spec.secret_path().is_some_and(|secret| values.is_stored(&secret));
            Control::Secret {
                stored: secret || values.is_on(&format!("{path}.stored")),
                value,
                is_key: matches!(spec.kind, Kind::Key(_)),
            }
        }
        Kind::Switch => Control::Switch(values.is_on(path)),
        Kind::Select(choices) | Kind::NumberSelect(choices) => Control::Select(chosen(choices)),
        Kind::Radio(choices) => Control::Radio(chosen(choices)),
        Kind::Yaml => Control::Area { value, rows: 8 },
        Kind::Pairs | Kind::PairList(_) => Control::Area { value, rows: 3 },
    }
}

/// One more line than there are texts, so that another can be typed without script.
fn with_blank(texts: Vec<&str>) -> Vec<String> {
    let mut rows: Vec<String> = texts.into_iter().map(str::to_owned).collect();
    rows.push(String::new());
    rows
}

/// Takes secrets that stand in plain in an object out of what is shown, and marks them as stored.
pub(in crate::pages) fn hide_plain_secrets(groups: &[Group], values: &mut Values) {
    for spec in groups.iter().flat_map(|group| &group.fields) {
        if spec.secret_path().is_some() && is_hidden(spec, values.one(&spec.path)) {
            values.set(&spec.path, Vec::new());
            values.set(&format!("{}.stored", spec.path), vec!["on".to_owned()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_reach_their_field() {
        assert!(is_about("ssl.certificate_authorities.0", "ssl.certificate_authorities"));
        assert!(is_about("secrets.ssl.key", "ssl.key"));
        assert!(!is_about("ssl.certificate_authorities", "ssl.certificate"));
        assert!(!is_about("host_urls.x", "host_urls"));
    }
}
