//! One document at a time.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn a_documents_life() {
    let server = Server::start().await;
    let created = server.call("PUT", "/things/_doc/1", r#"{"a":{"b":1},"c":2}"#).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    assert_eq!(
        (&created["result"], &created["_version"], &created["_seq_no"]),
        (&json!("created"), &json!(1), &json!(0))
    );

    let got = server.call("GET", "/things/_doc/1?_source_includes=a", "").await.ok();
    assert_eq!(
        (&got["found"], &got["_source"]),
        (&json!(true), &json!({ "a": { "b": 1 } }))
    );
    assert_eq!(
        server.call("GET", "/things/_source/1", "").await.ok(),
        json!({ "a": { "b": 1 }, "c": 2 })
    );
    assert_eq!(server.call("HEAD", "/things/_doc/1", "").await.status, 200);
    assert_eq!(server.call("HEAD", "/things/_doc/2", "").await.status, 404);

    let updated = server
        .call("POST", "/things/_update/1", r#"{"doc":{"a":{"d":3}}}"#)
        .await
        .ok();
    assert_eq!(
        (&updated["result"], &updated["_version"]),
        (&json!("updated"), &json!(2))
    );
    let noop = server
        .call("POST", "/things/_update/1", r#"{"doc":{"a":{"d":3}}}"#)
        .await
        .ok();
    assert_eq!(noop["result"], "noop");

    let stale = server
        .call("PUT", "/things/_doc/1?if_seq_no=0&if_primary_term=1", "{}")
        .await
        .refusal();
    assert_eq!((stale.0, stale.1.as_str()), (409, "version_conflict_engine_exception"));
    let again = server.call("PUT", "/things/_create/1", "{}").await.refusal();
    assert_eq!(again.0, 409);
    assert_eq!(
        server.call("DELETE", "/things/_doc/1", "").await.ok()["result"],
        "deleted"
    );
    assert_eq!(server.call("DELETE", "/things/_doc/1", "").await.status, 404);
    let missing = server.call("GET", "/things/_doc/1", "").await;
    assert_eq!(
        (missing.status.as_u16(), missing.json()["found"].clone()),
        (404, json!(false))
    );
}

#[tokio::test]
async fn ids_are_made_upserts_stored_and_missing_indices_named() {
    let server = Server::start().await;
    let appended = server.call("POST", "/things/_doc", r#"{"a":1}"#).await;
    assert_eq!(appended.status, 201);
    assert!(appended.json()["_id"].as_str().unwrap().len() >= 20);
    let upserted = server
        .call("POST", "/things/_update/u", r#"{"doc":{"a":1},"doc_as_upsert":true}"#)
        .await;
    assert_eq!(upserted.status, 201);
    let (status, kind, reason) = server.call("GET", "/nowhere/_doc/1", "").await.refusal();
    assert_eq!(
        (status, kind.as_str(), reason.as_str()),
        (404, "index_not_found_exception", "no such index [nowhere]")
    );
    let (status, kind, _) = server.call("PUT", "/Upper/_doc/1", "{}").await.refusal();
    assert_eq!((status, kind.as_str()), (400, "invalid_index_name_exception"));
    let (status, _, reason) = server.call("PUT", "/things/_doc/1", "[1]").await.refusal();
    assert_eq!(status, 400, "{reason}");
    let (status, _, reason) = server
        .call(
            "POST",
            "/things/_update/u",
            r#"{"script":{"source":"ctx._source.x=1"}}"#,
        )
        .await
        .refusal();
    assert_eq!(status, 400, "{reason}");
}

#[tokio::test]
async fn several_at_once() {
    let server = Server::start().await;
    server.call("PUT", "/things/_doc/1", r#"{"a":1}"#).await.ok();
    let body = json!({ "docs": [
        { "_index": "things", "_id": "1" }, { "_index": "things", "_id": "2" }, { "_index": "nowhere", "_id": "1" },
    ]});
    let docs = server.call("POST", "/_mget", body.to_string()).await.ok()["docs"].clone();
    assert_eq!((&docs[0]["found"], &docs[1]["found"]), (&json!(true), &json!(false)));
    assert_eq!(docs[2]["error"]["type"], "index_not_found_exception");
    let by_ids = server.call("POST", "/things/_mget", r#"{"ids":["1"]}"#).await.ok();
    assert_eq!(by_ids["docs"][0]["_source"], json!({ "a": 1 }));
    assert_eq!(server.call("POST", "/_mget", r#"{"documents":[]}"#).await.status, 400);
}

#[tokio::test]
async fn chunks_of_files_come_and_go_as_cbor() {
    use ciborium::Value as Cbor;
    let server = Server::start().await;
    let data = vec![7_u8; 1000];
    let chunk = Cbor::Map(vec![
        (Cbor::from("@timestamp"), Cbor::from(1_795_311_137_299_u64)),
        (Cbor::from("last"), Cbor::from(true)),
        (Cbor::from("bid"), Cbor::from("b")),
        (Cbor::from("sha2"), Cbor::from("s")),
        (Cbor::from("data"), Cbor::Bytes(data.clone())),
    ]);
    let mut body = Vec::new();
    ciborium::into_writer(&chunk, &mut body).unwrap();
    let index = ".fleet-fileds-fromhost-data-agent";
    let headers = [
        ("authorization", server.fleet.as_str()),
        ("content-type", "application/cbor"),
    ];
    let stored = server
        .send("PUT", &format!("/{index}/_create/a.0"), &headers, body)
        .await;
    assert_eq!(stored.status, 201, "{}", stored.text());

    let headers = [("authorization", server.fleet.as_str()), ("accept", "application/cbor")];
    let path = format!("/{index}/_doc/a.0?_source=false&stored_fields=data");
    let got = server.send("GET", &path, &headers, "").await;
    assert_eq!(got.headers["content-type"], "application/cbor");
    let got: Cbor = ciborium::from_reader(&got.bytes[..]).unwrap();
    let fields = got
        .as_map()
        .unwrap()
        .iter()
        .find(|(key, _)| key.as_text() == Some("fields"))
        .unwrap()
        .1
        .clone();
    assert_eq!(
        fields.as_map().unwrap()[0].1.as_array().unwrap()[0].as_bytes(),
        Some(&data)
    );

    let search = json!({
        "_source": false, "fields": ["sha2", "last", "bid"], "query": { "term": { "bid": "b" } }, "size": 100,
        "script_fields": { "size": { "script": { "lang": "painless", "source": "params._source.data.length" } } },
    });
    server
        .call_as(&server.fleet, "POST", &format!("/{index}/_refresh"), "")
        .await
        .ok();
    let found = server
        .call_as(&server.fleet, "POST", &format!("/{index}/_search"), search.to_string())
        .await
        .ok();
    let hit = &found["hits"]["hits"][0];
    assert_eq!(hit["fields"]["size"], json!([1000]));
    assert_eq!(hit["fields"]["last"], json!([true]));
    assert!(hit.get("_source").is_none());
}
