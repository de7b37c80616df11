//! The map as SVG: clients left, servers right, proxies between. The same fleet is always drawn in the same way.

use std::collections::BTreeMap;

use crate::domain::connections::{Connections, Kind, Party};

/// Of the whole drawing, in its own units.
pub(super) const WIDTH: i32 = 784;
const LEFT: i32 = 16;
const MIDDLE: i32 = 311;
const RIGHT: i32 = 506;
const NODE_WIDTH: i32 = 230;
const PROXY_WIDTH: i32 = 130;
const NODE_HEIGHT: i32 = 78;
const PROXY_HEIGHT: i32 = 40;
const GAP: i32 = 18;
const TOP: i32 = 34;
/// Characters that fit into a node.
const NAME: usize = 25;
const LINE: usize = 30;
/// Length of an arrow's head.
const HEAD: i32 = 7;

/// A box.
pub(super) struct Node {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) icon: &'static str,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) figure: String,
    pub(super) presents: String,
    pub(super) checks: String,
    /// Colours its border.
    pub(super) tone: &'static str,
    pub(super) href: String,
}

/// A line with its heads.
pub(super) struct Edge {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) heads: Vec<String>,
    pub(super) class: String,
    pub(super) title: String,
    pub(super) label: Option<(i32, i32, String, &'static str)>,
    pub(super) is_selected: bool,
}

/// What the map says about a party and an edge, beside the party itself.
pub(super) struct Told {
    pub(super) presents: String,
    pub(super) checks: String,
    pub(super) tone: &'static str,
}

/// How an edge looks.
pub(super) struct EdgeLook {
    pub(super) tone: &'static str,
    pub(super) is_mutual: bool,
    pub(super) is_unverified: bool,
    pub(super) title: String,
    pub(super) label: Option<String>,
    pub(super) is_selected: bool,
}

