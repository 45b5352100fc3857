//! Delivers rendered batches: sends, waits, sends again what has to be, and says what became of every action.
//!
//! An action is sent until the server has said what became of it. Sending the same bytes twice does no harm:
//! every action carries its version, and `external_gte` makes the second time a success without effect.

use std::collections::VecDeque;
use std::time::Duration;

use ureq::http::Method;

use crate::backoff::Backoff;
use crate::document::{ActionKind, DocumentAddress, RenderedBatch};
use crate::elastic::breaker::Breaker;
use crate::elastic::bulk::{Piece, cut};
use crate::elastic::client::{Client, Request, RequestBody, path_segment};
use crate::elastic::delivered::{Delivered, Progress};
use crate::elastic::documents::get_versions;
use crate::elastic::judge::{Answer, Verdict, judge_item, judge_request};
use crate::elastic::response::Cause;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::shutdown::Shutdown;

/// When nothing of a round was taken the next bodies are cut smaller, at most this many times in halves. A
/// server or proxy that cannot take in a body in time, or hangs up on it instead of answering 413, may take a
/// 64th of it; and a server whose memory for writing is smaller than the body answers 429 for ever
/// (`indexing_pressure.memory.limit`, a tenth of the heap).
const MOST_HALVINGS: u32 = 6;

/// From so many actions on, a batch of which every single one is malformed to the server says that it is not the
/// documents: the server (or a proxy before it) refuses the request itself.
const SYSTEMIC_MIN: usize = 8;

/// How many refusals in a row are remembered, so that memory stays bounded whatever DEAD_LETTER_STOP says.
const REMEMBERED_REFUSALS: usize = 100_000;

/// What a delivery is made from.
pub struct DeliverySettings {
    /// The index server.
    pub client: Client,
    /// The generation's private write alias.
    pub write_alias: String,
    /// The ingest pipeline that documents go through.
    pub pipeline: Option<String>,
    /// The most bytes of one request's body; a larger action goes alone.
    pub bulk_bytes: usize,
    /// How long to try again in a row; for ever if not given.
    pub retry_deadline: Option<Duration>,
    /// How many refusals in a row stop the delivery, see `DEAD_LETTER_STOP`; zero: none.
    pub refusal_limit: u64,
    /// Ends every wait.
    pub shutdown: Shutdown,
}

/// Delivers batches, one after the other.
pub struct Delivery {
    settings: DeliverySettings,
    bulk_path: String,
    attempt: String,
    breaker: Breaker,
    /// The most bytes of a body, as learned from the server's 413s.
    body_max_bytes: usize,
    /// See [`Delivery::take_unresolved`].
    unresolved: Vec<Key>,
    /// See [`Delivery::take_refused_by_all`].
    refused_in_a_row: Vec<Key>,
    has_tripped: bool,
}

/// Why a round of requests stopped before its end.
struct Pause {
    error: Error,
    at_least: Option<Duration>,
    /// Whether the server may have seen the body, so that a smaller one may fare better.
    was_sent: bool,
}

impl Delivery {
    /// Makes a delivery; nothing is sent yet.
    pub fn new(settings: DeliverySettings) -> Self {
        // What the filter leaves is all that is read: of an action that worked, `{"index":{"status":200}}`.
        // Neither server filters the answer of a request that failed as a whole.
        let mut bulk_path = format!(
            "/{}/_bulk?require_alias=true&filter_path=items.*.status,items.*.error",
            path_segment(&settings.write_alias)
        );
        if let Some(pipeline) = &settings.pipeline {
            bulk_path.push_str("&pipeline=");
            bulk_path.push_str(&path_segment(pipeline));
        }
        Self {
            bulk_path,
            attempt: format!("cannot write to {}", settings.write_alias),
            breaker: Breaker::new(settings.refusal_limit),
            body_max_bytes: settings.bulk_bytes.max(1),
            unresolved: Vec::new(),
            refused_in_a_row: Vec::new(),
            has_tripped: false,
            settings,
        }
    }

