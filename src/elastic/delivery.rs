//! Delivers rendered batches: sends, waits, sends again what has to be, and says what became of every action.
//!
//! An action is sent until the server has said what became of it. Sending the same bytes twice does no harm:
//! every action carries its version, and `external_gte` makes the second time a success without effect.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::http::Method;

use crate::backoff::Backoff;
use crate::document::{ActionKind, DocumentAddress, RenderedBatch};
use crate::elastic::bulk::{Piece, cut};
use crate::elastic::client::{Client, Request, RequestBody, path_segment};
use crate::elastic::delivered::{Delivered, Progress};
use crate::elastic::documents::get_versions;
use crate::elastic::failure::is_overload;
use crate::elastic::judge::{Answer, Verdict, judge_item, judge_request};
use crate::elastic::refusals::Refusals;
use crate::elastic::response::{Cause, ItemResult};
use crate::elastic::throttle::{Answered, Throttle};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::shutdown::Shutdown;

/// From so many actions on, a batch of which every single one is malformed to the server says that it is not the
/// documents: the server (or a proxy before it) refuses the request itself.
const SYSTEMIC_MIN: usize = 8;

/// What a delivery is made from.
#[derive(Clone)]
pub struct DeliverySettings {
    /// The index server.
    pub client: Client,
    /// The generation's private write alias.
    pub write_alias: String,
    /// The ingest pipeline that documents go through.
    pub pipeline: Option<String>,
    /// The most bytes of one request's body; a larger action goes alone.
    pub bulk_bytes: usize,
    /// The most requests at once, over all lanes.
    pub loaders: usize,
    /// How long to try again in a row; for ever if not given.
    pub retry_deadline: Option<Duration>,
    /// How many refusals in a row stop the delivery, see `DEAD_LETTER_STOP`; zero: none.
    pub refusal_limit: u64,
    /// Ends every wait.
    pub shutdown: Shutdown,
}

/// Delivers batches, one after the other. Several that share what they learn of the server are [`Delivery::lanes`].
pub struct Delivery {
    settings: DeliverySettings,
    bulk_path: String,
    attempt: String,
    refusals: Arc<Mutex<Refusals>>,
    throttle: Arc<Throttle>,
    /// See [`Delivery::take_unresolved`].
    unresolved: Vec<Key>,
}

