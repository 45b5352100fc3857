//! Index servers that ask who we are, are busy, lie, cut their answers short, or are several.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{
    Database, Deed, Index, Program, Proxy, Server, assert_same, dead_node, movies_documents, things_database,
    things_documents, things_mapping, things_program,
};

/// Things, and the program that reaches its index through a proxy.
struct Setting {
    database: Database,
    index: Index,
    proxy: Proxy,
    program: Program,
}

impl Setting {
    fn new(label: &str, count: u32, proxy: impl FnOnce(Server) -> Proxy) -> Self {
        let database = things_database(label, count);
        let index = Index::new(label);
        let proxy = proxy(index.server);
        let mut program = things_program(&database, &index, &things_mapping());
        program.set("ELASTIC_URL", &proxy.url());
        Self { database, index, proxy, program }
    }

    fn assert_in_sync(&self) {
        assert_same(&self.index.documents(), &things_documents(&mut self.database.connect()));
    }
}

/// A server that lets in only who comes with this header.
fn guarded(authorization: &str) -> impl FnOnce(Server) -> Proxy + use<> {
    let authorization = authorization.to_owned();
    move |server| {
        Proxy::new(server, move |asked| {
            if asked.authorization.as_ref() == Some(&authorization) {
                return Deed::Pass;
            }
            Deed::answer(
                401,
                r#"{"error":{"type":"security_exception","reason":"unable to authenticate user"},"status":401}"#,
            )
        })
    }
}

#[test]
fn user_and_password_are_sent_with_every_request() {
    // base64 of film:p@ss w%rd
    let mut setting = Setting::new("basic", 20, guarded("Basic ZmlsbTpwQHNzIHclcmQ="));
    setting.program.set("ELASTIC_USER", "film").set("ELASTIC_PASSWORD", "p@ss w%rd");
    setting.program.once();
    setting.assert_in_sync();
    assert!(setting.proxy.asked().iter().all(|asked| asked.authorization.is_some()));
    // The same in the URL, and out of a file.
    let url = setting.proxy.url().replace("http://", "http://film:p%40ss%20w%25rd@");
    setting.program.unset("ELASTIC_USER").unset("ELASTIC_PASSWORD").set("ELASTIC_URL", &url);
    setting.program.once();
    let path = setting.program.write("password", "p@ss w%rd\n");
    setting.program.set("ELASTIC_URL", &setting.proxy.url()).set("ELASTIC_USER", "film");
    setting.program.set("ELASTIC_PASSWORD_FILE", path.to_str().unwrap());
    setting.program.once();
}

#[test]
fn an_api_key_is_sent_with_every_request() {
    let mut setting = Setting::new("api_key", 20, guarded("ApiKey bXlpZDpteWtleQ=="));
    setting.program.set("ELASTIC_API_KEY", "bXlpZDpteWtleQ==");
    setting.program.once();
    setting.assert_in_sync();
    let path = setting.program.write("api_key", "bXlpZDpteWtleQ==\n");
    setting.program.unset("ELASTIC_API_KEY").set("ELASTIC_API_KEY_FILE", path.to_str().unwrap());
    setting.program.once();
}

#[test]
fn who_is_not_let_in_stops_at_once_and_no_secret_is_told() {
    let mut setting = Setting::new("denied", 20, guarded("Basic ZmlsbTpyaWdodA=="));
    let assert_denied = |program: &Program, hint: &str| {
        for arguments in [&["run"][..], &["once"], &["resync"], &["check"], &["preview", "--diff"]] {
            let before = setting.proxy.asked().len();
            let finished = program.command(arguments);
            assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.log);
            let told = format!("{}{}", finished.log, finished.output);
            assert!(told.contains("401") && told.contains(hint), "{arguments:?}: {told}");
            for secret in ["hunter2", "ZmlsbTpodW50ZXIy"] {
                assert!(!told.contains(secret), "{arguments:?} tells a secret: {told}");
            }
            assert!(setting.proxy.asked().len() - before < 5, "{arguments:?} asks again and again");
        }
    };
    setting.program.set("RUST_LOG", "trace").set("ELASTIC_USER", "film").set("ELASTIC_PASSWORD", "hunter2");
    assert_denied(&setting.program, "ELASTIC_PASSWORD");
    let url = setting.proxy.url().replace("http://", "http://film:hunter2@");
    setting.program.unset("ELASTIC_USER").unset("ELASTIC_PASSWORD").set("ELASTIC_URL", &url);
    assert_denied(&setting.program, "ELASTIC_PASSWORD");
    setting.program.set("ELASTIC_URL", &setting.proxy.url()).set("ELASTIC_API_KEY", "ZmlsbTpodW50ZXIy");
    assert_denied(&setting.program, "ELASTIC_API_KEY");
    assert_eq!(
        setting.index.call("GET", &format!("{}*", setting.index.alias), &serde_json::Value::Null).1,
        serde_json::json!({})
    );
    // Let in, it begins as if nothing had been.
    setting.program.unset("ELASTIC_API_KEY").set("ELASTIC_USER", "film").set("ELASTIC_PASSWORD", "right");
    setting.program.once();
    setting.assert_in_sync();
}

