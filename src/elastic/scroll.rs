//! Goes through the ids of an index.

use serde::Deserialize;
use serde_json::json;
use ureq::http::Method;

use crate::elastic::client::{Client, Request, RequestBody, path_segment, to_json};
use crate::elastic::documents::Shards;
use crate::elastic::failure::successful;
use crate::error::{Error, Result};

/// How long the server keeps the scroll between two pages; looking up a page in the database takes far less.
const KEEP_ALIVE: &str = "5m";

/// What is read of a page; all else is left out by the server.
const FILTER: &str = "filter_path=_scroll_id,timed_out,_shards.failed,hits.hits._id";

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_scroll_id")]
    scroll_id: String,
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
}

/// Gives every id of `index`, as it was searchable when this began, to `take`, in pages of at most
/// `page_size`.
///
/// The order is that of the index on disk, the cheapest; documents are not read. An error of `take` ends it.
/// It also fails, to be begun anew, when an answer was lost, since the next request would pass over that
/// page.
pub fn scroll_ids(
    client: &Client,
    index: &str,
    page_size: usize,
    take: &mut dyn FnMut(Vec<String>) -> Result<()>,
) -> Result<()> {
    let attempt = format!("cannot go through the ids of {index}");
    let body = json!({
        "size": page_size,
        "sort": ["_doc"],
        "_source": false,
        "query": { "match_all": {} },
    });
    let path = format!("/{}/_search?scroll={KEEP_ALIVE}&{FILTER}", path_segment(index));
    let response = client.send(Method::POST, &path, &body, &attempt)?;
    let mut page: Page = successful(response, &attempt)?.json(&attempt)?;
    loop {
        let taken = take_page(&mut page, &attempt, take);
        if !matches!(taken, Ok(true)) {
            end(client, &page.scroll_id);
            return taken.map(|_| ());
        }
        match next_page(client, &page.scroll_id, &attempt) {
            Ok(next) => page = next,
            Err(error) => {
                end(client, &page.scroll_id);
                return Err(error);
            }
        }
    }
}

/// Hands a page over; returns whether there may be another one.
fn take_page(
    page: &mut Page,
    attempt: &str,
    take: &mut dyn FnMut(Vec<String>) -> Result<()>,
) -> Result<bool> {
    page.shards.all_answered(attempt)?;
    if page.timed_out {
        return Err(Error::unreachable(format!("{attempt}: the search timed out")));
    }
    let ids: Vec<String> = std::mem::take(&mut page.hits.hits).into_iter().map(|hit| hit.id).collect();
    if ids.is_empty() {
        return Ok(false);
    }
    take(ids)?;
    Ok(true)
}

fn next_page(client: &Client, scroll_id: &str, attempt: &str) -> Result<Page> {
    let body = to_json(&json!({ "scroll": KEEP_ALIVE, "scroll_id": scroll_id }), attempt)?;
    let request = Request {
        method: Method::POST,
        path: &format!("/_search/scroll?{FILTER}"),
        body: RequestBody::Json(&body),
        is_repeatable: false,
        asks_first: false,
    };
    let response = client.call(&request).map_err(|error| error.while_doing(attempt))?;
    if response.status == 404 {
        return Err(Error::unreachable(format!("{attempt}: the server has forgotten the scroll")));
    }
    successful(response, attempt)?.json(attempt)
}

/// Tells the server that the scroll is not needed; one that is not told forgets it by itself.
fn end(client: &Client, scroll_id: &str) {
    let ended = client.send(
        Method::DELETE,
        "/_search/scroll",
        &json!({ "scroll_id": [scroll_id] }),
        "cannot end a scroll",
    );
    if let Err(error) = ended {
        log::debug!("{}", error.story());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::scripted::{Reply, Scripted};

    const FIRST: &str = r#"{"_scroll_id":"s","timed_out":false,"_shards":{"failed":0},"hits":{"hits":[{"_id":"a"},{"_id":"b"}]}}"#;
    const LAST: &str = r#"{"_scroll_id":"s","timed_out":false,"_shards":{"failed":0}}"#;

    #[test]
    fn every_page_is_taken_and_the_scroll_ended() {
        let server =
            Scripted::start(vec![Reply::json(200, FIRST), Reply::json(200, LAST), Reply::json(200, "{}")]);
        let client = Client::new(&server.settings()).unwrap();
        let mut ids = Vec::new();
        scroll_ids(&client, "movies-1", 2, &mut |page| {
            ids.extend(page);
            Ok(())
        })
        .unwrap();
        assert_eq!(ids, ["a", "b"]);
        assert!(server.requests()[2].head.starts_with("DELETE /_search/scroll"));
        assert!(server.requests()[2].body.contains("\"s\""));
    }

    #[test]
    fn a_lost_page_is_an_error_and_not_passed_over() {
        let server = Scripted::start(vec![Reply::json(200, FIRST), Reply::Close, Reply::json(200, "{}")]);
        let client = Client::new(&server.settings()).unwrap();
        let error = scroll_ids(&client, "movies-1", 2, &mut |_| Ok(())).unwrap_err();
        assert!(error.is_retryable());
        let partly = LAST.replace("\"failed\":0", "\"failed\":1");
        let server = Scripted::start(vec![Reply::json(200, &partly), Reply::json(200, "{}")]);
        let client = Client::new(&server.settings()).unwrap();
        assert!(scroll_ids(&client, "movies-1", 2, &mut |_| Ok(())).unwrap_err().is_retryable());
    }
}