/// Why a round of requests stopped before its end.
struct Pause {
    error: Error,
    /// The server's Retry-After.
    at_least: Option<Duration>,
    /// Whether the server has too much to do, and has taken a part of it.
    is_paced: bool,
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
            refusals: Arc::new(Mutex::new(Refusals::new(settings.refusal_limit))),
            throttle: Arc::new(Throttle::new(settings.bulk_bytes, settings.loaders)),
            unresolved: Vec::new(),
            settings,
        }
    }

    /// Makes as many deliveries as there may be requests at once. They share the pace, the number of lanes in use, and
    /// the count of refusals in a row.
    pub fn lanes(settings: DeliverySettings) -> Vec<Self> {
        let lane_count = settings.loaders.max(1);
        let first = Self::new(settings);
        let mut lanes: Vec<Self> = (1..lane_count).map(|_| first.beside()).collect();
        lanes.push(first);
        lanes
    }

    fn beside(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            bulk_path: self.bulk_path.clone(),
            attempt: self.attempt.clone(),
            refusals: Arc::clone(&self.refusals),
            throttle: Arc::clone(&self.throttle),
            unresolved: Vec::new(),
        }
    }

    /// Ends all waiting for a turn to send, of this lane and of those beside it.
    pub fn close(&self) {
        self.throttle.close();
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
        self.refusals().take_if_tripped()
    }

    /// The most bytes of the next body: BULK_BYTES, or less while the server has too much to do.
    pub fn body_max_bytes(&self) -> usize {
        self.throttle.body_max_bytes()
    }

    /// How many requests may be under way at once: as many as there are lanes, or fewer where more would gain nothing or
    /// be refused.
    pub fn lanes_in_use(&self) -> usize {
        self.throttle.lanes_in_use()
    }

    /// How often the bodies were made smaller because the server had too much to do, in any lane, since this was last
    /// asked.
    pub fn take_slowdowns(&self) -> u64 {
        self.throttle.take_slowdowns()
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        // A count and keys: each change is whole before anything can panic.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_all(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let mut backoff = Backoff::new(self.settings.retry_deadline);
        while !progress.waiting.is_empty() {
            let Some(pause) = self.send_round(progress)? else { continue };
            let has_advanced = std::mem::take(&mut progress.has_advanced);
            if has_advanced {
                backoff.succeeded();
            }
            progress.waiting.sort_unstable();
            // Jittered like the waits of the backoff, so that many clients do not come back in step.
            let paced = self.throttle.pause().mul_f64(0.5 + fastrand::f64() / 2.0);
            let at_least = pause.at_least.map_or(paced, |at_least| at_least.max(paced));
            if has_advanced && pause.is_paced {
                // It can go on so for hours, many times a second; that it does was told when it began.
                log::debug!("{}; going on in {:.2} s", pause.error.story(), at_least.as_secs_f64());
                if self.settings.shutdown.wait(at_least) {
                    return Err(Error::interrupted());
                }
                continue;
            }
            backoff.wait_after(pause.error, Some(at_least), &self.settings.shutdown)?;
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
        let mut pieces =
            cut(progress.batch, &std::mem::take(&mut progress.waiting), self.throttle.body_max_bytes());
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
        let Some(turn) = self.throttle.turn() else { return Err(Error::interrupted()) };
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
        let attempted = self.settings.client.attempt(&request);
        let answered = turn.end();
        let (answer, at_least) = match attempted {
            Ok(response) => {
                let answer = judge_request(&response, piece.kinds(progress.batch), &self.attempt);
                if !response.is_success() && is_overload(response.status, response.cause().as_ref()) {
                    self.slow_down(piece.positions.len(), piece.positions.len());
                } else if matches!(answer, Answer::Unknown(_)) {
                    self.answer_lost();
                }
                (answer, response.retry_after)
            }
            Err(failure) if !failure.error.is_retryable() => (Answer::Stop(failure.error), None),
            // It was not sent, so it says nothing of the server's load.
            Err(failure) if failure.is_surely_unsent => {
                progress.waiting.extend(piece.positions);
                return Ok(Some(Pause { error: failure.error, at_least: None, is_paced: false }));
            }
            Err(failure) => {
                progress.was_cut_off = true;
                self.answer_lost();
                (Answer::Unknown(failure.error), None)
            }
        };
        match answer {
            Answer::Items(items) => {
                let judged = self.judge(piece, items, body.len(), answered, progress)?;
                return Ok(judged.map(|(error, is_paced)| Pause { error, at_least, is_paced }));
            }
            Answer::Stop(error) => return Err(error),
            Answer::Busy(error) => {
                progress.will_repeat(piece.positions);
                return Ok(Some(Pause { error, at_least, is_paced: false }));
            }
            Answer::Unknown(error) => {
                for position in &piece.positions {
                    progress.is_unknown[*position] = true;
                }
                progress.will_repeat(piece.positions);
                return Ok(Some(Pause { error, at_least, is_paced: false }));
            }
            Answer::Malformed(cause) => {
                progress.malformed_count += usize::from(piece.positions.len() == 1);
                self.split_or_refuse(piece, &cause, pieces, progress)?;
            }
            Answer::TooLarge(cause) => {
                if piece.positions.len() > 1
                    && let Some(max_bytes) = self.throttle.too_large(body.len())
                {
                    log::info!(
                        "{}: the server takes no body of {} bytes, at most {max_bytes} are sent from now on",
                        self.settings.write_alias,
                        body.len()
                    );
                }
                self.split_or_refuse(piece, &cause, pieces, progress)?;
            }
        }
        Ok(None)
    }

    /// Judges every action of a request; returns why some of them have to be sent again, if there are such, and whether
    /// it is for the server's load.
    fn judge(
        &mut self,
        piece: Piece,
        items: Vec<ItemResult>,
        body_bytes: usize,
        answered: Answered,
        progress: &mut Progress<'_>,
    ) -> Result<Option<(Error, bool)>> {
        let mut repeated = Vec::new();
        let mut last_error = None;
        let sent_count = piece.positions.len();
        let mut overloaded_count = 0;
        for (position, item) in piece.positions.into_iter().zip(items) {
            let kind = progress.batch.actions[position].kind;
            overloaded_count += usize::from(is_overload(item.status, item.error.as_ref()));
            match judge_item(kind, item, &self.attempt) {
                Verdict::Applied => self.applied(position, progress),
                Verdict::Superseded(found) => progress.superseded(position, found),
                Verdict::Unbeatable(cause) | Verdict::Refused(cause) => {
                    self.refused(position, &cause, progress)?;
                }
                Verdict::Stop(error) => return Err(error),
                Verdict::Retry(error) => {
                    repeated.push(position);
                    last_error = Some(error);
                }
            }
        }
        if overloaded_count > 0 {
            self.slow_down(overloaded_count, sent_count);
        } else if repeated.is_empty() && self.throttle.taken(body_bytes, answered) {
            log::info!(
                "{}: the server keeps up again, bodies of up to {} bytes are sent",
                self.settings.write_alias,
                self.body_max_bytes()
            );
        }
        let error = last_error.map(|error| error.while_doing(format!("{} actions wait", repeated.len())));
        progress.will_repeat(repeated);
        Ok(error.map(|error| (error, overloaded_count > 0)))
    }

    fn answer_lost(&mut self) {
        if self.throttle.lost() {
            log::info!(
                "{}: answers are lost, bodies of at most {} bytes are sent until they are not",
                self.settings.write_alias,
                self.body_max_bytes()
            );
        }
    }

    /// The server refuses for load.
    fn slow_down(&mut self, refused_count: usize, sent_count: usize) {
        if self.throttle.overloaded(refused_count, sent_count) {
            log::warn!(
                "{}: the server has too much to do, bodies of at most {} bytes are sent until it keeps up",
                self.settings.write_alias,
                self.body_max_bytes()
            );
        }
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
            self.refusals().applied();
        }
        progress.applied(position);
    }

    fn refused(&mut self, position: usize, cause: &Cause, progress: &mut Progress<'_>) -> Result<()> {
        progress.refused(position, cause);
        if self.refusals().refused(&progress.batch.actions[position].key) {
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
mod tests;
