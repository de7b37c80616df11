//! What all agents have at one field: a code for each agent, and what each code stands for, once.
//!
//! A filter is asked about what the codes stand for, and a list is sorted by ranks that were found out before.

use std::collections::HashMap;

use query::SortOrder;
use query::matcher::Rows;
use serde_json::Value;

use super::brief::{Brief, Held, Names, OBJECT, Place};
use super::known::Known;

/// Codes that stand for nothing any more are borne with as long as there are no more than this, beside one for each agent.
const MOST_UNUSED: usize = 4_096;

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) path: Box<str>,
    codes: Vec<u32>,
    cells: Vec<Cell>,
    /// The codes by the numbers of their values.
    known: HashMap<Box<[u32]>, u32>,
}

/// What some agents have at the field.
#[derive(Debug)]
pub(super) struct Cell {
    values: Box<[Known]>,
    /// There are fields below it.
    is_object: bool,
    lowest: Ranked,
    highest: Ranked,
}

/// A value by its position, with what can be said of it without looking at it.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    rank: (u8, u64),
    at: u32,
}

/// The rank of agents that lack the field.
pub(super) const LAST: (u8, u64) = (u8::MAX, u64::MAX);

/// In place of a value's number: there are fields below.
const OBJECT_NUMBER: u32 = u32::MAX;

impl Column {
    pub(super) fn of<'a>(path: &str, briefs: impl Iterator<Item = &'a Brief>, names: &Names) -> Self {
        let mut column = Self {
            path: path.into(),
            codes: Vec::new(),
            cells: Vec::new(),
            known: HashMap::new(),
        };
        let place = names.place(path);
        let mut numbers = Vec::new();
        for brief in briefs {
            let code = column.code(brief, place, &mut numbers);
            column.codes.push(code);
        }
        column
    }

    /// Takes the agent of a row in, or what has become of it.
    pub(super) fn put(&mut self, row: usize, brief: &Brief, names: &Names) {
        let code = self.code(brief, names.place(&self.path), &mut Vec::new());
        match self.codes.get_mut(row) {
            Some(present) => *present = code,
            None => self.codes.push(code),
        }
    }

    /// The last row takes the place of the one that goes.
    pub(super) fn remove(&mut self, row: usize) {
        self.codes.swap_remove(row);
    }

    /// Whether most of what it knows is what agents had.
    pub(super) fn is_stale(&self) -> bool {
        self.cells.len() > 2 * self.codes.len() + MOST_UNUSED
    }

    pub(super) fn cell(&self, row: usize) -> &Cell {
        &self.cells[self.codes[row] as usize]
    }

    /// The rows whose cell passes.
    pub(super) fn rows(&self, passes: impl FnMut(&Cell) -> bool) -> Rows {
        let passes: Vec<bool> = self.cells.iter().map(passes).collect();
        Rows::of_codes(&self.codes, &passes)
    }

    /// What rows have, each once.
    pub(super) fn cells_of(&self, rows: impl Iterator<Item = usize>) -> impl Iterator<Item = &Cell> {
        let mut used = vec![false; self.cells.len()];
        for row in rows {
            used[self.codes[row] as usize] = true;
        }
        self.cells
            .iter()
            .zip(used)
            .filter_map(|(cell, used)| used.then_some(cell))
    }

    fn code(&mut self, brief: &Brief, place: Place<'_>, numbers: &mut Vec<u32>) -> u32 {
        let held = brief.held(place.number);
        let is_object = place.below.iter().any(|number| brief.has(*number));
        numbers.clear();
        numbers.extend(held.iter().map(|held| held.number));
        numbers.extend(is_object.then_some(OBJECT_NUMBER));
        if let Some(code) = self.known.get(numbers.as_slice()) {
            return *code;
        }
        let code = u32::try_from(self.cells.len()).unwrap_or(u32::MAX);
        self.cells.push(Cell::of(held, is_object));
        self.known.insert(numbers.as_slice().into(), code);
        code
    }
}

impl Cell {
    fn of(held: &[Held], is_object: bool) -> Self {
        let ranked = |found: Option<(usize, &Held)>| {
            let (at, rank) = found.map_or((0, LAST), |(at, held)| (at, held.value.rank()));
            let at = u32::try_from(at).unwrap_or_default();
            Ranked { rank, at }
        };
        let numbered = || held.iter().enumerate();
        let lowest = numbered().min_by(|(_, left), (_, right)| left.value.compare(&right.value));
        let highest = numbered().max_by(|(_, left), (_, right)| left.value.compare(&right.value));
        Self {
            values: held.iter().map(|held| held.value.clone()).collect(),
            is_object,
            lowest: ranked(lowest),
            highest: ranked(highest),
        }
    }

    /// Of agents that lack the field.
    pub(super) fn empty() -> Self {
        Self::of(&[], false)
    }

    /// The values.
    pub(super) fn values(&self) -> &[Known] {
        &self.values
    }

    /// As a query sees them: that there is an object counts as one.
    pub(super) fn seen(&self) -> impl Iterator<Item = &Value> {
        let object = self.is_object.then(|| &*OBJECT);
        self.values.iter().map(Known::value).chain(object)
    }

    /// What agents are sorted by: a rank that is smaller for those that come first, and the value.
    pub(super) fn first(&self, order: SortOrder) -> ((u8, u64), Option<&Known>) {
        let ranked = match order {
            SortOrder::Ascending => self.lowest,
            SortOrder::Descending => self.highest,
        };
        let rank = match (order, ranked.rank) {
            (_, LAST) | (SortOrder::Ascending, _) => ranked.rank,
            (SortOrder::Descending, (kind, rank)) => (LAST.0 - 1 - kind, !rank),
        };
        (rank, self.values.get(ranked.at as usize))
    }

    /// Whether one of the values is that one.
    pub(super) fn holds(&self, value: &Value) -> bool {
        self.values.iter().any(|known| known.value() == value)
    }
}

/// The test of a query, which is asked about lists of values.
pub(super) fn of_lists(test: &mut dyn FnMut(&[&Value]) -> bool) -> impl FnMut(&Cell) -> bool {
    move |cell| match (cell.values(), cell.is_object) {
        ([], false) => test(&[]),
        ([one], false) => test(&[one.value()]),
        _ => test(&cell.seen().collect::<Vec<_>>()),
    }
}
