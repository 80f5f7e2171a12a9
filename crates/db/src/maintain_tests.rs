//! Upkeep and recovery, as far as the database decides them.

mod credentials;

use std::time::Duration;

use model::{BatchId, ConnectionId, DestinationId, ExportId, FileFormat, RunState, Timestamp};

use crate::testing::TestDb;
use crate::{Db, Error, MergeCommit, MergeRule, NewDestination, RecoveredDestination, Recovery};

crate::on_both!(
    logs_are_due_by_batches_or_by_what_is_dead_in_them,
    tombstones_stay_until_everybody_who_was_told_has_passed_them,
    a_merge_takes_the_place_of_all_batches_unless_the_log_moved,
    details_of_old_runs_are_forgotten_and_undecided_ones_are_kept,
    a_recovery_goes_on_above_everything_and_may_be_repeated,
);

struct Base {
    db: Db,
    connection: ConnectionId,
    destination: DestinationId,
    _database: TestDb,
}

const RULE: MergeRule = MergeRule {
    batches_min: 4,
    log_percent_max: 200,
};

impl Base {
    async fn new(database: TestDb) -> Self {
        let db = database.db.clone();
        let connection = crate::testing::connection(&db).await;
        let destination = DestinationId::new();
        let new = NewDestination {
            id: destination,
            name: "lake".to_owned(),
            location: "/lake".to_owned(),
            format: FileFormat::Parquet,
            credentials: None,
            awaits_test: false,
        };
        db.add_destination(&new).await.unwrap();
        Self {
            db,
            connection,
            destination,
            _database: database,
        }
    }

    /// Runs a text in which `{con}` and `{dst}` stand for the ids.
    async fn run(&self, text: &str) {
        let text = text
            .replace("{con}", &self.connection.to_string())
            .replace("{dst}", &self.destination.to_string());
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&self.db.writer)
            .await
            .unwrap();
    }

    async fn batch(&self, seq: u64, rows: u64, deleted: u64, bytes: u64) {
        let id = BatchId::new();
        self.run(&format!(
            "INSERT INTO batches VALUES ('{{con}}', {seq}, '{id}', 'batch-{seq}', 'pull', {seq}, {rows}, {deleted}, {bytes}, 0)"
        ))
        .await;
        self.run(&format!(
            "UPDATE connections SET head_seq = {seq}, index_key = 'index-{seq}' WHERE id = '{{con}}'"
        ))
        .await;
    }

    async fn is_due(&self) -> bool {
        let due = self.db.logs_to_merge(None, RULE, 10).await.unwrap();
        due == [self.connection]
    }

    /// An export with a span to `to`.
    async fn export(&self, state: &str, code: &str, number: u64, to: u64) -> ExportId {
        let id = ExportId::new();
        self.run(&format!(
            "INSERT INTO exports (id, destination_id, state, phase, plan_id, plan_number, chunk_count, counts, patients, \
             part_count, size_bytes, publication_count, error_code, created_at, finished_at, updated_at) \
             VALUES ('{id}', '{{dst}}', '{state}', 'working', 'plan', {number}, 1, '{{}}', 0, 0, 0, 0, '{code}', 0, 1, 0)"
        ))
        .await;
        self.run(&format!(
            "INSERT INTO export_spans VALUES ('{id}', 'plan', '{{con}}', 0, 0, {to}, 'index-{to}', 'planned', '{{}}', NULL)"
        ))
        .await;
        id
    }

    fn merge(&self, log_version: u64, seq: u64) -> MergeCommit {
        MergeCommit {
            connection_id: self.connection,
            log_version,
            id: BatchId::new(),
            seq,
            settle_seq: seq,
            object_key: "merged".to_owned(),
            index_key: "index-merged".to_owned(),
            row_count: 1,
            deleted_count: 0,
            size_bytes: 1,
        }
    }
}

async fn logs_are_due_by_batches_or_by_what_is_dead_in_them(database: TestDb) {
    let base = Base::new(database).await;
    base.batch(1, 10, 0, 1000).await;
    base.batch(2, 5, 0, 500).await;
    base.batch(3, 4, 0, 400).await;
    assert!(!base.is_due().await, "1,900 bytes of 1,000 live");
    base.batch(3 + 1, 1, 0, 1).await;
    assert!(base.is_due().await, "four batches");
    base.run("DELETE FROM batches WHERE seq = 4").await;
    base.run("UPDATE batches SET deleted_count = 4 WHERE seq = 3")
        .await;
    assert!(base.is_due().await, "1,900 bytes of 600 live");
    base.run("DELETE FROM batches WHERE seq > 1").await;
    assert!(!base.is_due().await, "one batch");
}