#[test]
fn rights_that_are_taken_away_under_a_run_stop_it_and_nothing_is_lost() {
    let denial = r#"{"error":{"type":"security_exception","reason":"action [indices:data/write/bulk] is unauthorized"},"status":403}"#;
    for status in [401, 403] {
        let setting = Setting::new("rights", 20, Proxy::passing);
        let running = setting.program.run();
        setting.proxy.set_rule(
            move |asked| {
                if asked.is_bulk() { Deed::answer(status, denial) } else { Deed::Pass }
            },
        );
        setting.database.execute("update thing set number = 0, changed = now()");
        let finished = running.finish();
        finished.assert_failed(2, &status.to_string());
        assert!(finished.log.contains("ELASTIC_USER"), "{}", finished.log);
        assert_eq!(setting.proxy.bulks().len(), 2, "refused once is refused");
        setting.proxy.set_rule(|_| Deed::Pass);
        setting.program.once();
        setting.assert_in_sync();
        let listed = setting.program.command(&["dead-letters", "list"]);
        assert!(listed.output.contains("no dead letters"), "{}", listed.output);
    }
}

#[test]
fn a_busy_server_is_given_the_time_it_asks_for() {
    for status in [429, 503] {
        let mut bulk_count = 0;
        let setting = Setting::new("busy", 100, |server| {
            Proxy::new(server, move |asked| {
                bulk_count += u32::from(asked.is_bulk());
                if asked.is_bulk() && bulk_count <= 2 {
                    return Deed::Answer(status, "retry-after: 2\r\n".to_owned(), "busy".to_owned());
                }
                Deed::Pass
            })
        });
        setting.program.once();
        setting.assert_in_sync();
        let bulks = setting.proxy.bulks();
        assert_eq!(bulks.len(), 3);
        for pair in bulks.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_secs(2));
        }
    }
}

#[test]
fn a_busy_server_at_the_start_is_waited_for() {
    let mut count = 0;
    let setting = Setting::new("busy_start", 20, |server| {
        Proxy::new(server, move |_| {
            count += 1;
            match count {
                1 => Deed::answer(429, ""),
                2 => Deed::answer(503, "<html>starting"),
                3 => Deed::HangUp,
                5 => Deed::CutAnswer,
                6 => Deed::PassAndAnswer(200, "{".to_owned()),
                8 => Deed::CutAnswer,
                _ => Deed::Pass,
            }
        })
    });
    setting.program.once();
    setting.assert_in_sync();
    // One index and no more, whichever answers were lost.
    let (_, found) =
        setting.index.call("GET", &format!("{}*", setting.index.alias), &serde_json::Value::Null);
    assert_eq!(found.as_object().unwrap().len(), 1, "{found}");
}

#[test]
fn answers_that_are_lost_on_elasticsearch_leave_the_right_documents() {
    answers_are_lost(Server::Elasticsearch);
}

#[test]
fn answers_that_are_lost_on_opensearch_leave_the_right_documents() {
    answers_are_lost(Server::OpenSearch);
}

