//! The delivery against scripted answers.

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
        loaders: 1,
        retry_deadline: Some(Duration::from_secs(30)),
        refusal_limit: 3,
        shutdown: Shutdown::new(),
    })
}

fn throttle(body_bytes: usize) -> Arc<Throttle> {
    Arc::new(Throttle::new(body_bytes, 1))
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
fn what_was_not_yet_sent_is_not_counted_as_sent_again() {
    let batch = batch(&["{}"; 6]);
    // Three bodies of two actions; of the second one action is refused for load, and from then on each goes alone.
    let mut replies = vec![items(&[OK, OK]), items(&[OK, BUSY])];
    replies.extend((0..3).map(|_| items(&[OK])));
    let server = Scripted::start(replies);
    let mut delivery = delivery(&server);
    delivery.throttle = throttle(batch.body.len() / 3);
    let delivered = delivery.deliver(&batch).unwrap();
    assert_eq!((delivered.applied.len(), delivered.request_count), (6, 5));
    assert_eq!((delivered.retried_item_count, delivery.take_slowdowns()), (1, 1));
}

#[test]
fn under_load_bodies_shrink_and_grow_again_over_batches() {
    let overloaded = || Reply::json(503, "<html>Service Unavailable</html>");
    let mut replies = vec![overloaded(), overloaded()];
    replies.extend((0..4).map(|_| items(&[OK, OK])));
    let server = Scripted::start(replies);
    let mut delivery = delivery(&server);
    let whole = batch(&["{}"; 8]);
    delivery.throttle = throttle(whole.body.len());
    delivery.deliver(&whole).unwrap();
    let sizes: Vec<usize> =
        server.requests().iter().map(|request| request.body.lines().count() / 2).collect();
    assert_eq!(sizes, [8, 4, 2, 2, 2, 2]);
    let grown = delivery.body_max_bytes();
    assert!(grown > whole.body.len() / 4 && grown < whole.body.len(), "{grown}");
}

#[test]
fn a_blocked_index_is_not_taken_for_an_overloaded_one() {
    let blocked =
        r#"{"index":{"status":429,"error":{"type":"cluster_block_exception","reason":"flood stage"}}}"#;
    let server = Scripted::start(vec![items(&[blocked, blocked]), items(&[OK, OK])]);
    let mut delivery = delivery(&server);
    let delivered = delivery.deliver(&batch(&["{}", "{}"])).unwrap();
    assert_eq!((delivered.retried_item_count, delivery.take_slowdowns()), (2, 0));
    assert_eq!(delivery.body_max_bytes(), 1 << 20);
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
    let server = Scripted::start(vec![malformed(), items(&[OK, OK]), malformed(), malformed(), items(&[OK])]);
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
    delivery.refusals = Arc::new(Mutex::new(Refusals::new(1000)));
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
    delivery.throttle = throttle(batch.body.len() * 2);
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
    assert!(story.contains("DEAD_LETTER_STOP") && story.contains("document_parsing_exception"), "{story}");
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

#[test]
fn refusals_in_a_row_are_counted_over_all_lanes_and_told_once() {
    let server = Scripted::start(vec![items(&[POISON, POISON]), items(&[POISON])]);
    let settings = DeliverySettings { loaders: 2, ..delivery(&server).settings };
    let mut lanes = Delivery::lanes(settings);
    assert_eq!(lanes[0].deliver(&batch(&["{}", "{}"])).unwrap().refused.len(), 2);
    assert_eq!(lanes[1].deliver(&batch(&["{}"])).unwrap_err().exit_code(), 2);
    assert_eq!(keys(&lanes[0].take_refused_by_all()), ["0", "1", "0"]);
    assert!(lanes[1].take_refused_by_all().is_empty());
}

#[test]
fn a_lane_that_waits_before_it_sends_again_holds_nobody_up() {
    let busy = Reply::with_headers(429, "retry-after: 60\r\n", "");
    let server = Scripted::start(vec![busy, items(&[OK]), items(&[OK])]);
    let settings = DeliverySettings { loaders: 2, ..delivery(&server).settings };
    let shutdown = settings.shutdown.clone();
    let mut lanes = Delivery::lanes(settings);
    let mut second = lanes.pop().unwrap();
    let mut first = lanes.pop().unwrap();
    let waiting = std::thread::spawn(move || first.deliver(&batch(&["{}"])));
    // The refusal leaves one request at a time, and it is not the first one's turn while that waits.
    while second.lanes_in_use() > 1 {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        assert_eq!(second.deliver(&batch(&["{}"])).unwrap().applied.len(), 1);
    }
    shutdown.request();
    assert_eq!(waiting.join().unwrap().unwrap_err().exit_code(), 0);
}

#[test]
fn closed_nothing_more_is_sent() {
    let server = Scripted::start(Vec::new());
    let mut delivery = delivery(&server);
    delivery.close();
    assert_eq!(delivery.deliver(&batch(&["{}"])).unwrap_err().exit_code(), 0);
    assert!(server.requests().is_empty() && delivery.take_unresolved().is_empty());
}
