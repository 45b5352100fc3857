//! Goes through the ids of an index, page by page, in the order of their last write.
//!
//! Every write of a shard has a sequence number, so "after number n" is a place that the index itself knows: nothing
//! is held open on the server between two pages, and a walk goes on after a restart where it was. A document that is
//! written while the walk is under way moves behind it; its row was there a moment ago.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::elastic::client::{Client, path_segment};
use crate::elastic::documents::Shards;
use crate::elastic::failure::successful;
use crate::error::{Error, Result};

/// What is read of a page; all else is left out by the server.
const FILTER: &str = "filter_path=timed_out,_shards,hits.hits._id,hits.hits.sort";

/// The widest window of sequence numbers: an index that was written many times over has long empty stretches.
const WINDOW_MAX: i64 = 1 << 24;

/// Where a walk through the ids is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPosition {
    /// The shard that is read.
    shard: u64,
    /// How many shards there are; not known before the first page.
    shard_count: Option<u64>,
    /// The last sequence number that was read of it; -1 at its start.
    after: i64,
    /// The highest sequence number that it had when it was begun.
    last: Option<i64>,
    /// How many sequence numbers the next page covers.
    window: i64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    // The filter leaves out an empty list and all that holds only it.
    #[serde(default)]
    hits: Hits,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    sort: Vec<i64>,
}

impl IdPosition {
    /// Before the first id.
    pub fn start() -> Self {
        Self { after: -1, ..Self::default() }
    }

    fn begin_shard(&mut self, shard: u64) {
        *self = Self { shard, shard_count: self.shard_count, ..Self::start() };
    }
}

/// Returns the next ids of `index`, at most `page_size`, and moves `position` behind them; none at the end.
///
/// Only what was searchable is seen: refresh before a walk begins.
pub fn next_ids(
    client: &Client,
    index: &str,
    position: &mut IdPosition,
    page_size: usize,
) -> Result<Vec<String>> {
    let attempt = format!("cannot go through the ids of {index}");
    let shard_count = match position.shard_count {
        Some(count) => count,
        None => {
            let page = search(client, index, "", &json!({ "size": 0 }), &attempt)?;
            *position.shard_count.insert(page.shards.total)
        }
    };
    let size = i64::try_from(page_size).unwrap_or(i64::MAX);
    while position.shard < shard_count {
        let preference = format!("preference=_shards:{}&", position.shard);
        let Some(last) = position.last else {
            let highest = json!({
                "size": 1, "sort": [{ "_seq_no": "desc" }], "_source": false, "track_total_hits": false,
            });
            let page = search(client, index, &preference, &highest, &attempt)?;
            match page.hits.hits.first() {
                Some(hit) => {
                    position.last = Some(sequence_number(hit, &attempt)?);
                    position.window = size;
                }
                None => position.begin_shard(position.shard + 1),
            }
            continue;
        };
        if position.after >= last {
            position.begin_shard(position.shard + 1);
            continue;
        }
        let top = position.after.saturating_add(position.window.max(1)).min(last);
        let body = json!({
            "size": page_size,
            "sort": [{ "_seq_no": "asc" }],
            "_source": false,
            "track_total_hits": false,
            "query": { "range": { "_seq_no": { "gt": position.after, "lte": top } } },
        });
        let hits = search(client, index, &preference, &body, &attempt)?.hits.hits;
        match hits.last() {
            Some(hit) if hits.len() >= page_size => {
                position.after = sequence_number(hit, &attempt)?;
                position.window = (position.window / 2).max(size);
            }
            _ => {
                position.after = top;
                if hits.len() < page_size / 2 {
                    position.window = position.window.saturating_mul(2).min(WINDOW_MAX);
                }
            }
        }
        if !hits.is_empty() {
            return Ok(hits.into_iter().map(|hit| hit.id).collect());
        }
    }
    Ok(Vec::new())
}

/// Returns up to `count` ids chosen at random.
pub fn random_ids(client: &Client, index: &str, count: usize) -> Result<Vec<String>> {
    let attempt = format!("cannot choose documents of {index}");
    let body = json!({
        "size": count,
        "_source": false,
        "track_total_hits": false,
        "query": { "function_score": { "random_score": {} } },
    });
    let page = search(client, index, "", &body, &attempt)?;
    Ok(page.hits.hits.into_iter().map(|hit| hit.id).collect())
}

/// Searches and makes sure that every shard asked has answered in full: an id left out would look like an absent one.
fn search(client: &Client, index: &str, preference: &str, body: &Value, attempt: &str) -> Result<Page> {
    let path = format!("/{}/_search?{preference}{FILTER}", path_segment(index));
    let page: Page = successful(client.send(Method::POST, &path, body, attempt)?, attempt)?.json(attempt)?;
    page.shards.all_answered(attempt)?;
    if page.shards.total == 0 {
        return Err(Error::unreachable(format!("{attempt}: no shard answered")));
    }
    if page.timed_out {
        return Err(Error::unreachable(format!("{attempt}: the search timed out")));
    }
    Ok(page)
}

fn sequence_number(hit: &Hit, attempt: &str) -> Result<i64> {
    hit.sort
        .first()
        .copied()
        .ok_or_else(|| Error::unreachable(format!("{attempt}: an answer without sequence numbers")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::scripted::{Reply, Scripted};

    fn page(shards: &str, hits: &[(&str, i64)]) -> Reply {
        let hits: Vec<Value> =
            hits.iter().map(|(id, number)| json!({ "_id": id, "sort": [number] })).collect();
        let shards: Value = serde_json::from_str(shards).unwrap();
        let body = json!({ "timed_out": false, "_shards": shards, "hits": { "hits": hits } });
        Reply::json(200, &body.to_string())
    }

    const ONE: &str = r#"{"total":1,"failed":0}"#;

    #[test]
    fn every_shard_is_read_to_the_number_it_had_at_its_beginning() {
        let server = Scripted::start(vec![
            page(r#"{"total":2,"failed":0}"#, &[]),
            page(ONE, &[("c", 3)]),
            page(ONE, &[("a", 0), ("b", 1)]),
            page(ONE, &[("c", 3)]),
            page(ONE, &[]),
        ]);
        let client = Client::new(&server.settings()).unwrap();
        let mut position = IdPosition::start();
        let mut ids = Vec::new();
        loop {
            // What is kept over a restart is enough to go on.
            position = serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
            let page = next_ids(&client, "movies-1", &mut position, 2).unwrap();
            if page.is_empty() {
                break;
            }
            ids.extend(page);
        }
        assert_eq!(ids, ["a", "b", "c"]);
        let requests = server.requests();
        assert!(requests[1].head.contains("preference=_shards:0&"), "{}", requests[1].head);
        assert!(requests[3].body.contains(r#""gt":1,"lte":3"#), "{}", requests[3].body);
        assert!(requests[4].head.contains("preference=_shards:1&"), "{}", requests[4].head);
    }

    #[test]
    fn an_answer_without_a_shard_is_an_error_and_moves_nothing() {
        for shards in [r#"{"total":1,"failed":1}"#, r#"{"total":0,"failed":0}"#] {
            let server = Scripted::start(vec![page(ONE, &[]), page(ONE, &[("a", 5)]), page(shards, &[])]);
            let client = Client::new(&server.settings()).unwrap();
            let mut position = IdPosition::start();
            assert!(next_ids(&client, "movies-1", &mut position, 2).unwrap_err().is_retryable());
            assert_eq!((position.shard, position.after), (0, -1));
        }
    }
}