async fn tombstones_stay_until_everybody_who_was_told_has_passed_them(database: TestDb) {
    let base = Base::new(database).await;
    let passed = || async { base.db.tombstones_passed(base.connection).await.unwrap() };
    assert!(passed().await > 1 << 40, "nobody was told of anything");
    base.run("INSERT INTO watermarks VALUES ('{dst}', '{con}', 1, 7, 0)")
        .await;
    assert_eq!(passed().await, 7);
    base.run("UPDATE destinations SET enabled = 0").await;
    assert_eq!(passed().await, 7, "a disabled one catches up later");
    base.export("running", "", 1, 5).await;
    assert_eq!(passed().await, 5, "a plan will tell");
    base.run("UPDATE exports SET state = 'failed', error_code = 'publish_undecided'")
        .await;
    assert_eq!(passed().await, 5, "it may stand");
    base.run("UPDATE destinations SET last_publication = 1")
        .await;
    assert_eq!(passed().await, 7, "it was decided");
    base.run("UPDATE destinations SET epoch = 2").await;
    assert_eq!(passed().await, 0, "it is sent everything again");
}

async fn a_merge_takes_the_place_of_all_batches_unless_the_log_moved(database: TestDb) {
    let base = Base::new(database).await;
    for seq in 1..=3 {
        base.batch(seq, 1, 0, 1).await;
    }
    let db = &base.db;
    assert!(matches!(
        db.commit_merge(&base.merge(1, 3)).await,
        Err(Error::LogMoved)
    ));
    assert_eq!(db.batches(base.connection, 0, 3).await.unwrap().len(), 3);
    db.commit_merge(&base.merge(0, 3)).await.unwrap();
    let head = db.log_head(base.connection).await.unwrap();
    assert_eq!((head.log_version, head.head_seq), (1, 3));
    base.batch(4, 1, 0, 1).await;
    for (from, to, seqs) in [
        (0, 4, vec![3, 4]),
        (1, 2, vec![3]),
        (3, 4, vec![4]),
        (0, 9, vec![3, 4]),
    ] {
        let batches = db.batches(base.connection, from, to).await.unwrap();
        let found: Vec<u64> = batches.iter().map(|batch| batch.seq).collect();
        assert_eq!(found, seqs, "({from}, {to}]");
    }
    // Old batches and the old index stay for their time; an index that a plan has
    // pinned stays as long as that is open.
    base.export("running", "", 1, 3).await;
    let now = Timestamp::now();
    let early = now.before(Duration::from_secs(60));
    assert!(db.superseded_objects(early, 10).await.unwrap().is_empty());
    let mut superseded = db.superseded_objects(now, 10).await.unwrap();
    superseded.sort();
    assert_eq!(superseded, ["batch-1", "batch-2", "batch-3"]);
    base.run("UPDATE exports SET state = 'completed'").await;
    assert_eq!(db.superseded_objects(now, 10).await.unwrap().len(), 4);
    let named = db.named_objects(base.connection).await.unwrap();
    assert!(named.contains("index-3") && named.contains("merged") && named.contains("batch-4"));
}

async fn details_of_old_runs_are_forgotten_and_undecided_ones_are_kept(database: TestDb) {
    let base = Base::new(database).await;
    let over = base.export("completed", "", 1, 1).await;
    let undecided = base.export("failed", "publish_undecided", 2, 1).await;
    let (now, db) = (Timestamp::now(), &base.db);
    let exports = db.exports_over(base.destination, now).await.unwrap();
    assert_eq!((exports[&over], exports[&undecided]), (true, false));
    assert_eq!(
        db.forget_details(Timestamp(0), 10).await.unwrap(),
        (0, false)
    );
    assert_eq!(db.forget_details(now, 10).await.unwrap(), (1, false));
    assert_eq!(db.export(over).await.unwrap().state, RunState::Completed);
    base.run("UPDATE destinations SET last_publication = 2")
        .await;
    let exports = db.exports_over(base.destination, now).await.unwrap();
    assert!(exports[&undecided]);
}

async fn a_recovery_goes_on_above_everything_and_may_be_repeated(database: TestDb) {
    let base = Base::new(database).await;
    base.batch(1, 1, 0, 1).await;
    base.export("running", "", 1, 1).await;
    let db = &base.db;
    let recovery = Recovery {
        settle_seq: 150,
        merged: vec![base.merge(0, 4)],
        heads: vec![(base.connection, 6)],
        connections: vec![base.connection],
        destinations: vec![RecoveredDestination {
            id: base.destination,
            epoch: 3,
            last_publication: 8,
            publications: Vec::new(),
        }],
    };
    for _ in 0..2 {
        db.commit_recovery(&recovery).await.unwrap();
        assert_eq!(db.log_head(base.connection).await.unwrap().head_seq, 6);
        let passed_over = db.log_jumps(base.connection).await.unwrap();
        assert_eq!(passed_over.len(), 1);
        assert!((2..=6).all(|seq| passed_over[0].contains(seq)));
        let row = db.destination(&base.destination.to_string()).await.unwrap();
        assert_eq!((row.epoch, row.last_publication), (3, 8));
        assert_eq!(db.settle_numbers().await.unwrap().known_end(), 150);
        assert_eq!(db.next_settle_seq().await.unwrap(), None);
        assert_eq!(db.open_run_count().await.unwrap(), 1, "the pull");
        let candidates = db
            .candidates(base.destination, ExportId::new(), 10)
            .await
            .unwrap();
        assert_eq!((candidates[0].from_seq, candidates[0].to_seq), (0, 6));
        // The second finds the same log.
        base.run("DELETE FROM batches").await;
        base.run("UPDATE pulls SET state = 'failed'").await;
    }
}
