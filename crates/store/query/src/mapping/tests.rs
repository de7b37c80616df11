use serde_json::{Value, json};

use super::*;

fn mapping(body: &Value) -> Mapping {
    Mapping::parse(body).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_mapping_is_written_as_it_was_read() {
    let body = json!({ "dynamic": "strict", "properties": {
        "a": { "properties": { "b": { "type": "long" } } },
        "list": { "type": "nested", "properties": { "k": { "type": "keyword" } } },
        "title": { "type": "text", "fields": { "raw": { "type": "keyword", "ignore_above": 10 } } },
    } });
    assert_eq!(mapping(&body).to_json(), body);
}

#[test]
fn names_lead_to_fields() {
    let mapping = mapping(&json!({ "properties": {
        "a.b": { "type": "long" }, "title": { "type": "text", "fields": { "raw": { "type": "keyword" } } },
        "flat": { "type": "flattened" }, "off": { "type": "object", "enabled": false },
    } }));
    let kind = |name: &str| mapping.field(name).map(|field| (field.kind(), field.path_length));
    assert_eq!(
        kind("a.b"),
        Some((
            Kind::Whole {
                min: i64::MIN,
                max: i64::MAX
            },
            3
        ))
    );
    assert_eq!(kind("title"), Some((Kind::Text, 5)));
    assert_eq!(kind("title.raw"), Some((Kind::Keyword, 5)));
    assert_eq!(kind("flat.x.y"), Some((Kind::Keyword, 8)));
    for name in ["a", "title.nope", "off.x", "nothing"] {
        assert_eq!(kind(name), None, "{name}");
    }
    assert_eq!(mapping.names(), ["a.b", "flat", "title", "title.raw"]);
}

#[test]
fn what_is_wrong_with_a_mapping_is_named() {
    let check = |body: Value, names: &str| {
        let error = Mapping::parse(&body).expect_err("it must be refused");
        assert_eq!(error.kind, "mapper_parsing_exception");
        assert!(error.message.contains(names), "{}", error.message);
    };
    check(json!({ "properties": { "a": { "type": "nonsense" } } }), "[nonsense]");
    check(
        json!({ "properties": { "a": { "type": "keyword", "nonsense": 1 } } }),
        "[nonsense]",
    );
    check(json!({ "nonsense": 1 }), "[nonsense : 1]");
    check(
        json!({ "properties": { "a": { "index": true } } }),
        "No type specified for field [a]",
    );
}

#[test]
fn new_fields_get_the_types_of_the_original() {
    let document = json!({
        "text": "one two", "whole": 1, "fraction": 1.5, "flag": true, "day": "2026-01-01", "slashed": "2026/01/02 03:04:05",
        "o": { "p": ["a", "b"] }, "dotted.name": 1, "nothing": null, "empty": [], "year": "2026",
    });
    let extended = Mapping::default()
        .admit("1", &document)
        .unwrap()
        .expect("there are new fields");
    let kind = |name: &str| extended.field(name).map(|field| field.type_name().to_owned());
    let expected = [
        ("text", "text"),
        ("text.keyword", "keyword"),
        ("whole", "long"),
        ("fraction", "float"),
        ("flag", "boolean"),
        ("day", "date"),
        ("slashed", "date"),
        ("o.p", "text"),
        ("dotted.name", "long"),
        ("year", "text"),
    ];
    for (name, wanted) in expected {
        assert_eq!(kind(name).as_deref(), Some(wanted), "{name}");
    }
    assert_eq!(kind("nothing").or(kind("empty")), None);
    assert!(
        extended.admit("2", &document).unwrap().is_none(),
        "a second time nothing is new"
    );
}

#[test]
fn values_that_do_not_fit_are_named() {
    let mapping = mapping(&json!({ "properties": {
        "n": { "type": "integer" }, "d": { "type": "date" }, "dmy": { "type": "date", "format": "dd/MM/yyyy" }, "ip": { "type": "ip" },
        "ok": { "type": "boolean" }, "o": { "properties": { "k": { "type": "keyword" } } }, "lax": { "type": "long", "ignore_malformed": true },
    } }));
    let good = json!({ "n": ["12", 1.7], "d": 1, "dmy": "01/02/2026", "ip": "::1", "ok": "false", "o": [{ "k": 1 }], "lax": "x" });
    assert!(mapping.admit("1", &good).unwrap().is_none());
    for (bad, name) in [
        (json!({ "n": "x" }), "[n] of type [integer]"),
        (json!({ "n": 99_999_999_999_i64 }), "[n] of type [integer]"),
        (json!({ "d": "yesterday" }), "[d] of type [date]"),
        (json!({ "dmy": "2026-01-01" }), "[dmy] of type [date]"),
        (json!({ "ip": "999.1" }), "[ip] of type [ip]"),
        (json!({ "ok": "maybe" }), "[ok] of type [boolean]"),
        (json!({ "o": "text" }), "object mapping for [o]"),
        (json!({ "o": { "k": { "x": 1 } } }), "[o.k] of type [keyword]"),
    ] {
        let error = mapping.admit("1", &bad).expect_err("it must be refused");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn dynamic_decides_about_new_fields() {
    let strict = mapping(&json!({ "dynamic": "strict", "properties": { "o": { "type": "object", "dynamic": true } } }));
    assert!(matches!(strict.admit("1", &json!({ "b": 1 })), Err(Misfit::Strict(_))));
    assert!(strict.admit("1", &json!({ "o": { "b": 1 } })).unwrap().is_some());
    let ignoring = mapping(&json!({ "dynamic": false }));
    assert!(ignoring.admit("1", &json!({ "b": 1 })).unwrap().is_none());
}

#[test]
fn rules_decide_what_a_new_field_becomes() {
    let mapping = mapping(&json!({ "numeric_detection": true, "dynamic_templates": [
        { "texts": { "match_mapping_type": "string", "mapping": { "type": "keyword" } } },
        { "numbers": { "path_match": "x.*", "mapping": { "type": "double" } } },
        { "labels": { "path_match": "labels", "match_mapping_type": "object", "mapping": { "type": "flattened" } } },
    ] }));
    let document = json!({ "s": "hello", "x": { "y": 12 }, "n": "12", "labels": { "a": 1 } });
    let extended = mapping.admit("1", &document).unwrap().expect("there are new fields");
    let kind = |name: &str| extended.field(name).map(|field| field.type_name().to_owned());
    assert_eq!(kind("s").as_deref(), Some("keyword"));
    assert_eq!(kind("x.y").as_deref(), Some("double"));
    assert_eq!(kind("n").as_deref(), Some("long"));
    assert_eq!(kind("labels").as_deref(), Some("flattened"));
}

#[test]
fn a_type_cannot_change() {
    let mut present = mapping(&json!({ "properties": { "a": { "type": "long" } } }));
    present
        .merge(mapping(&json!({ "properties": { "b": { "type": "keyword" } } })))
        .unwrap();
    assert_eq!(present.names(), ["a", "b"]);
    let error = present
        .merge(mapping(&json!({ "properties": { "a": { "type": "keyword" } } })))
        .unwrap_err();
    assert_eq!(
        error.message,
        "mapper [a] cannot be changed from type [long] to [keyword]"
    );
}

#[test]
fn a_value_that_is_passed_over_does_not_exist() {
    let mapping = mapping(&json!({ "properties": { "lax": { "type": "long", "ignore_malformed": true } } }));
    let query = crate::Query::from_json(&json!({ "exists": { "field": "lax" } })).unwrap();
    let matcher = crate::matcher::Matcher::compile(&query, Some(&mapping), None).unwrap();
    let holds = |document: Value| matcher.holds(&document, &crate::DocumentMeta::default());
    assert!(holds(json!({ "lax": 1 })) && holds(json!({ "lax": ["x", 2] })));
    assert!(!holds(json!({ "lax": "x" })) && !holds(json!({})));
}
