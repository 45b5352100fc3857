//! Which database the source is, so that a state is never used with another one.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::postgres::client::Client;
use crate::postgres::connect::classify;

/// Identifies a database and how far its history had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// The cluster, as `initdb` named it.
    pub system_identifier: String,
    /// The database in the cluster.
    pub database_oid: u32,
    /// The cluster's timeline.
    pub timeline: u32,
    /// The position in the write-ahead log up to which it is on disk, in bytes: a crash of the server may lose what
    /// lies behind it, and is no restore.
    pub wal_position: u64,
    /// When the server process began, as its own text.
    pub postmaster_start: String,
    /// Whether it is a standby.
    pub is_standby: bool,
}

impl SourceIdentity {
    /// Reads the identity of the connected database.
    pub(super) fn read(client: &mut Client) -> Result<Self> {
        let row = client
            .query_typed_one(
                "select s.system_identifier::text,
                        d.oid,
                        case when pg_is_in_recovery() then c.timeline_id
                             else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end,
                        (case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                              else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn)::text,
                        pg_postmaster_start_time()::text,
                        pg_is_in_recovery()
                   from pg_control_system() s, pg_control_checkpoint() c, pg_database d
                  where d.datname = current_database()",
                &[],
            )
            .map_err(|error| classify(&error, "cannot read the identity of the source".to_owned()))?;
        let timeline: i32 = row.get(2);
        let wal_position: Option<String> = row.get(3);
        Ok(Self {
            system_identifier: row.get(0),
            database_oid: row.get(1),
            timeline: timeline.unsigned_abs(),
            wal_position: wal_position.and_then(|position| position.parse().ok()).unwrap_or(0),
            postmaster_start: row.get(4),
            is_standby: row.get(5),
        })
    }

    /// What is stamped on an index: the database, without what changes over its life.
    pub fn mark(&self) -> String {
        format!("{}/{}", self.system_identifier, self.database_oid)
    }

    /// Refuses a source that is not the one `kept` was read from.
    pub fn must_continue(&self, kept: &Self) -> Result<()> {
        let cure = "if this is what you want, run `pgsluice resync`; else point PG_DSN at the database of before or \
                    STORAGE_SUBDIR at another state";
        if self.system_identifier != kept.system_identifier {
            return Err(Error::wrong(format!(
                "the state is of another PostgreSQL cluster: system identifier {}, now {}",
                kept.system_identifier, self.system_identifier
            ))
            .hint(cure));
        }
        if self.database_oid != kept.database_oid {
            return Err(Error::wrong(format!(
                "the state is of another database of this cluster, or of this one before it was dropped and made \
                 anew: object id {}, now {}",
                kept.database_oid, self.database_oid
            ))
            .hint(cure));
        }
        if self.is_standby {
            // It may just be behind: documents would go back to an older state.
            if self.wal_position < kept.wal_position {
                return Err(Error::unreachable(format!(
                    "the standby has replayed its primary's log up to {}, the state has read up to {}",
                    self.wal_position, kept.wal_position
                ))
                .hint(format!("it is waited for; if it never comes that far, {cure}")));
            }
            return Ok(());
        }
        // A timeline is never left for an older one.
        if self.timeline < kept.timeline && !kept.is_standby {
            return Err(Error::wrong(format!(
                "the database went back in time, as where a former primary answers beside the new one, or after a \
                 restore: it is on timeline {}, the state has read from timeline {}",
                self.timeline, kept.timeline
            ))
            .hint(cure));
        }
        // Also after a failover: what the old primary had and the new one lacks may be in the index.
        if self.wal_position < kept.wal_position {
            return Err(Error::wrong(format!(
                "the database went back in time, as after a restore or a failover that lost data: its log is at {}, the \
                 state has read up to {}",
                self.wal_position, kept.wal_position
            ))
            .hint(cure));
        }
        Ok(())
    }

    /// Whether the history branched since `kept`, as after a failover or a restore to a point in time.
    pub fn is_branched_since(&self, kept: &Self) -> bool {
        self.timeline != kept.timeline
    }

    /// Whether the server was restarted or failed over since `kept`: its clock and transaction ids may have jumped.
    pub fn is_restarted_since(&self, kept: &Self) -> bool {
        self.timeline != kept.timeline || self.postmaster_start != kept.postmaster_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> SourceIdentity {
        SourceIdentity {
            system_identifier: "7".to_owned(),
            database_oid: 5,
            timeline: 1,
            wal_position: 100,
            postmaster_start: "a".to_owned(),
            is_standby: false,
        }
    }

    #[test]
    fn another_database_or_an_older_one_is_refused_with_the_cure() {
        let kept = identity();
        assert!(identity().must_continue(&kept).is_ok());
        let others = [
            SourceIdentity { system_identifier: "8".to_owned(), ..identity() },
            SourceIdentity { database_oid: 6, ..identity() },
            SourceIdentity { wal_position: 99, ..identity() },
            SourceIdentity { wal_position: 99, timeline: 2, ..identity() },
            SourceIdentity { wal_position: 101, timeline: 0, ..identity() },
        ];
        for other in others {
            let error = other.must_continue(&kept).unwrap_err();
            assert!(error.story().contains("pgsluice resync"), "{}", error.story());
        }
        assert!(SourceIdentity { timeline: 2, wal_position: 101, ..identity() }.must_continue(&kept).is_ok());
        assert!(SourceIdentity { wal_position: 200, ..identity() }.must_continue(&kept).is_ok());
    }

    #[test]
    fn a_standby_that_is_behind_is_waited_for() {
        let kept = identity();
        let standby = SourceIdentity { is_standby: true, ..identity() };
        assert!(standby.must_continue(&kept).is_ok());
        let behind = SourceIdentity { wal_position: 99, ..standby.clone() };
        assert!(behind.must_continue(&kept).unwrap_err().is_retryable());
        // A standby's timeline is that of its last restartpoint.
        assert!(SourceIdentity { timeline: 0, ..standby }.must_continue(&kept).is_ok());
    }
}
