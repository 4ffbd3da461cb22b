//! What people have switched.

use async_trait::async_trait;
use rusqlite::Connection;

use super::SqliteStore;
use super::books::Books;
use super::columns;
use crate::store::mode::decided_meanwhile;
use crate::store::{ModeStore, Noted, Result, SwitchKind, Switched, damaged};

#[async_trait]
impl ModeStore for SqliteStore {
    async fn switched(&self) -> Result<Vec<Switched>> {
        self.readers.read(read).await
    }

    async fn switch(&self, switched: Switched, noted: Noted) -> Result<()> {
        self.writer()?.write(0, move |books| books.switch(&switched, &noted)).await
    }
}

fn read(connection: &Connection) -> Result<Vec<Switched>> {
    let sql = "SELECT kind, name, version, switches FROM switched ORDER BY kind, name";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(())?;
    let mut switched = Vec::new();
    while let Some(row) = rows.next()? {
        switched.push(Switched {
            kind: SwitchKind::named(&row.get::<_, String>(0)?)?,
            name: row.get(1)?,
            version: columns::count(row, 2)?,
            switches: serde_json::from_str(&row.get::<_, String>(3)?).map_err(|_| damaged("switches"))?,
        });
    }
    Ok(switched)
}

impl Books {
    fn switch(&mut self, switched: &Switched, noted: &Noted) -> Result<()> {
        let switches = serde_json::to_string(&switched.switches).unwrap_or_default();
        let (kind, version) = (switched.kind.name(), columns::signed(switched.version));
        let sql = match switched.version {
            0 | 1 => {
                "INSERT INTO switched (kind, name, version, switches, at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"
            }
            _ => {
                "UPDATE switched SET version = ?3, switches = ?4, at = ?5
                 WHERE kind = ?1 AND name = ?2 AND version = ?3 - 1"
            }
        };
        let at = noted.by.at.as_microsecond();
        let changed = self.connection.prepare_cached(sql)?.execute((kind, &switched.name, version, switches, at))?;
        if changed != 1 {
            return Err(decided_meanwhile(switched));
        }
        self.note_act(noted)
    }
}