/// Every bulk request has its answer spoiled once, each in another way, while rows change.
fn answers_are_lost(server: Server) {
    let database = Database::with_films("lost", 1_500);
    let index = Index::on(server, "lost");
    let spoiled = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let seen = Arc::clone(&spoiled);
    let proxy = Proxy::new(server, move |asked| {
        if !asked.is_bulk() {
            return Deed::Pass;
        }
        let mut seen = seen.lock().unwrap();
        let number = seen.len();
        let times = seen.entry(asked.body.clone()).or_insert(0);
        *times += 1;
        if *times > 1 {
            return Deed::Pass;
        }
        match number % 7 {
            0 => Deed::CutAnswer,
            1 => Deed::LoseAction,
            2 => Deed::PassAndAnswer(200, "<html>welcome".to_owned()),
            3 => Deed::PassAndAnswer(502, "<html>Bad Gateway".to_owned()),
            4 => Deed::HangUp,
            5 => Deed::PassAndAnswer(504, String::new()),
            _ => Deed::PassAndAnswer(200, "{}".to_owned()),
        }
    });
    let mut program = Program::new(&database, &index);
    program.set("ELASTIC_URL", &proxy.url()).set("CHUNK_SIZE", "150");
    let running = program.run();
    let mut client = database.connect();
    for round in 0..4 {
        client
            .batch_execute(&format!(
                "update content.person set full_name = full_name || ' {round}', modified = now()
                  where id in (select id from content.person order by id limit 5 offset {round});
                 insert into content.film_work (id, title, type, created, modified)
                 values (gen_random_uuid(), 'new {round}', 'movie', now(), now())"
            ))
            .unwrap();
    }
    index.wait_for(Duration::from_secs(60), || movies_documents(&mut client));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    // What was sent again was the same bytes with the same versions.
    let spoiled = spoiled.lock().unwrap();
    let again = spoiled.values().filter(|times| **times > 1).count();
    assert!(spoiled.len() >= 10 && again * 2 >= spoiled.len(), "{again} of {}", spoiled.len());
    assert!(program.command(&["dead-letters", "list"]).output.contains("no dead letters"));
}

#[test]
fn a_server_that_never_answers_is_given_up_by_once_and_gone_on_with_later() {
    let mut setting = Setting::new("silent", 20, |server| {
        Proxy::new(server, |asked| if asked.is_bulk() { Deed::Silence } else { Deed::Pass })
    });
    setting.program.set("ELASTIC_TIMEOUT", "0.3").set("RETRY_DEADLINE", "1");
    setting.program.command(&["once"]).assert_failed(3, "RETRY_DEADLINE");
    setting.proxy.set_rule(|_| Deed::Pass);
    setting.program.unset("ELASTIC_TIMEOUT");
    setting.program.once();
    setting.assert_in_sync();
}

#[test]
fn of_several_nodes_the_living_are_used() {
    let mut setting = Setting::new("nodes", 500, Proxy::passing);
    let other = Proxy::passing(setting.index.server);
    let nodes = format!("{}, {},{}", dead_node(), setting.proxy.url(), other.url());
    setting.program.set("ELASTIC_URL", &nodes).set("CHUNK_SIZE", "50");
    setting.program.once();
    setting.assert_in_sync();
    // In turns.
    assert!(!setting.proxy.bulks().is_empty() && !other.bulks().is_empty());
    // One dies under a run, with requests under way.
    let running = setting.program.run();
    setting.proxy.set_rule(|_| Deed::HangUp);
    setting.database.execute("update thing set number = number + 1, changed = now()");
    let mut client = setting.database.connect();
    setting.index.wait_for(Duration::from_secs(20), || things_documents(&mut client));
    // And a gateway says for the other that nobody is there, while the first is back.
    setting.proxy.set_rule(|_| Deed::Pass);
    other.set_rule(|_| Deed::answer(502, "<html>Bad Gateway"));
    setting.database.execute("update thing set number = number + 1, changed = now()");
    setting.index.wait_for(Duration::from_secs(20), || things_documents(&mut client));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!finished.log.contains("ERROR"), "{}", finished.log);
}

#[test]
fn an_address_that_is_no_index_server_is_refused() {
    for (answer, text) in [
        (Deed::answer(200, "<html>welcome"), "neither Elasticsearch nor OpenSearch"),
        (Deed::answer(200, "{}"), "neither Elasticsearch nor OpenSearch"),
        (Deed::Answer(302, "location: http://elsewhere/\r\n".to_owned(), String::new()), "redirects"),
        (Deed::answer(404, "not here"), "404"),
    ] {
        let setting = Setting::new("no_server", 1, |server| Proxy::new(server, move |_| answer.clone()));
        let checked = setting.program.command(&["check"]);
        assert_eq!(checked.code, 2, "{}{}", checked.output, checked.log);
        assert!(format!("{}{}", checked.output, checked.log).contains(text), "{}", checked.output);
        assert_eq!(setting.program.command(&["once"]).code, 2);
    }
}
