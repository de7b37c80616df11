//! The page as a screen reader has it: the accessibility tree, what is wrong with it, and how it is read out.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::Browser;

/// Landmarks that a page may have several of, so that each needs a name of its own.
const LANDMARKS: [&str; 5] = ["navigation", "region", "search", "form", "complementary"];
/// What has rows and columns.
const TABLES: [&str; 3] = ["table", "grid", "treegrid"];
/// What somebody fills in.
const FIELDS: [&str; 9] = [
    "textbox",
    "searchbox",
    "combobox",
    "checkbox",
    "radio",
    "spinbutton",
    "listbox",
    "slider",
    "switch",
];
/// What is said of a thing beside its name.
const STATES: [&str; 8] = [
    "level", "expanded", "checked", "selected", "disabled", "invalid", "required", "live",
];
/// Of the whole document, which is read first anyway.
const ROOT: &str = "RootWebArea";

/// An expression whose value is the parts that change by themselves without a word; logs are never read out line by line.
const SILENT: &str = "[...document.querySelectorAll('[hx-trigger]')].filter(part => !part.hasAttribute('data-heard') \
    && !part.querySelector('[role=log], [aria-live=polite], [role=status]')).map(part => part.outerHTML.slice(0, 120))";

/// Something that is read out.
#[derive(Clone, Debug, Default)]
struct Node {
    role: String,
    name: String,
    description: String,
    value: String,
    properties: BTreeMap<String, Value>,
    children: Vec<Node>,
}

impl Node {
    fn of(id: &str, all: &HashMap<&str, &Value>) -> Vec<Self> {
        let Some(raw) = all.get(id) else {
            return Vec::new();
        };
        let children = raw["childIds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let children: Vec<Self> = children.flat_map(|child| Self::of(child, all)).collect();
        if raw["ignored"] == true {
            return children;
        }
        let text = |field: &str| raw[field]["value"].as_str().unwrap_or_default().trim().to_owned();
        let properties = raw["properties"].as_array().into_iter().flatten();
        let properties =
            properties.filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"]["value"].clone())));
        vec![Self {
            role: text("role"),
            name: text("name"),
            description: text("description"),
            value: match &raw["value"]["value"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
            properties: properties.collect(),
            children,
        }]
    }

    fn has(&self, property: &str) -> bool {
        match self.properties.get(property) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => text != "false",
            Some(_) => true,
        }
    }

    fn level(&self) -> Option<u64> {
        self.properties.get("level").and_then(Value::as_u64)
    }

    fn walk<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        for child in &self.children {
            child.walk(see);
        }
    }

    fn all(&self) -> Vec<&Self> {
        let mut all = Vec::new();
        self.walk(&mut |node| all.push(node));
        all
    }

    fn words(&self) -> String {
        format!("{} `{}`", self.role, self.name)
    }
}

impl Browser {
    /// What is wrong with the page for somebody who hears it, in words.
    pub fn misheard(&mut self) -> Vec<String> {
        let silent = self.evaluate(SILENT);
        let mut faults = faults(&self.tree());
        let silent = silent.as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.extend(silent.map(|part| format!("it changes, and nothing says so: {part}")));
        faults
    }

    /// The page as it is read out, a line for each thing.
    pub fn heard(&mut self) -> String {
        let mut lines = Vec::new();
        read(&self.tree(), 0, &mut lines);
        lines.join("\n")
    }

    fn tree(&mut self) -> Node {
        self.call("Accessibility.enable", json!({}));
        let answer = self.call("Accessibility.getFullAXTree", json!({}));
        self.call("Accessibility.disable", json!({}));
        let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
        let all: HashMap<&str, &Value> = nodes
            .iter()
            .filter_map(|node| Some((node["nodeId"].as_str()?, node)))
            .collect();
        let root = nodes
            .first()
            .and_then(|node| node["nodeId"].as_str())
            .unwrap_or_default();
        Node::of(root, &all).into_iter().next().unwrap_or_default()
    }
}

fn faults(tree: &Node) -> Vec<String> {
    let all = tree.all();
    let mut faults = Vec::new();
    let of_role = |role: &str| all.iter().filter(|node| node.role == role).count();
    if of_role("main") != 1 {
        faults.push(format!("{} main parts", of_role("main")));
    }
    let titles = all
        .iter()
        .filter(|node| node.role == "heading" && node.level() == Some(1));
    let titles: Vec<&str> = titles.map(|node| node.name.as_str()).collect();
    if titles.len() != 1 || titles == [""] {
        faults.push(format!("its headings of the first level: {titles:?}"));
    }
    faults.extend(jumps(&all));
    faults.extend(landmarks(&all));
    for node in &all {
        if node.has("focusable") && node.name.is_empty() && node.role != ROOT && node.role != "main" {
            faults.push(format!(
                "can be reached and has no name: {} {:?}",
                node.role, node.value
            ));
        }
        if node.has("invalid") && node.description.is_empty() {
            faults.push(format!("is wrong and does not say why: {}", node.words()));
        }
        if FIELDS.contains(&&*node.role) && node.name.is_empty() {
            faults.push(format!("a field without a label: {}", node.role));
        }
        if TABLES.contains(&&*node.role) && !has_heads(node) {
            faults.push(format!("a table without heads: {}", node.words()));
        }
        if node.role == "image" && node.name.is_empty() {
            faults.push("a picture without words".to_owned());
        }
    }
    faults
}