/// Everything that is drawn.
pub(super) struct Drawing {
    pub(super) height: i32,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

impl Drawing {
    /// `told` and `looks` by the ids of parties and connections.
    pub(super) fn of(map: &Connections, told: &BTreeMap<String, Told>, looks: &BTreeMap<String, EdgeLook>) -> Self {
        let mut nodes = BTreeMap::new();
        let column = |kinds: &[Kind]| -> Vec<&Party> {
            kinds
                .iter()
                .flat_map(|kind| map.parties.iter().filter(|party| party.kind == *kind))
                .collect()
        };
        let left = column(&[Kind::Browsers, Kind::Agents]);
        let right = column(&[Kind::Console, Kind::FleetServer, Kind::Output]);
        let used = |party: &&Party| map.connections.iter().any(|one| one.via.as_deref() == Some(&party.id));
        let middle: Vec<&Party> = column(&[Kind::Proxy]).into_iter().filter(used).collect();
        let rows = left.len().max(right.len()) as i32;
        let height = TOP + rows * (NODE_HEIGHT + GAP) + 4;
        for (x, width, tall, column) in [
            (LEFT, NODE_WIDTH, NODE_HEIGHT, &left),
            (MIDDLE, PROXY_WIDTH, PROXY_HEIGHT, &middle),
            (RIGHT, NODE_WIDTH, NODE_HEIGHT, &right),
        ] {
            // Spread over the whole height, so that lines stay short.
            let room = (height - TOP) / (column.len().max(1) as i32);
            for (place, party) in column.iter().enumerate() {
                let y = TOP + place as i32 * room + (room - tall - GAP) / 2;
                nodes.insert(
                    party.id.clone(),
                    Node::of(party, told.get(&party.id), (x, y, width, tall)),
                );
            }
        }
        let edges = edges(map, &nodes, looks);
        let order: Vec<&String> = map.parties.iter().map(|party| &party.id).collect();
        let mut nodes: Vec<(String, Node)> = nodes.into_iter().collect();
        nodes.sort_by_key(|(id, _)| order.iter().position(|other| *other == id));
        Self {
            height,
            nodes: nodes.into_iter().map(|(_, node)| node).collect(),
            edges,
        }
    }
}

impl Node {
    fn of(party: &Party, told: Option<&Told>, (x, y, width, height): (i32, i32, i32, i32)) -> Self {
        let figure = match (party.agents, party.port) {
            (Some(agents), _) => crate::pages::look::figure(agents),
            (None, Some(port)) => format!(":{port}"),
            _ => String::new(),
        };
        let is_proxy = party.kind == Kind::Proxy;
        Self {
            x,
            y,
            width,
            height,
            icon: match party.kind {
                Kind::Browsers => "users",
                Kind::Agents => "agents",
                Kind::Proxy => "globe",
                Kind::Console => "host",
                Kind::FleetServer => "boat",
                Kind::Output => "output",
            },
            name: cut(
                &party.name,
                if is_proxy {
                    10
                } else {
                    NAME - figure.len().saturating_sub(3)
                },
            ),
            title: party.name.clone(),
            figure,
            presents: told.map(|told| cut(&told.presents, LINE)).unwrap_or_default(),
            checks: told.map(|told| cut(&told.checks, LINE)).unwrap_or_default(),
            tone: told.map_or("", |told| told.tone),
            href: party.href.clone(),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain("…".chars()).collect()
}

fn edges(map: &Connections, nodes: &BTreeMap<String, Node>, looks: &BTreeMap<String, EdgeLook>) -> Vec<Edge> {
    let mut ports = Ports::of(map, nodes);
    let mut edges = Vec::new();
    for connection in &map.connections {
        let (Some(from), Some(to)) = (nodes.get(&connection.from), nodes.get(&connection.to)) else {
            continue;
        };
        let Some(look) = looks.get(&connection.id) else {
            continue;
        };
        let via = connection.via.as_ref().and_then(|via| nodes.get(via));
        let start = (from.x + from.width, ports.next(&connection.from, from));
        let end_y = ports.next(&connection.to, to);
        let mut heads = Vec::new();
        let path = if from.x == to.x {
            // Both right: around the outside.
            let (start, end) = (from.x + from.width, to.x + to.width);
            heads.push(left_head(end, end_y));
            format!(
                "M{start} {}C{} {} {} {end_y} {} {end_y}",
                start_y(from),
                start + 44,
                start_y(from),
                end + 44,
                end + HEAD
            )
        } else {
            heads.push(right_head(to.x, end_y));
            match via {
                Some(proxy) => {
                    let y = proxy.y + proxy.height / 2;
                    let first = curve(start, (proxy.x, y));
                    let second = curve((proxy.x + proxy.width, y), (to.x - HEAD, end_y));
                    format!("{first}{second}")
                }
                None => curve(start, (to.x - HEAD, end_y)),
            }
        };
        if look.is_mutual {
            heads.push(if from.x == to.x {
                left_head(from.x + from.width, start_y(from))
            } else {
                left_head(start.0, start.1)
            });
        }
        let middle = (i32::midpoint(start.0, to.x), i32::midpoint(start.1, end_y));
        edges.push(Edge {
            id: connection.id.clone(),
            path,
            heads,
            class: class(look, connection.is_data),
            title: look.title.clone(),
            label: look
                .label
                .as_ref()
                .map(|text| (middle.0 - 40, middle.1 - 10, text.clone(), look.tone)),
            is_selected: look.is_selected,
        });
    }
    // The selected one lies above the others.
    edges.sort_by_key(|edge| edge.is_selected);
    edges
}

fn class(look: &EdgeLook, is_data: bool) -> String {
    let mut class = format!("edge e-{}", look.tone);
    for (holds, word) in [
        (look.is_mutual, " mutual"),
        (look.is_unverified, " unverified"),
        (is_data, " data"),
        (look.is_selected, " selected"),
    ] {
        if holds {
            class.push_str(word);
        }
    }
    class
}

/// Where lines meet a node: each at a height of its own.
struct Ports {
    counts: BTreeMap<String, (i32, i32)>,
}

impl Ports {
    fn of(map: &Connections, nodes: &BTreeMap<String, Node>) -> Self {
        let mut counts = BTreeMap::new();
        for connection in &map.connections {
            let (from, to) = (nodes.get(&connection.from), nodes.get(&connection.to));
            let is_inside = matches!((from, to), (Some(from), Some(to)) if from.x == to.x);
            let ends = [(&connection.from, !is_inside), (&connection.to, true)];
            for (end, _) in ends.into_iter().filter(|(_, counts)| *counts) {
                counts.entry(end.clone()).or_insert((0, 0)).0 += 1;
            }
        }
        Self { counts }
    }

    fn next(&mut self, id: &str, node: &Node) -> i32 {
        let Some((count, given)) = self.counts.get_mut(id) else {
            return node.y + node.height / 2;
        };
        *given = (*given + 1).min(*count);
        node.y + node.height * *given / (*count + 1)
    }
}

fn start_y(node: &Node) -> i32 {
    node.y + node.height / 2
}

fn curve((x, y): (i32, i32), (to_x, to_y): (i32, i32)) -> String {
    let bend = (to_x - x) / 2;
    format!("M{x} {y}C{} {y} {} {to_y} {to_x} {to_y}", x + bend, to_x - bend)
}

fn right_head(x: i32, y: i32) -> String {
    format!("M{} {}L{x} {y}L{} {}Z", x - HEAD, y - 4, x - HEAD, y + 4)
}

fn left_head(x: i32, y: i32) -> String {
    format!("M{} {}L{x} {y}L{} {}Z", x + HEAD, y - 4, x + HEAD, y + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_their_box() {
        assert_eq!(cut("a very long name of a policy", 8), "a very …");
        assert_eq!(cut("short", 8), "short");
    }

    #[test]
    fn heads_point_at_their_end() {
        assert_eq!(right_head(100, 50), "M93 46L100 50L93 54Z");
        assert_eq!(left_head(100, 50), "M107 46L100 50L107 54Z");
    }
}
