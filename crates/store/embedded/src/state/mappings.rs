//! The types of the fields of ordinary indices: kept beside the index, extended by its documents.
//!
//! Indices with a leading dot are our own and Fleet's: their documents are what typed code makes of them, and every field
//! of theirs can be searched. All others behave as in the original.

use std::sync::Arc;

use query::mapping::Mapping;
use rusqlite::Connection;
use serde_json::Value;

/// Whether documents of an index are checked against a mapping.
pub(crate) fn is_typed(index: &str) -> bool {
    !index.starts_with('.')
}

/// The mapping in what is kept of an index.
pub(crate) fn of(index: &str, body: &str) -> Option<Arc<Mapping>> {
    is_typed(index).then(|| {
        let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        // Only mappings that can be read are kept.
        Arc::new(Mapping::parse(body.get("mappings").unwrap_or(&Value::Null)).unwrap_or_default())
    })
}

/// Keeps a mapping.
pub(crate) fn store(connection: &Connection, number: i64, mapping: &Mapping) -> rusqlite::Result<()> {
    let sql =
        "UPDATE indices SET body = json_set(body, '$.mappings', json(?), '$.mapped', json('true')) WHERE number = ?";
    let mut statement = connection.prepare_cached(sql)?;
    statement.execute((mapping.to_json().to_string(), number)).map(|_| ())
}

/// Gives indices that an older version made the mapping that their documents make.
pub(crate) fn complete(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT number, name, body FROM indices WHERE json_extract(body, '$.mapped') IS NULL")?;
    let found = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    let found: Vec<(i64, String, String)> = found.collect::<rusqlite::Result<_>>()?;
    for (number, name, body) in found {
        let Some(mapping) = of(&name, &body) else { continue };
        let mut mapping = (*mapping).clone();
        let mut documents = connection.prepare(&format!("SELECT id, body FROM d{number} ORDER BY seq"))?;
        let mut rows = documents.query([])?;
        while let Some(row) = rows.next()? {
            let source: Value = serde_json::from_slice(row.get_ref(1)?.as_blob()?).unwrap_or(Value::Null);
            // A document that does not fit the others stays, and its odd field is not searchable.
            if let Ok(Some(extended)) = mapping.admit(row.get_ref(0)?.as_str()?, &source) {
                mapping = extended;
            }
        }
        store(connection, number, &mapping)?;
    }
    Ok(())
}
