//! The settings of an index for its first load: no refreshes, no replicas.
//!
//! While nobody searches an index that is being filled, refreshing it makes small segments that are merged again, and a
//! replica does all the work a second time; copied when the load is complete, it costs a copy of files. What the index
//! had before is kept in its own mark *before* anything is changed, and the mark's note goes *after* all is as before.
//! So whatever ends in between, and whatever becomes of the state: who finds the note knows what is to be restored. The
//! translog is left alone: what was acknowledged stays so, also after a crash of the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::elastic::client::{Client, path_segment};
use crate::elastic::documents::refresh;
use crate::elastic::failure::{refusal, successful};
use crate::elastic::index::{mark_of, put_mark};
use crate::elastic::index_settings::IndexSettings;
use crate::elastic::mapping::OwnershipMark;
use crate::error::{Error, Kind, Result};
use crate::shutdown::Shutdown;

const REFRESH: &str = "index.refresh_interval";
const REPLICAS: &str = "index.number_of_replicas";
const AUTO_EXPAND: &str = "index.auto_expand_replicas";

const NO_REFRESH: &str = "-1";
const NO_REPLICAS: &str = "0";

/// How long replicas are waited for: the copy of a million documents takes less, and who has many more finds them
/// searchable without.
const REPLICAS_WAIT: Duration = Duration::from_secs(60);

/// Between two looks at the shards.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What an index had of its own before the settings of a first load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSettings {
    /// Its `refresh_interval`; the server's default if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
    /// Its `number_of_replicas`; none where the server chooses them by itself, and then they are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_replicas: Option<String>,
}

impl OwnSettings {
    fn of(settings: &IndexSettings) -> Self {
        let chooses_replicas = settings.get(AUTO_EXPAND).is_some_and(|value| value != "false");
        let replicas = settings.get(REPLICAS).filter(|_| !chooses_replicas);
        Self {
            refresh_interval: settings.get(REFRESH).map(str::to_owned),
            number_of_replicas: replicas.map(str::to_owned),
        }
    }

    fn of_first_load(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert(REFRESH.to_owned(), NO_REFRESH.into());
        if self.number_of_replicas.is_some() {
            settings.insert(REPLICAS.to_owned(), NO_REPLICAS.into());
        }
        settings
    }

    /// What has to be set again. What someone else has set meanwhile is theirs.
    fn to_restore(&self, present: &IndexSettings) -> Map<String, Value> {
        let mut settings = Map::new();
        let is_own = self.refresh_interval.as_deref() == Some(NO_REFRESH);
        if present.get(REFRESH) == Some(NO_REFRESH) && !is_own {
            // Null: the default again.
            settings.insert(REFRESH.to_owned(), json!(self.refresh_interval));
        }
        if let Some(own) = &self.number_of_replicas
            && present.get(REPLICAS) == Some(NO_REPLICAS)
            && own != NO_REPLICAS
        {
            settings.insert(REPLICAS.to_owned(), json!(own));
        }
        settings
    }
}

/// Gives a new and empty index the settings of a first load; `mark` is the one that it carries or is to carry.
///
/// May be called again, with the note that is in the mark then.
pub fn begin_first_load(client: &Client, index: &str, mark: &OwnershipMark) -> Result<()> {
    let own = match &mark.first_load {
        Some(own) => own.clone(),
        None => OwnSettings::of(&settings_of(client, index)?),
    };
    let attempt = format!("cannot give {index} the settings of a first load");
    put_mark(client, index, &OwnershipMark { first_load: Some(own.clone()), ..mark.clone() })?;
    crate::faults::point("first_load_noted");
    put_settings(client, index, &own.of_first_load(), &attempt, "leave --fresh out")?;
    crate::faults::point("first_load_set");
    Ok(())
}

/// Gives an index its own settings back, makes what was loaded visible, and waits for its replicas, for a minute at most;
/// returns what is to be told, or nothing if it had its own settings.
pub fn end_first_load(client: &Client, index: &str, end: &Shutdown) -> Result<Option<String>> {
    let Some(mark) = mark_of(client, index)? else { return Ok(None) };
    let Some(own) = &mark.first_load else { return Ok(None) };
    let attempt = format!("cannot give {index} its own settings back after its first load");
    let to_restore = own.to_restore(&settings_of(client, index)?);
    if !to_restore.is_empty() {
        put_settings(
            client,
            index,
            &to_restore,
            &attempt,
            "set them by hand; the next start goes on from there",
        )?;
    }
    crate::faults::point("first_load_restored");
    refresh(client, index)?;
    let shards = wait_for_replicas(client, index, end)?;
    put_mark(client, index, &OwnershipMark { first_load: None, ..mark })?;
    crate::faults::point("first_load_forgotten");
    Ok(Some(format!("{index} has its own refresh_interval and number_of_replicas again; {shards}")))
}

