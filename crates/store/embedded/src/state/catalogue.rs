//! Rows about data streams, backing indices and templates.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;
use store::SeqNo;

use crate::names::Template;

/// A backing index as the catalogue knows it.
#[derive(Clone, Debug)]
pub(crate) struct BackingRow {
    pub(crate) number: u32,
    pub(crate) stream: String,
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// Milliseconds since 1970.
    pub(crate) created: i64,
    pub(crate) first_seq: SeqNo,
}

/// A data stream as the catalogue knows it.
#[derive(Clone, Debug)]
pub(crate) struct StreamRow {
    pub(crate) name: String,
    pub(crate) template: Option<String>,
    pub(crate) generation: u64,
}

pub(crate) fn streams(connection: &Connection) -> rusqlite::Result<Vec<StreamRow>> {
    let mut statement = connection.prepare("SELECT name, template, generation FROM streams ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(StreamRow {
            name: row.get(0)?,
            template: row.get(1)?,
            generation: row.get(2)?,
        })
    })?;
    rows.collect()
}

pub(crate) fn backing(connection: &Connection) -> rusqlite::Result<Vec<BackingRow>> {
    let mut statement =
        connection.prepare("SELECT number, stream, name, uuid, created, first_seq FROM backing ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        Ok(BackingRow {
            number: row.get(0)?,
            stream: row.get(1)?,
            name: row.get(2)?,
            uuid: row.get(3)?,
            created: row.get(4)?,
            first_seq: row.get(5)?,
        })
    })?;
    rows.collect()
}

/// Adds a backing index, and the stream when it is new. `row.number` is set to the number given.
pub(crate) fn add_backing(connection: &Connection, stream: &StreamRow, row: &mut BackingRow) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO streams VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET generation = excluded.generation",
        (&stream.name, &stream.template, stream.generation),
    )?;
    connection.execute(
        "INSERT INTO backing (stream, name, uuid, created, first_seq) VALUES (?, ?, ?, ?, ?)",
        (&row.stream, &row.name, &row.uuid, row.created, row.first_seq),
    )?;
    row.number = connection.last_insert_rowid() as u32;
    Ok(())
}

pub(crate) fn remove_backing(connection: &Connection, number: u32) -> rusqlite::Result<()> {
    connection
        .execute("DELETE FROM backing WHERE number = ?", [number])
        .map(|_| ())
}

/// Retentions that were set for single streams.
pub(crate) fn retention(connection: &Connection) -> rusqlite::Result<HashMap<String, Duration>> {
    let mut statement = connection.prepare("SELECT stream, millis FROM retention")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, Duration::from_millis(row.get(1)?))))?;
    rows.collect()
}

pub(crate) fn put_retention(
    connection: &Connection,
    stream: &str,
    retention: Option<Duration>,
) -> rusqlite::Result<()> {
    let changed = match retention {
        Some(retention) => {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            connection.execute("INSERT OR REPLACE INTO retention VALUES (?, ?)", (stream, millis))
        }
        None => connection.execute("DELETE FROM retention WHERE stream = ?", [stream]),
    };
    changed.map(|_| ())
}

pub(crate) fn remove_stream(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM backing WHERE stream = ?", [name])?;
    put_retention(connection, name, None)?;
    connection
        .execute("DELETE FROM streams WHERE name = ?", [name])
        .map(|_| ())
}

pub(crate) fn templates(connection: &Connection) -> rusqlite::Result<Vec<Template>> {
    let mut statement = connection.prepare("SELECT name, body FROM templates ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (name, body) = row?;
        // Only checked templates are stored.
        if let Some(template) = serde_json::from_str(&body)
            .ok()
            .and_then(|body| Template::parse(&name, body).ok())
        {
            found.push(template);
        }
    }
    Ok(found)
}

pub(crate) fn remove_template(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection
        .execute("DELETE FROM templates WHERE name = ?", [name])
        .map(|_| ())
}

pub(crate) fn put_template(connection: &Connection, template: &Template) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT OR REPLACE INTO templates VALUES (?, ?)",
            (&template.name, template.body.to_string()),
        )
        .map(|_| ())
}
