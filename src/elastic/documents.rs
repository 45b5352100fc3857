//! Reads documents and counts them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::batch::Version;
use crate::document::DocumentAddress;
use crate::elastic::client::{Client, path_segment};
use crate::elastic::failure::{status_error, successful};
use crate::elastic::response::Cause;
use crate::error::{Error, Result};

/// A document as the index holds it.
#[derive(Debug)]
pub struct RawDocument {
    /// The version of the action that wrote it.
    pub version: Version,
    /// The bytes that were sent, unparsed.
    pub source: Box<RawValue>,
}

#[derive(Deserialize)]
struct MultiGetBody {
    docs: Vec<MultiGetDocument>,
}

#[derive(Deserialize)]
struct MultiGetDocument {
    #[serde(rename = "_version")]
    version: Option<u64>,
    #[serde(rename = "_source")]
    source: Option<Box<RawValue>>,
    error: Option<Cause>,
}

/// The body of an `_mget`.
fn asked_for(addresses: &[DocumentAddress]) -> Value {
    if addresses.iter().all(|address| address.routing.is_none()) {
        let ids: Vec<&String> = addresses.iter().map(|address| &address.id).collect();
        return json!({ "ids": ids });
    }
    let documents: Vec<Value> = addresses
        .iter()
        .map(|DocumentAddress { id, routing }| match routing {
            Some(routing) => json!({ "_id": id, "routing": routing }),
            None => json!({ "_id": id }),
        })
        .collect();
    json!({ "docs": documents })
}

/// Returns the documents at these addresses as of now, in their order; none where there is no such document.
pub fn get_documents(
    client: &Client,
    index: &str,
    ids: &[DocumentAddress],
) -> Result<Vec<Option<RawDocument>>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let attempt = format!("cannot read documents of {index}");
    let path = format!("/{}/_mget", path_segment(index));
    let response = client.send(Method::POST, &path, &asked_for(ids), &attempt)?;
    let body: MultiGetBody = successful(response, &attempt)?.json(&attempt)?;
    if body.docs.len() != ids.len() {
        return Err(Error::unreachable(format!(
            "{attempt}: {} answers for {} ids",
            body.docs.len(),
            ids.len()
        )));
    }
    let mut documents = Vec::with_capacity(ids.len());
    for document in body.docs {
        if let Some(cause) = document.error {
            // The servers give no status here; a shard that is not there passes, a missing index does not.
            let status = if cause.error_type == "index_not_found_exception" { 404 } else { 503 };
            return Err(status_error(status, Some(&cause), &attempt));
        }
        documents.push(
            document
                .version
                .zip(document.source)
                .map(|(version, source)| RawDocument { version: Version(version), source }),
        );
    }
    Ok(documents)
}

/// Returns the versions of documents as of now (`_mget` is realtime: it sees what no refresh has shown yet).
pub(crate) fn get_versions(
    client: &Client,
    index: &str,
    ids: &[DocumentAddress],
) -> Result<Vec<Option<Version>>> {
    #[derive(Deserialize)]
    struct Body {
        docs: Vec<Document>,
    }
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "_version")]
        version: Option<u64>,
    }
    let attempt = "cannot ask for the versions of documents";
    let path =
        format!("/{}/_mget?stored_fields=_none_&filter_path=docs._id,docs._version", path_segment(index));
    let response = client.send(Method::POST, &path, &asked_for(ids), attempt)?;
    let body: Body = successful(response, attempt)?.json(attempt)?;
    if body.docs.len() != ids.len() {
        return Err(Error::unreachable(format!(
            "{attempt}: {} answers for {} ids",
            body.docs.len(),
            ids.len()
        )));
    }
    Ok(body.docs.into_iter().map(|document| document.version.map(Version)).collect())
}

/// Counts the documents that a search can see.
pub fn document_count(client: &Client, index: &str) -> Result<u64> {
    #[derive(Deserialize)]
    struct Body {
        count: u64,
        #[serde(rename = "_shards")]
        shards: Shards,
    }
    let attempt = format!("cannot count the documents of {index}");
    let body: Body = client.get(&format!("/{}/_count", path_segment(index)), &attempt)?;
    body.shards.all_answered(&attempt)?;
    Ok(body.count)
}

/// Makes everything written so far visible to searches.
pub fn refresh(client: &Client, index: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "_shards")]
        shards: Shards,
    }
    let attempt = format!("cannot refresh {index}");
    let body: Body = client.get(&format!("/{}/_refresh", path_segment(index)), &attempt)?;
    body.shards.all_answered(&attempt)
}

/// How many shards answered a request.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Shards {
    #[serde(default)]
    pub(crate) total: u64,
    failed: u64,
}

impl Shards {
    /// Fails if a shard is not there: then what was asked is only partly answered.
    pub(crate) fn all_answered(self, attempt: &str) -> Result<()> {
        if self.failed == 0 {
            return Ok(());
        }
        Err(Error::unreachable(format!("{attempt}: {} shards did not answer", self.failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::scripted::{Reply, Scripted};

    fn client(replies: Vec<Reply>) -> Client {
        Client::new(&Scripted::start(replies).settings()).unwrap()
    }

    #[test]
    fn documents_come_as_the_bytes_they_are() {
        let body = r#"{"docs":[{"_id":"1","_version":7,"found":true,"_source":{"b": 1.0,"a":[ ]}},{"_id":"2","found":false}]}"#;
        let addresses = ["1", "2"].map(|id| DocumentAddress { id: id.to_owned(), routing: None });
        let documents = get_documents(&client(vec![Reply::json(200, body)]), "movies", &addresses).unwrap();
        let first = documents[0].as_ref().unwrap();
        assert_eq!((first.version, first.source.get()), (Version(7), r#"{"b": 1.0,"a":[ ]}"#));
        assert!(documents[1].is_none());
    }

    #[test]
    fn a_count_of_some_shards_is_no_count() {
        let body = r#"{"count":3,"_shards":{"total":2,"successful":1,"skipped":0,"failed":1}}"#;
        let error = document_count(&client(vec![Reply::json(200, body)]), "movies").unwrap_err();
        assert!(error.is_retryable());
    }
}
