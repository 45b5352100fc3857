//! A real Elasticsearch with its security on: TLS, users, API keys, tokens, client certificates, and no more rights than
//! the documentation asks for. It is not at hand in an ordinary run: `dev/matrix secured` starts it, and says in
//! `SECURED_URL` where it is and in `SECURED_CERTIFICATES` which folder holds `ca.pem`, `client.pem` and `client.key`.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::harness::{
    Database, Index, Program, service, things_database, things_mapping, things_program, wait_until,
};

/// The password of both users, `admin` (everything) and `writer` (what the documentation asks for).
const PASSWORD: &str = "pgsluice";

/// Things, and the program that reaches the secured server; it has not said yet who it is.
struct Setting {
    database: Database,
    program: Program,
    /// Where its names come from; nothing of it is on the ordinary server.
    index: Index,
}

impl Setting {
    fn new(label: &str) -> Self {
        let database = things_database(label, 50);
        let index = Index::new(label);
        let mut program = things_program(&database, &index, &things_mapping());
        program.set("ELASTIC_URL", &service("SECURED_URL"));
        program.set("ELASTIC_CA", &certificate("ca.pem"));
        Self { database, program, index }
    }

    /// Loads, changes, deletes and compares, by every command that asks the index server.
    fn assert_works(&self) {
        for arguments in [&["check"][..], &["once"]] {
            let finished = self.program.command(arguments);
            assert_eq!(finished.code, 0, "{arguments:?}: {}{}", finished.log, finished.output);
        }
        self.assert_count(50);
        self.database.execute(
            "update thing set number = 0, changed = now() where id = 't00001';
             update thing set number = 9e15, changed = now() where id = 't00002';
             delete from thing where id = 't00003'",
        );
        // One document is refused: a dead letter, and a difference to none.
        assert_eq!(self.program.command(&["once"]).code, 1);
        let listed = self.program.command(&["dead-letters", "list"]);
        assert!(listed.output.contains("t00002"), "{}", listed.output);
        let verified = self.program.command(&["verify", "--repair"]);
        assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
        self.assert_count(49);
        for arguments in [&["status"][..], &["preview", "--diff", "t00001"], &["resync"]] {
            let finished = self.program.command(arguments);
            assert!(finished.code < 2, "{arguments:?}: {}{}", finished.log, finished.output);
        }
        self.assert_count(49);
    }

    fn assert_count(&self, count: u64) {
        let alias = &self.index.alias;
        ask("POST", &format!("{alias}/_refresh"), &Value::Null);
        assert_eq!(ask("GET", &format!("{alias}/_count"), &Value::Null)["count"], count);
    }

    /// Fails at once, with code 2 and this text.
    fn assert_refused(&self, text: &str) {
        for arguments in [&["check"][..], &["once"], &["run"]] {
            let finished = self.program.command(arguments);
            let told = format!("{}{}", finished.log, finished.output);
            assert_eq!(finished.code, 2, "{arguments:?}: {told}");
            assert!(told.contains(text), "{arguments:?}: {told}");
        }
    }
}

fn certificate(name: &str) -> String {
    format!("{}/{name}", service("SECURED_CERTIFICATES"))
}

