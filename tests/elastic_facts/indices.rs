//! Indexes: how they are made, found again and adopted, and how their documents are gone through.

use pgsluice::elastic::{
    Ensured, GC_DELETES, IdPosition, Inspected, document_count, inspect, next_ids, put_mapping_additions,
    put_mark, refresh,
};
use serde_json::{Value, json};

use crate::server::{batch, index_body, mark, on_each_server};

#[test]
fn an_index_is_created_once_with_both_aliases_and_found_again() {
    on_each_server("create", |server| {
        assert!(matches!(inspect(&server.client, &server.alias).unwrap(), Inspected::Missing));
        let created = server.ensure(false, None).unwrap();
        assert!(created.created && created.mark.is_none() && created.document_count == 0);
        assert!(created.generation.starts_with(&format!("{}-2", server.alias)));
        assert_eq!(created.write_alias, format!("{}-write", created.generation));
        assert!(created.notices.is_empty(), "{:?}", created.notices);
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&created.generation];
        assert_eq!(index["mappings"]["_meta"]["owner"], "search");
        assert_eq!(index["mappings"]["_meta"]["pgsluice"], json!(mark("one")));
        assert_eq!(index["settings"]["index"]["gc_deletes"], format!("{}s", GC_DELETES.as_secs()));
        assert_eq!(index["settings"]["index"]["refresh_interval"], "1s");
        assert_eq!(index["aliases"][&created.write_alias]["is_write_index"], true);

        let again = server.ensure(false, Some(&created.generation)).unwrap();
        assert_eq!(again.mark, Some(mark("one")));
        assert!(!again.created && again.generation == created.generation);

        let remove = json!({ "index": created.generation, "alias": created.write_alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "remove": remove }] }));
        server.ensure(false, None).unwrap();
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&created.generation];
        assert_eq!(index["aliases"][&created.write_alias]["is_write_index"], true);

        assert!(server.ensure(false, Some("movies-0")).unwrap_err().story().contains("resync"));
        let remove = json!({ "index": created.generation, "alias": server.alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "remove": remove }] }));
        let story = server.ensure(false, None).unwrap_err().story();
        assert!(story.contains(&created.generation) && story.contains("does not point at it"), "{story}");
        let add = json!({ "index": created.generation, "alias": server.alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "add": add }] }));
        server.must(
            "PUT",
            &format!("/{}-other", server.alias),
            &json!({ "aliases": { server.alias.clone(): {} } }),
        );
        assert!(server.ensure(false, None).unwrap_err().story().contains("several"));
        server.must("DELETE", &format!("/{},{}-other", created.generation, server.alias), &Value::Null);
        let error = server.ensure(false, Some(&created.generation)).unwrap_err();
        assert!(error.exit_code() == 2 && error.story().contains("resync"), "{error:?}");
    });
}

#[test]
fn a_strange_index_is_adopted_under_its_own_name() {
    on_each_server("adopt", |server| {
        let mut body = index_body();
        server.must("PUT", &format!("/{}", server.alias), &Value::Object(body.clone()));
        server.must("PUT", &format!("/{}/_doc/1?refresh=false", server.alias), &json!({ "id": "1" }));
        let error = server.ensure(false, None).unwrap_err();
        assert!(error.story().contains("--adopt") && error.story().contains("1 documents"), "{error:?}");
        let adopted = server.ensure(true, None).unwrap();
        assert_eq!(adopted.generation, server.alias);
        assert_eq!((adopted.created, adopted.document_count, adopted.mark), (false, 1, None));
        assert!(adopted.notices[0].contains("gc_deletes"), "{:?}", adopted.notices);
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&server.alias];
        assert_eq!(index["mappings"]["_meta"], json!({ "owner": "search", "pgsluice": mark("one") }));
        assert_eq!(index["mappings"]["dynamic"], "strict");
        assert_eq!(server.ensure(false, None).unwrap().mark, Some(mark("one")));

        put_mark(&server.client, &server.alias, &mark("two")).unwrap();
        body["mappings"]["properties"]["year"] = json!({ "type": "integer" });
        put_mapping_additions(&server.client, &server.alias, &body).unwrap();
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&server.alias];
        assert_eq!(index["mappings"]["properties"]["year"]["type"], "integer");
        assert_eq!(index["mappings"]["_meta"], json!({ "owner": "search", "pgsluice": mark("two") }));

        body["mappings"]["properties"]["id"] = json!({ "type": "text" });
        let error = put_mapping_additions(&server.client, &server.alias, &body).unwrap_err();
        assert!(error.exit_code() == 2 && error.story().contains("in place"), "{error:?}");
    });
}

#[test]
fn an_index_that_does_not_fit_is_left_alone_and_every_difference_named() {
    on_each_server("misfit", |server| {
        let body = json!({ "mappings": { "properties": { "id": { "type": "text" } } } });
        server.must("PUT", &format!("/{}", server.alias), &body);
        let before = server.must("GET", &format!("/{}", server.alias), &Value::Null);
        let error = server.ensure(true, None).unwrap_err();
        for difference in
            ["id is text", "rating is missing", "title is missing", "analyzer.simple_en.tokenizer is missing"]
        {
            assert!(error.story().contains(difference), "{error:?}");
        }
        assert_eq!(server.must("GET", &format!("/{}", server.alias), &Value::Null), before);
    });
}

#[test]
fn every_id_is_seen_and_counted() {
    on_each_server("ids", |server| {
        let Ensured { generation, write_alias, .. } = server.ensure(false, None).unwrap();
        let ids: Vec<String> = (0..25).map(|number| format!("id {number}/ü")).collect();
        let documents: Vec<(&str, Option<&str>)> = ids.iter().map(|id| (id.as_str(), Some("{}"))).collect();
        server.delivery(&write_alias).deliver(&batch(1, &documents)).unwrap();
        refresh(&server.client, &generation).unwrap();
        assert_eq!(document_count(&server.client, &generation).unwrap(), 25);
        for page in [1, 10, 25, 1000] {
            let mut seen = Vec::new();
            let mut largest = 0;
            let mut position = IdPosition::start();
            loop {
                let ids = next_ids(&server.client, &generation, &mut position, page).unwrap();
                if ids.is_empty() {
                    break;
                }
                largest = largest.max(ids.len());
                seen.extend(ids);
            }
            seen.sort();
            let mut expected = ids.clone();
            expected.sort();
            assert_eq!((seen, largest), (expected, page.min(25)));
        }
    });
}
