//! The order of a list: heads of columns that are links, and what they mean.
//!
//! In the URL `sort=size` orders by a column, `sort=-size` the other way round; without it a list keeps its own order.

use std::cmp::Reverse;

use serde::Deserialize;

/// How a list is ordered.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub(super) struct Order(String);

/// A column of a table.
pub(super) struct Column {
    name: &'static str,
    /// In the URL; none for a column that does not order.
    key: Option<&'static str>,
    /// Of the style sheet: where the column goes when there is no room, and on which side its values stand.
    class: &'static str,
    /// Largest or newest first, at the first click.
    is_falling: bool,
}

impl Column {
    /// A column that orders from the smallest on.
    pub(super) const fn rising(name: &'static str, key: &'static str, class: &'static str) -> Self {
        Self {
            name,
            key: Some(key),
            class,
            is_falling: false,
        }
    }

    /// A column that orders from the largest or newest on.
    pub(super) const fn falling(name: &'static str, key: &'static str, class: &'static str) -> Self {
        Self {
            is_falling: true,
            ..Self::rising(name, key, class)
        }
    }

    /// A column that does not order.
    pub(super) const fn fixed(name: &'static str, class: &'static str) -> Self {
        Self {
            name,
            key: None,
            class,
            is_falling: false,
        }
    }
}

/// The head of a column, as templates show it.
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) href: Option<String>,
    /// For `aria-sort`, when the list is ordered by it.
    pub(super) direction: Option<&'static str>,
}

impl Order {
    /// As it was written in a URL.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The column's key.
    pub(super) fn key(&self) -> &str {
        self.0.strip_prefix('-').unwrap_or(&self.0)
    }

    /// The value of `sort` in a URL: what was asked for, when `columns` have it.
    pub(super) fn written(&self, columns: &[Column]) -> &str {
        let is_known = columns.iter().any(|column| column.key == Some(self.key()));
        if is_known { &self.0 } else { "" }
    }

    fn is_falling(&self) -> bool {
        self.0.starts_with('-')
    }

    /// Heads for `columns`; `href` makes the URL of a value of `sort`.
    pub(super) fn heads(&self, columns: &[Column], href: impl Fn(&str) -> String) -> Vec<Head> {
        let head = |column: &Column| {
            let is_it = column.key == Some(self.key());
            let is_next_falling = if is_it { !self.is_falling() } else { column.is_falling };
            let sort = |key| format!("{}{key}", if is_next_falling { "-" } else { "" });
            let direction = if self.is_falling() { "descending" } else { "ascending" };
            Head {
                name: column.name,
                class: column.class,
                href: column.key.map(|key| href(&sort(key))),
                direction: is_it.then_some(direction),
            }
        };
        columns.iter().map(head).collect()
    }

    /// Orders `items` by `value`; equal ones keep their order.
    pub(super) fn sort<T, V: Ord>(&self, items: &mut [T], value: impl Fn(&T) -> V) {
        if self.is_falling() {
            items.sort_by_cached_key(|item| Reverse(value(item)));
        } else {
            items.sort_by_cached_key(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::rising("Name", "name", ""),
        Column::falling("Size", "size", "right"),
        Column::fixed("State", ""),
    ];

    #[test]
    fn a_click_orders_and_the_next_turns_it_round() {
        let check = |order: &str, expected: [(Option<&str>, Option<&str>); 3]| {
            let heads = Order::parse(order).heads(COLUMNS, str::to_owned);
            let found: Vec<_> = heads
                .iter()
                .map(|head| (head.href.as_deref(), head.direction))
                .collect();
            assert_eq!(found, expected, "{order}");
        };
        check("", [(Some("name"), None), (Some("-size"), None), (None, None)]);
        check(
            "name",
            [(Some("-name"), Some("ascending")), (Some("-size"), None), (None, None)],
        );
        check(
            "-size",
            [(Some("name"), None), (Some("size"), Some("descending")), (None, None)],
        );
        assert_eq!(Order::parse("-size").written(COLUMNS), "-size");
        assert_eq!(Order::parse("\"><b>").written(COLUMNS), "");
    }

    #[test]
    fn both_directions_keep_equals_in_place() {
        let mut items = [(1, 'a'), (2, 'b'), (1, 'c')];
        Order::parse("-size").sort(&mut items, |item| item.0);
        assert_eq!(items, [(2, 'b'), (1, 'a'), (1, 'c')]);
        Order::parse("size").sort(&mut items, |item| item.0);
        assert_eq!(items, [(1, 'a'), (1, 'c'), (2, 'b')]);
    }
}
