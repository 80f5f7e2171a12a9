//! What several workers do at once. On SQLite one waits for the other; on
//! PostgreSQL they truly meet.

mod cut_off;
mod exports;
mod pulls;
mod queries;

use model::{ConnectionId, DestinationId, FileFormat};
use sqlx::Row;

use crate::testing::TestDb;
use crate::{Db, NewDestination, RunKind, StepClaim, StepRef};

struct Scene {
    db: Db,
    connection: ConnectionId,
    destination: DestinationId,
    _database: TestDb,
}

impl Scene {
    async fn new(database: TestDb) -> Self {
        let db = database.db.clone();
        let connection = crate::testing::connection(&db).await;
        let scene = Self {
            destination: add_destination(&db, "lake").await,
            db,
            connection,
            _database: database,
        };
        assert_eq!(scene.count("destinations").await, 1);
        scene
    }

    /// The rows of a table, as a condition may limit them.
    async fn count(&self, rows: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {rows}")).await
    }

    async fn number(&self, text: &str) -> i64 {
        let row = sqlx::query(sqlx::AssertSqlSafe(text.to_owned()))
            .fetch_one(&self.db.reader)
            .await
            .unwrap();
        row.get(0)
    }

    /// Takes a step, as its attempt does.
    async fn claim(&self, step: &StepRef) -> String {
        match self.db.claim_step::<()>(step).await.unwrap() {
            StepClaim::Mine { token, .. } => token,
            StepClaim::Done(()) => panic!("nobody has done it"),
        }
    }
}

async fn add_destination(db: &Db, name: &str) -> DestinationId {
    let new = NewDestination {
        id: DestinationId::new(),
        name: name.to_owned(),
        location: format!("/{name}"),
        format: FileFormat::Parquet,
        credentials: None,
        awaits_test: false,
    };
    db.add_destination(&new).await.unwrap();
    new.id
}

fn step(kind: RunKind, run: &impl ToString, name: &str) -> StepRef {
    StepRef {
        kind,
        run_id: run.to_string(),
        name: name.to_owned(),
    }
}