/// Headings that leave out a level, which is heard as a missing part.
fn jumps(all: &[&Node]) -> Option<String> {
    let mut before = 0;
    for node in all.iter().filter(|node| node.role == "heading") {
        let level = node.level().unwrap_or_default();
        if level > before + 1 && before > 0 {
            return Some(format!(
                "the heading `{}` of level {level} follows one of {before}",
                node.name
            ));
        }
        before = level;
    }
    None
}

fn landmarks(all: &[&Node]) -> Vec<String> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for node in all.iter().filter(|node| LANDMARKS.contains(&&*node.role)) {
        *seen.entry((&node.role, &node.name)).or_default() += 1;
    }
    let fault = |((role, name), count): (&(&str, &str), &usize)| match (*name, *count) {
        // A form without a name is no landmark.
        ("", _) if *role == "form" => None,
        ("", _) => Some(format!("a {role} without a name")),
        (_, 1) => None,
        (_, count) => Some(format!("{count} parts are a {role} `{name}`")),
    };
    seen.iter().filter_map(fault).collect()
}

fn has_heads(table: &Node) -> bool {
    let is_head = |node: &&Node| matches!(&*node.role, "columnheader" | "rowheader");
    table.all().iter().any(is_head)
}

/// As somebody hears it who goes through the page from its top to its end.
fn read(node: &Node, depth: usize, lines: &mut Vec<String>) {
    let is_silent = matches!(
        &*node.role,
        "generic" | "none" | "InlineTextBox" | "LineBreak" | "LabelText" | ROOT
    ) || (node.role == "form" && node.name.is_empty())
        || (node.role == "StaticText" && node.name.is_empty());
    let deeper = if is_silent { depth } else { depth + 1 };
    if !is_silent {
        lines.push(format!("{}{}", "  ".repeat(depth), said(node)));
    }
    for child in &node.children {
        // A name that is made of what is inside is heard once.
        let is_said = child.role == "StaticText" && node.name.contains(&child.name) && !is_silent;
        if !is_said {
            read(child, deeper, lines);
        }
    }
}

/// Role, name, and what is said beside them.
fn said(node: &Node) -> String {
    let texts = [("value", &node.value), ("described", &node.description)];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let texts = texts.map(|(word, text)| format!("{word} `{text}`"));
    let states = STATES.iter().filter_map(|state| {
        let value = node.properties.get(*state)?;
        (*value != "false" && *value != false).then(|| format!("{state} {value}"))
    });
    let all: Vec<String> = std::iter::once(node.words()).chain(texts).chain(states).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: &str, name: &str, children: Vec<Node>) -> Node {
        Node {
            role: role.into(),
            name: name.into(),
            children,
            ..Node::default()
        }
    }

    fn with(mut node: Node, property: &str, value: Value) -> Node {
        node.properties.insert(property.into(), value);
        node
    }

    fn page(more: Vec<Node>) -> Node {
        let title = with(node("heading", "Agents", Vec::new()), "level", json!(1));
        node(ROOT, "Agents", vec![node("main", "", [vec![title], more].concat())])
    }

    #[test]
    fn what_cannot_be_understood_is_found() {
        let check = |more: Vec<Node>, expected: &str| {
            let found = faults(&page(more)).join("\n");
            assert!(
                found.contains(expected) && !expected.is_empty(),
                "{expected} in {found}"
            );
        };
        assert!(faults(&page(Vec::new())).is_empty());
        check(vec![node("main", "", Vec::new())], "2 main parts");
        check(
            vec![with(node("heading", "b", Vec::new()), "level", json!(1))],
            "first level",
        );
        check(
            vec![with(node("heading", "b", Vec::new()), "level", json!(3))],
            "follows one of 1",
        );
        check(vec![node("region", "", Vec::new())], "a region without a name");
        let twice = vec![node("search", "a", Vec::new()), node("search", "a", Vec::new())];
        check(twice, "2 parts are a search `a`");
        check(
            vec![with(node("link", "", Vec::new()), "focusable", json!(true))],
            "has no name: link",
        );
        check(vec![node("textbox", "", Vec::new())], "a field without a label");
        check(
            vec![with(node("textbox", "a", Vec::new()), "invalid", json!("true"))],
            "does not say why",
        );
        check(vec![node("table", "a", Vec::new())], "a table without heads");
    }

    #[test]
    fn a_page_is_read_without_what_is_silent() {
        let link = node("link", "Home", vec![node("StaticText", "Home", Vec::new())]);
        let tree = page(vec![node("generic", "", vec![link])]);
        let mut lines = Vec::new();
        read(&tree, 0, &mut lines);
        assert_eq!(lines, ["main ``", "  heading `Agents`, level 1", "  link `Home`"]);
    }
}