    /// Delivers a batch; returns when every action is judged.
    ///
    /// Fails when someone has to act, when shutdown is asked for while waiting, when the server was away for
    /// longer than the deadline, or when too much is refused; then the batch must not be acknowledged, and
    /// [`Delivery::take_unresolved`] and [`Delivery::take_refused_by_all`] have to be asked.
    pub fn deliver(&mut self, batch: &RenderedBatch) -> Result<Delivered> {
        let mut progress = Progress::new(batch);
        match self.send_all(&mut progress) {
            Ok(()) => Ok(progress.finish()),
            Err(error) => {
                self.unresolved.extend(progress.unknown_keys());
                Err(error)
            }
        }
    }

    /// The keys of failed deliveries for which a copy of a request may still be on its way.
    pub fn take_unresolved(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.unresolved)
    }

    /// The keys refused in a row that ended a delivery for too many refusals, those of batches before it too: the
    /// index was to blame and not their documents, so they are to be built again when it is corrected.
    pub fn take_refused_by_all(&mut self) -> Vec<Key> {
        if self.has_tripped { std::mem::take(&mut self.refused_in_a_row) } else { Vec::new() }
    }

    fn send_all(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let mut backoff = Backoff::new(self.settings.retry_deadline);
        while !progress.waiting.is_empty() {
            let Some(pause) = self.send_round(progress)? else { continue };
            if std::mem::take(&mut progress.has_advanced) {
                backoff.succeeded();
                progress.fruitless_rounds = 0;
            } else if pause.was_sent {
                progress.fruitless_rounds += 1;
            }
            progress.waiting.sort_unstable();
            progress.delivered.retried_item_count += progress.waiting.len() as u64;
            backoff.wait_after(pause.error, pause.at_least, &self.settings.shutdown)?;
        }
        if progress.malformed_count >= SYSTEMIC_MIN
            && progress.malformed_count == progress.batch.actions.len()
        {
            return Err(Error::wrong(format!(
                "{}: every document of the batch was refused as a request of its own, the last one for {}",
                self.attempt,
                progress.delivered.refused.last().map_or("", |refused| refused.error_type.as_str())
            ))
            .hint("something between pgsluice and the server, or an unknown version of it, refuses all requests"));
        }
        self.look_up_versions(progress);
        Ok(())
    }

    /// Sends everything that waits, until something says that it is better to wait.
    fn send_round(&mut self, progress: &mut Progress<'_>) -> Result<Option<Pause>> {
        let halvings = progress.fruitless_rounds.saturating_sub(1).min(MOST_HALVINGS);
        let max_bytes = (self.body_max_bytes >> halvings).max(1);
        let mut pieces = cut(progress.batch, &std::mem::take(&mut progress.waiting), max_bytes);
        while let Some(piece) = pieces.pop_front() {
            if let Some(pause) = self.send_piece(piece, &mut pieces, progress)? {
                progress.waiting.extend(pieces.into_iter().flat_map(|piece| piece.positions));
                return Ok(Some(pause));
            }
        }
        Ok(None)
    }

    fn send_piece(
        &mut self,
        piece: Piece,
        pieces: &mut VecDeque<Piece>,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Pause>> {
        let body = piece.body(progress.batch);
        progress.delivered.request_count += 1;
        progress.delivered.byte_count += body.len() as u64;
        let request = Request {
            method: Method::POST,
            path: &self.bulk_path,
            body: RequestBody::NdJson(&body),
            is_repeatable: false,
            // It costs a round trip, so only when an answer to the batch was lost, which may have been a 413.
            asks_first: progress.was_cut_off,
        };
        let mut was_sent = true;
        let (answer, at_least) = match self.settings.client.attempt(&request) {
            Ok(response) => {
                let answer = judge_request(&response, piece.kinds(progress.batch), &self.attempt);
                (answer, response.retry_after)
            }
            Err(failure) if !failure.error.is_retryable() => (Answer::Stop(failure.error), None),
            Err(failure) if failure.is_surely_unsent => {
                was_sent = false;
                (Answer::Busy(failure.error), None)
            }
            Err(failure) => {
                progress.was_cut_off = true;
                (Answer::Unknown(failure.error), None)
            }
        };
        match answer {
            Answer::Items(items) => {
                let mut last_error = None;
                for (position, item) in piece.positions.into_iter().zip(items) {
                    let kind = progress.batch.actions[position].kind;
                    match judge_item(kind, item, &self.attempt) {
                        Verdict::Applied => self.applied(position, progress),
                        Verdict::Superseded(found) => progress.superseded(position, found),
                        Verdict::Unbeatable(cause) | Verdict::Refused(cause) => {
                            self.refused(position, &cause, progress)?;
                        }
                        Verdict::Stop(error) => return Err(error),
                        Verdict::Retry(error) => {
                            progress.waiting.push(position);
                            last_error = Some(error);
                        }
                    }
                }
                return Ok(last_error.map(|error| {
                    let error = error.while_doing(format!("{} actions wait", progress.waiting.len()));
                    Pause { error, at_least, was_sent }
                }));
            }
            Answer::Stop(error) => return Err(error),
            Answer::Busy(error) => {
                progress.waiting.extend(piece.positions);
                return Ok(Some(Pause { error, at_least, was_sent }));
            }
            Answer::Unknown(error) => {
                for position in &piece.positions {
                    progress.is_unknown[*position] = true;
                }
                progress.waiting.extend(piece.positions);
                return Ok(Some(Pause { error, at_least, was_sent }));
            }
            Answer::Malformed(cause) => {
                progress.malformed_count += usize::from(piece.positions.len() == 1);
                self.split_or_refuse(piece, &cause, pieces, progress)?;
            }
            Answer::TooLarge(cause) => {
                if piece.positions.len() > 1 {
                    let max_bytes = (body.len() / 2).max(1);
                    if max_bytes < self.body_max_bytes {
                        log::info!(
                            "{}: the server takes no body of {} bytes, at most {max_bytes} are sent from now on",
                            self.settings.write_alias,
                            body.len()
                        );
                        self.body_max_bytes = max_bytes;
                    }
                }
                self.split_or_refuse(piece, &cause, pieces, progress)?;
            }
        }
        Ok(None)
    }

    /// Halves a piece that is refused as a whole until the culprit stands alone.
    fn split_or_refuse(
        &mut self,
        piece: Piece,
        cause: &Cause,
        pieces: &mut VecDeque<Piece>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        match piece.positions.as_slice() {
            [] => Ok(()),
            [only] => self.refused(*only, cause, progress),
            _ => {
                let [first, second] = piece.halves();
                pieces.push_front(second);
                pieces.push_front(first);
                Ok(())
            }
        }
    }

    fn applied(&mut self, position: usize, progress: &mut Progress<'_>) {
        if progress.batch.actions[position].kind == ActionKind::Index {
            self.breaker.applied();
            self.refused_in_a_row.clear();
        }
        progress.applied(position);
    }

    fn refused(&mut self, position: usize, cause: &Cause, progress: &mut Progress<'_>) -> Result<()> {
        progress.refused(position, cause);
        if self.settings.refusal_limit > 0 && self.refused_in_a_row.len() < REMEMBERED_REFUSALS {
            self.refused_in_a_row.push(progress.batch.actions[position].key.clone());
        }
        if self.breaker.refused() {
            self.has_tripped = true;
            return Err(Error::wrong(format!(
                "{} refuses too many documents, the last one for {}",
                self.settings.write_alias,
                cause.story_without_values()
            ))
            .hint(
                "correct the mapping or the definition; DEAD_LETTER_STOP sets how many refusals stop the pipeline",
            ));
        }
        Ok(())
    }

    /// Asks for the versions that conflicts did not name; what cannot be learned stays unknown.
    fn look_up_versions(&self, progress: &mut Progress<'_>) {
        let unnamed: Vec<usize> = progress
            .superseded
            .iter()
            .filter_map(|(position, found)| found.is_none().then_some(*position))
            .collect();
        if unnamed.is_empty() {
            return;
        }
        let ids: Vec<DocumentAddress> =
            unnamed.iter().map(|position| progress.batch.actions[*position].address()).collect();
        match get_versions(&self.settings.client, &self.settings.write_alias, &ids) {
            Ok(versions) => {
                let slots = progress.superseded.iter_mut().filter(|(_, found)| found.is_none());
                for ((_, found), version) in slots.zip(versions) {
                    *found = version;
                }
            }
            Err(error) => log::warn!("{}", error.story()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::batch::Version;
    use crate::elastic::bulk::tests::batch;
    use crate::elastic::scripted::{Reply, Scripted};

    const OK: &str = r#"{"index":{"status":200}}"#;
    const BUSY: &str =
        r#"{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}"#;
    const POISON: &str = r#"{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"bad",
        "caused_by":{"type":"number_format_exception","reason":"For input string"}}}}"#;
    const MALFORMED: &str =
        r#"{"error":{"type":"illegal_argument_exception","reason":"malformed"},"status":400}"#;

    fn items(items: &[&str]) -> Reply {
        Reply::json(200, &format!("{{\"items\":[{}]}}", items.join(",")))
    }

    fn delivery(server: &Scripted) -> Delivery {
        let client = Client::new(&server.settings()).unwrap();
        Delivery::new(DeliverySettings {
            client,
            write_alias: "movies-1-write".to_owned(),
            pipeline: None,
            bulk_bytes: 1 << 20,
            retry_deadline: Some(Duration::from_secs(30)),
            refusal_limit: 3,
            shutdown: Shutdown::new(),
        })
    }

    fn keys(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(Key::as_str).collect()
    }

    #[test]
    fn every_kind_of_item_has_its_place() {
        let superseded = r#"{"index":{"status":409,"error":{"type":"version_conflict_engine_exception",
            "reason":"[2]: version conflict, current version [9] is higher than the one provided [7]"}}}"#;
        let gone = r#"{"delete":{"status":404}}"#;
        let server = Scripted::start(vec![items(&[OK, POISON, superseded, gone])]);
        let delivered = delivery(&server).deliver(&batch(&["{}", r#"{"a":"x"}"#, "{}", ""])).unwrap();
        assert_eq!(keys(&delivered.applied), ["0", "3"]);
        assert_eq!((delivered.applied_index_count, delivered.applied_delete_count), (1, 1));
        assert_eq!(delivered.superseded, [(Key::from_columns(&["2"]), Some(Version(9)))]);
        let refused = &delivered.refused[0];
        assert_eq!(refused.document.as_deref(), Some(r#"{"a":"x"}"#));
        assert_eq!(refused.reason, "bad; caused by number_format_exception: For input string");
        assert!(delivered.unknown.is_empty());
        let request = &server.requests()[0];
        assert!(request.head.starts_with("POST /movies-1-write/_bulk?require_alias=true"));
        assert!(request.head.contains("application/x-ndjson"));
    }

    #[test]
    fn only_the_items_that_asked_for_it_are_sent_again() {
        let server = Scripted::start(vec![items(&[OK, BUSY, OK, BUSY]), items(&[OK, OK])]);
        let delivered = delivery(&server).deliver(&batch(&["{}", r#"{"a":1}"#, "{}", r#"{"a":3}"#])).unwrap();
        assert_eq!(delivered.applied.len(), 4);
        assert_eq!((delivered.request_count, delivered.retried_item_count), (2, 2));
        assert!(delivered.unknown.is_empty());
        let again = &server.requests()[1].body;
        assert_eq!(again.lines().count(), 4);
        assert!(again.contains(r#"{"a":1}"#) && again.contains(r#"{"a":3}"#));
    }

    #[test]
    fn after_a_lost_answer_the_same_bytes_are_sent_and_the_keys_are_told_once() {
        let lost: [fn() -> Reply; 6] = [
            || Reply::Close,
            || items(&[OK, OK]).cut(),
            || items(&[OK]),
            || Reply::json(502, "<html><body>Bad Gateway</body></html>"),
            || Reply::json(200, "<html>"),
            || Reply::json(200, "{\"took\":1}"),
        ];
        for reply in lost {
            let server = Scripted::start(vec![reply(), reply(), items(&[OK, OK])]);
            let delivered = delivery(&server).deliver(&batch(&["{}", "{}"])).unwrap();
            assert_eq!(keys(&delivered.applied), ["0", "1"]);
            assert_eq!(keys(&delivered.unknown), ["0", "1"]);
            let requests = server.requests();
            assert_eq!(requests.len(), 3);
            assert!(requests.iter().all(|request| request.body == requests[0].body));
        }
    }

    #[test]
    fn a_request_that_reached_nobody_is_not_unknown() {
        let server = Scripted::start(vec![items(&[OK])]);
        let mut settings = server.settings();
        settings.nodes.insert(0, Scripted::address_without_server());
        let mut delivery = delivery(&server);
        delivery.settings.client = Client::new(&settings).unwrap();
        let delivered = delivery.deliver(&batch(&["{}"])).unwrap();
        assert_eq!((delivered.applied.len(), delivered.unknown.len()), (1, 0));
    }

    #[test]
    fn a_malformed_request_is_halved_until_the_culprit_stands_alone() {
        let malformed = || Reply::json(400, MALFORMED);
        // [0 1 2 3] -> [0 1] [2 3] -> [2] [3]
        let server =
            Scripted::start(vec![malformed(), items(&[OK, OK]), malformed(), malformed(), items(&[OK])]);
        let delivered = delivery(&server).deliver(&batch(&["{}", "{}", r#"{"a":}"#, "{}"])).unwrap();
        assert_eq!(keys(&delivered.applied), ["0", "1", "3"]);
        assert_eq!(delivered.refused[0].key.as_str(), "2");
        assert_eq!(delivered.refused[0].error_type, "illegal_argument_exception");
    }

    #[test]
    fn a_batch_that_is_malformed_throughout_is_not_the_documents_fault() {
        // Halving 8 actions to the last takes 15 requests.
        let server = Scripted::start((0..15).map(|_| Reply::json(400, "")).collect());
        let mut delivery = delivery(&server);
        delivery.breaker = Breaker::new(1000);
        let error = delivery.deliver(&batch(&["{}"; 8])).unwrap_err();
        assert_eq!((error.exit_code(), server.requests().len()), (2, 15));
        assert!(error.story().contains("refuses all requests"), "{error:?}");
    }

    #[test]
    fn a_body_too_large_is_split_and_the_limit_is_learned() {
        let too_large = || Reply::json(413, "");
        let server = Scripted::start(vec![
            too_large(),
            items(&[OK]),
            items(&[OK]),
            items(&[OK]),
            items(&[OK]),
            too_large(),
        ]);
        let mut delivery = delivery(&server);
        assert_eq!(delivery.deliver(&batch(&["{}", "{}"])).unwrap().request_count, 3);
        assert_eq!(delivery.deliver(&batch(&["{}", "{}"])).unwrap().request_count, 2);
        let delivered = delivery.deliver(&batch(&["{}"])).unwrap();
        assert_eq!(delivered.refused[0].error_type, "content_too_long");
    }

    #[test]
    fn a_server_that_hangs_up_on_large_bodies_gets_smaller_ones() {
        let mut replies: Vec<Reply> = (0..3).map(|_| Reply::Close).collect();
        replies.extend([items(&[OK, OK]), items(&[OK, OK])]);
        let server = Scripted::start(replies);
        let mut delivery = delivery(&server);
        let batch = batch(&["{}", "{}", "{}", "{}"]);
        delivery.body_max_bytes = batch.body.len() * 2;
        let delivered = delivery.deliver(&batch).unwrap();
        assert_eq!((delivered.applied.len(), delivered.unknown.len()), (4, 4));
        let sizes: Vec<usize> = server.requests().iter().map(|request| request.body.len()).collect();
        let whole = batch.body.len();
        assert_eq!(sizes, [whole, whole, whole, whole / 2, whole / 2]);
    }

    #[test]
    fn retry_after_is_obeyed() {
        let server = Scripted::start(vec![
            Reply::with_headers(429, "retry-after: 1\r\n", "Too Many Requests /_bulk"),
            items(&[OK]),
        ]);
        let began = Instant::now();
        let delivered = delivery(&server).deliver(&batch(&["{}"])).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert!(delivered.unknown.is_empty());
    }

    #[test]
    fn no_answer_in_time_ends_with_the_deadline() {
        let server = Scripted::start((0..50).map(|_| Reply::Silence).collect());
        let mut settings = server.settings();
        settings.request_timeout = Duration::from_millis(50);
        let mut delivery = delivery(&server);
        delivery.settings.client = Client::new(&settings).unwrap();
        delivery.settings.retry_deadline = Some(Duration::from_millis(300));
        let error = delivery.deliver(&batch(&["{}"])).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.story().contains("RETRY_DEADLINE"), "{error:?}");
    }

    #[test]
    fn shutdown_ends_the_wait() {
        let server = Scripted::start(vec![Reply::with_headers(429, "retry-after: 60\r\n", "")]);
        let mut delivery = delivery(&server);
        let shutdown = delivery.settings.shutdown.clone();
        let waiting = std::thread::spawn(move || delivery.deliver(&batch(&["{}"])));
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        shutdown.request();
        assert_eq!(waiting.join().unwrap().unwrap_err().exit_code(), 0);
    }

    #[test]
    fn refusals_in_a_row_stop_the_delivery_over_batches() {
        let server = Scripted::start(vec![items(&[POISON, POISON]), items(&[POISON, OK])]);
        let mut delivery = delivery(&server);
        assert_eq!(delivery.deliver(&batch(&["{}", "{}"])).unwrap().refused.len(), 2);
        assert!(delivery.take_refused_by_all().is_empty());
        let error = delivery.deliver(&batch(&["{}", "{}"])).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(keys(&delivery.take_refused_by_all()), ["0", "1", "0"]);
        let story = error.story();
        assert!(
            story.contains("DEAD_LETTER_STOP") && story.contains("document_parsing_exception"),
            "{story}"
        );
        assert!(!story.contains("For input string"), "{story}");
    }

    #[test]
    fn a_delivery_that_fails_tells_what_may_still_be_under_way() {
        let server = Scripted::start(vec![Reply::json(200, "cut"), Reply::json(401, "{}")]);
        let mut delivery = delivery(&server);
        assert_eq!(delivery.deliver(&batch(&["{}", "{}"])).unwrap_err().exit_code(), 2);
        assert_eq!(keys(&delivery.take_unresolved()), ["0", "1"]);
        assert!(delivery.take_unresolved().is_empty());
    }

    #[test]
    fn a_missing_alias_stops_the_delivery() {
        let gone = r#"{"index":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index
            [movies-1-write] and [require_alias] request flag is [true] and [movies-1-write] is not an alias"}}}"#;
        let server = Scripted::start(vec![items(&[&gone.replace('\n', " ")])]);
        let error = delivery(&server).deliver(&batch(&["{}"])).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.story().contains("resync"), "{error:?}");
    }

    #[test]
    fn a_version_that_the_conflict_does_not_name_is_asked_for() {
        let conflict =
            r#"{"index":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"?"}}}"#;
        let server = Scripted::start(vec![
            items(&[conflict, conflict]),
            Reply::json(200, r#"{"docs":[{"_id":"0","_version":12},{"_id":"1"}]}"#),
        ]);
        let delivered = delivery(&server).deliver(&batch(&["{}", "{}"])).unwrap();
        let versions: Vec<Option<Version>> = delivered.superseded.iter().map(|(_, found)| *found).collect();
        assert_eq!(versions, [Some(Version(12)), None]);
    }
}