/// Asks the server as its administrator.
fn ask(method: &str, path: &str, body: &Value) -> Value {
    let ca = std::fs::read(certificate("ca.pem")).unwrap();
    let roots = RootCerts::from(vec![Certificate::from_pem(&ca).unwrap()]);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}/{path}", service("SECURED_URL")))
        // base64 of admin:pgsluice
        .header("authorization", "Basic YWRtaW46cGdzbHVpY2U=")
        .header("content-type", "application/json")
        .body(if body.is_null() { String::new() } else { body.to_string() })
        .unwrap();
    let mut answer = agent.run(request).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {} {text}", answer.status());
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// The rights that docs/operations.md asks for.
fn documented_rights(index: &Index) -> Value {
    json!({ "writer": {
        "cluster": ["monitor"],
        "indices": [{
            "names": [index.alias, format!("{}-*", index.alias)],
            "privileges": ["create_index", "manage", "view_index_metadata", "read", "write"],
        }],
    }})
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn user_and_password_with_the_documented_rights_are_enough() {
    let mut setting = Setting::new("secured_basic");
    setting.program.set("ELASTIC_USER", "writer").set("ELASTIC_PASSWORD", PASSWORD);
    setting.assert_works();
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn an_api_key_with_the_documented_rights_is_enough_until_it_is_taken_back() {
    let mut setting = Setting::new("secured_key");
    let made = ask(
        "POST",
        "_security/api_key",
        &json!({ "name": setting.index.alias, "role_descriptors": documented_rights(&setting.index) }),
    );
    let key = made["encoded"].as_str().unwrap();
    setting.program.set("ELASTIC_API_KEY", key);
    setting.assert_works();
    let running = setting.program.run();
    ask("DELETE", "_security/api_key", &json!({ "ids": [made["id"]] }));
    setting.database.execute("update thing set number = 5, changed = now() where id = 't00004'");
    let finished = running.finish();
    finished.assert_failed(2, "401");
    finished.assert_silent_on(key);
    assert!(finished.log.contains("ELASTIC_API_KEY"), "{}", finished.log);
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn a_bearer_token_is_enough() {
    let mut setting = Setting::new("secured_bearer");
    let made = ask(
        "POST",
        "_security/oauth2/token",
        &json!({ "grant_type": "password", "username": "writer", "password": PASSWORD }),
    );
    let token = made["access_token"].as_str().unwrap();
    let path = setting.program.write("token", &format!("{token}\n"));
    setting.program.set("ELASTIC_BEARER_TOKEN_FILE", path.to_str().unwrap());
    setting.assert_works();
    setting.program.unset("ELASTIC_BEARER_TOKEN_FILE").set("ELASTIC_BEARER_TOKEN", "bm9uZQ==");
    setting.assert_refused("ELASTIC_BEARER_TOKEN");
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn a_client_certificate_is_enough() {
    let mut setting = Setting::new("secured_certificate");
    setting.program.set("ELASTIC_CLIENT_CERT", &certificate("client.pem"));
    setting.program.set("ELASTIC_CLIENT_KEY", &certificate("client.key"));
    setting.assert_works();
    // The key of another certificate is found out before the server is asked.
    setting.program.set("ELASTIC_CLIENT_KEY", &certificate("node.key"));
    setting.assert_refused("does not fit");
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn who_is_wrong_is_refused_with_the_cure() {
    let mut setting = Setting::new("secured_wrong");
    setting.assert_refused("401");
    setting.program.set("ELASTIC_USER", "writer").set("ELASTIC_PASSWORD", "wrong");
    setting.assert_refused("ELASTIC_PASSWORD");
    // A user who may not: only names that begin with another letter are the writer's.
    setting.program.set("ELASTIC_PASSWORD", PASSWORD).set("ELASTIC_INDEX", "others");
    setting.assert_refused("create_index");
    // Another authority than the one that signed.
    setting.program.set("ELASTIC_CA", &certificate("client.pem")).set("ELASTIC_INDEX", &setting.index.alias);
    setting.assert_refused("ELASTIC_CA");
    setting.program.unset("ELASTIC_CA");
    setting.assert_refused("ELASTIC_CA");
    let plain = service("SECURED_URL").replace("https:", "http:");
    setting.program.set("ELASTIC_URL", &plain);
    let finished = setting.program.command(&["check"]);
    assert!(finished.output.contains("https://"), "{}{}", finished.output, finished.log);
}

#[test]
#[ignore = "needs a secured server, which dev/matrix starts"]
fn changes_are_followed_over_tls() {
    let mut setting = Setting::new("secured_run");
    setting.program.set("ELASTIC_USER", "writer").set("ELASTIC_PASSWORD", PASSWORD);
    let running = setting.program.run();
    setting.database.execute("insert into thing (id, number) values ('new', 7)");
    wait_until(Duration::from_secs(20), "the new thing is there", || {
        ask("POST", &format!("{}/_refresh", setting.index.alias), &Value::Null);
        ask("GET", &format!("{}/_count?q=number:7", setting.index.alias), &Value::Null)["count"] == 2
    });
    assert_eq!(running.terminate().code, 0);
}