fn settings_of(client: &Client, index: &str) -> Result<IndexSettings> {
    #[derive(Deserialize)]
    struct Index {
        settings: Map<String, Value>,
    }
    let attempt = format!("cannot read the settings of {index}");
    let mut found: BTreeMap<String, Index> = client.get(&settings_path(index), &attempt)?;
    let (_, found) =
        found.pop_first().ok_or_else(|| Error::wrong(format!("{attempt}: there is no such index")))?;
    Ok(IndexSettings::new(&found.settings))
}

fn put_settings(
    client: &Client,
    index: &str,
    settings: &Map<String, Value>,
    attempt: &str,
    hint: &str,
) -> Result<()> {
    let response = client.send(Method::PUT, &settings_path(index), settings, attempt)?;
    // What some hosted servers do not let anyone set is answered with 400.
    if response.status == 400 {
        return Err(refusal(&response, attempt).hint(hint));
    }
    successful(response, attempt).map(|_| ())
}

fn settings_path(index: &str) -> String {
    format!("/{}/_settings", path_segment(index))
}

#[derive(Debug, Deserialize)]
struct Health {
    status: String,
    number_of_data_nodes: u64,
    active_shards: u64,
    initializing_shards: u64,
    unassigned_shards: u64,
}

impl Health {
    /// Whether waiting longer could make it better: a single node has no place for a replica.
    fn is_settled(&self) -> bool {
        self.status == "green" || self.number_of_data_nodes < 2
    }

    fn story(&self) -> String {
        let Self { status, active_shards, initializing_shards, unassigned_shards, .. } = self;
        let missing = initializing_shards + unassigned_shards;
        match missing {
            0 => format!("it is {status}, with {active_shards} shards"),
            _ => format!("it is {status}: {active_shards} shards are there, {missing} are not yet"),
        }
    }
}

fn wait_for_replicas(client: &Client, index: &str, end: &Shutdown) -> Result<String> {
    let limit = crate::faults::time("PGSLUICE_REPLICAS_WAIT", REPLICAS_WAIT);
    let attempt = format!("cannot look at the shards of {index}");
    let path = format!("/_cluster/health/{}", path_segment(index));
    let began = Instant::now();
    loop {
        let health: Health = match client.get(&path, &attempt) {
            Ok(health) => health,
            // Without the right to look there is nothing to wait for.
            Err(error) if error.kind() == Kind::Wrong => {
                log::debug!("{}", error.story());
                return Ok("its shards are not looked at".to_owned());
            }
            Err(error) => return Err(error),
        };
        if health.is_settled() || began.elapsed() >= limit {
            return Ok(health.story());
        }
        if end.wait(LOOK_INTERVAL) {
            return Err(Error::interrupted());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: &Value) -> IndexSettings {
        IndexSettings::new(value.as_object().unwrap())
    }

    #[test]
    fn what_an_index_had_comes_back_and_no_more() {
        let own = OwnSettings::of(&settings(&json!({"index": {"number_of_replicas": "2"}})));
        let loading = settings(&Value::Object(own.of_first_load()));
        assert_eq!((loading.get(REFRESH), loading.get(REPLICAS)), (Some("-1"), Some("0")));
        let restored = own.to_restore(&loading);
        assert_eq!(
            Value::Object(restored),
            json!({"index.refresh_interval": null, "index.number_of_replicas": "2"})
        );
        // What someone has set meanwhile stays.
        let changed = settings(&json!({"index": {"refresh_interval": "5s", "number_of_replicas": "1"}}));
        assert!(own.to_restore(&changed).is_empty());
        let explicit =
            OwnSettings::of(&settings(&json!({"refresh_interval": "30s", "number_of_replicas": 0})));
        assert_eq!(Value::Object(explicit.to_restore(&loading)), json!({"index.refresh_interval": "30s"}));
    }

    #[test]
    fn replicas_that_the_server_chooses_are_left_alone() {
        let expanding = json!({"index": {"number_of_replicas": "1", "auto_expand_replicas": "0-1", "refresh_interval": "-1"}});
        let own = OwnSettings::of(&settings(&expanding));
        assert_eq!(own.number_of_replicas, None);
        assert_eq!(Value::Object(own.of_first_load()), json!({"index.refresh_interval": "-1"}));
        assert!(own.to_restore(&settings(&Value::Object(own.of_first_load()))).is_empty());
    }

    #[test]
    fn a_single_node_is_not_waited_for() {
        let health = |status: &str, nodes| Health {
            status: status.to_owned(),
            number_of_data_nodes: nodes,
            active_shards: 1,
            initializing_shards: 0,
            unassigned_shards: 1,
        };
        assert!(health("yellow", 1).is_settled() && health("green", 3).is_settled());
        assert!(!health("yellow", 3).is_settled());
        assert!(health("yellow", 3).story().contains("1 are not yet"));
    }
}
