//! What a field is: its place in the object, its words, its control.

/// Fields under one heading.
#[derive(Clone, Debug, Default)]
pub(in crate::pages) struct Group {
    pub(in crate::pages) title: String,
    /// A sentence beside the heading.
    pub(in crate::pages) note: String,
    /// The two ends of the connection that the fields are about.
    pub(in crate::pages) wire: Option<Wire>,
    /// `name=value`: shown only while that field has that value; without script always.
    pub(in crate::pages) when: &'static str,
    /// Folded, until a field of it is set.
    pub(in crate::pages) folded: bool,
    pub(in crate::pages) fields: Vec<Spec>,
}

/// A connection: who calls whom, and which of them presents the certificate that the fields are about.
#[derive(Clone, Copy, Debug)]
pub(in crate::pages) struct Wire {
    pub(in crate::pages) from: &'static str,
    pub(in crate::pages) to: &'static str,
    /// Both present one.
    pub(in crate::pages) mutual: bool,
}

/// A field.
#[derive(Clone, Debug)]
pub(in crate::pages) struct Spec {
    /// Where it stands in the object: `ssl.certificate`.
    pub(in crate::pages) path: String,
    pub(in crate::pages) label: String,
    /// What older consoles call it.
    pub(in crate::pages) older: &'static str,
    /// What it is for, in a plain sentence.
    pub(in crate::pages) help: String,
    pub(in crate::pages) kind: Kind,
    pub(in crate::pages) optional: bool,
}

/// The control of a field, and what it becomes in the object.
#[derive(Clone, Debug)]
pub(in crate::pages) enum Kind {
    Text,
    Number,
    /// A list of texts, one control each.
    Rows,
    /// A certificate as PEM, or the path of one.
    Certificate,
    /// Several of them.
    Certificates,
    /// A private key as PEM, or the path of one; the PEM is kept as a secret. Names its certificate's field.
    Key(&'static str),
    /// A secret text: a password, a token.
    Secret,
    Switch,
    Select(Vec<Choice>),
    /// One whose values are numbers.
    NumberSelect(Vec<Choice>),
    Radio(Vec<Choice>),
    Yaml,
    /// `name: value` lines, an object.
    Pairs,
    /// `name: value` lines, a list of `{key, value}` or `{name, value}`.
    PairList(&'static str),
}

/// An option.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Choice {
    pub(in crate::pages) value: String,
    pub(in crate::pages) name: String,
    /// What choosing it means.
    pub(in crate::pages) help: &'static str,
}

impl Choice {
    pub(in crate::pages) fn new(value: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            name: name.into(),
            help: "",
        }
    }

    pub(in crate::pages) fn with_help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

impl Group {
    pub(in crate::pages) fn new(title: &str, fields: Vec<Spec>) -> Self {
        Self {
            title: title.to_owned(),
            fields,
            ..Self::default()
        }
    }

    pub(in crate::pages) fn note(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }

    pub(in crate::pages) fn wire(mut self, from: &'static str, to: &'static str, mutual: bool) -> Self {
        self.wire = Some(Wire { from, to, mutual });
        self
    }

    pub(in crate::pages) fn when(mut self, when: &'static str) -> Self {
        self.when = when;
        self
    }

    pub(in crate::pages) fn folded(mut self) -> Self {
        self.folded = true;
        self
    }
}

impl Spec {
    pub(in crate::pages) fn new(path: impl Into<String>, label: impl Into<String>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            label: label.into(),
            older: "",
            help: String::new(),
            kind,
            optional: false,
        }
    }

    pub(in crate::pages) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub(in crate::pages) fn older(mut self, older: &'static str) -> Self {
        self.older = older;
        self
    }

    pub(in crate::pages) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Where its stored secret stands, when it has one.
    pub(in crate::pages) fn secret_path(&self) -> Option<String> {
        matches!(self.kind, Kind::Key(_) | Kind::Secret).then(|| format!("secrets.{}", self.path))
    }
}
