"""The official Python clients of both families: api.py URL PASSWORD CA; says what it did, or fails."""

import sys
import time

from elasticsearch import ConflictError, Elasticsearch, NotFoundError
from elasticsearch import helpers as elastic_helpers
from opensearchpy import OpenSearch
from opensearchpy import helpers as opensearch_helpers
from opensearchpy.exceptions import ConflictError as OpenSearchConflict
from opensearchpy.exceptions import NotFoundError as OpenSearchMissing

URL, PASSWORD, CA = sys.argv[1:4]
MAPPING = {"properties": {"tag": {"type": "keyword"}, "n": {"type": "long"}, "at": {"type": "date"}}}
DOCUMENTS = [{"tag": "even" if n % 2 == 0 else "odd", "n": n, "at": f"2026-01-{n % 28 + 1:02}T00:00:00Z"} for n in range(250)]
AGGREGATIONS = {
    "tags": {"terms": {"field": "tag"}, "aggs": {"sum": {"sum": {"field": "n"}}}},
    "days": {"date_histogram": {"field": "at", "calendar_interval": "day"}},
}


def same(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")


def elasticsearch(client):
    index = "clients-elastic"
    same(client.ping(), True)
    same(client.info()["tagline"], "You Know, for Search")
    client.indices.create(index=index, mappings=MAPPING, settings={"number_of_shards": 1})
    same(client.indices.exists(index=index).meta.status, 200)
    same(elastic_helpers.bulk(client, ({"_index": index, "_id": str(d["n"]), **d} for d in DOCUMENTS), refresh=True)[0], 250)
    same(sum(ok for ok, _ in elastic_helpers.parallel_bulk(client, ({"_op_type": "update", "_index": index, "_id": str(n), "doc": {"seen": True}} for n in range(40)), thread_count=2, chunk_size=10)), 40)
    client.indices.refresh(index=index)
    same(sum(1 for _ in elastic_helpers.scan(client, index=index, query={"query": {"term": {"tag": "odd"}}}, size=50)), 125)
    found = client.search(index=index, query={"range": {"n": {"gte": 200}}}, sort=[{"n": "desc"}], size=3, aggs=AGGREGATIONS)
    same([hit["_source"]["n"] for hit in found["hits"]["hits"]], [249, 248, 247])
    same({bucket["key"]: bucket["sum"]["value"] for bucket in found["aggregations"]["tags"]["buckets"]}, {"even": 5600.0, "odd": 5625.0})
    same(client.count(index=index, query={"term": {"seen": True}})["count"], 40)
    document = client.get(index=index, id="7")
    client.index(index=index, id="7", document={"n": 7}, if_seq_no=document["_seq_no"], if_primary_term=document["_primary_term"])
    try:
        client.index(index=index, id="7", document={"n": 8}, if_seq_no=document["_seq_no"], if_primary_term=document["_primary_term"])
        raise AssertionError("a stale write was accepted")
    except ConflictError:
        pass
    try:
        client.get(index=index, id="none")
        raise AssertionError("a document that is not there was found")
    except NotFoundError:
        pass
    same([d["found"] for d in client.mget(index=index, ids=["1", "none"])["docs"]], [True, False])
    same([r["hits"]["total"]["value"] for r in client.msearch(searches=[{"index": index}, {"query": {"term": {"n": 3}}}, {"index": index}, {"size": 0, "query": {"term": {"tag": "even"}}}])["responses"]], [1, 125])
    view = client.open_point_in_time(index=index, keep_alive="1m")["id"]
    seen, after = 0, None
    while hits := client.search(pit={"id": view, "keep_alive": "1m"}, size=100, sort=[{"n": "asc"}], search_after=after)["hits"]["hits"]:
        seen, after = seen + len(hits), hits[-1]["sort"]
    same((seen, client.close_point_in_time(id=view)["succeeded"]), (250, True))
    same(client.delete_by_query(index=index, query={"term": {"tag": "even"}}, refresh=True)["deleted"], 125)
    client.indices.put_index_template(name="clients", index_patterns=["clients-stream-*"], data_stream={}, priority=300, template={"mappings": MAPPING})
    client.index(index="clients-stream-1", document={"@timestamp": "2026-01-01T00:00:00Z", "tag": "x"}, op_type="create", refresh="wait_for")
    same(client.indices.get_data_stream(name="clients-stream-1")["data_streams"][0]["template"], "clients")
    same(client.search(index="clients-stream-*", q="tag:x")["hits"]["total"]["value"], 1)
    client.ingest.put_pipeline(id="clients", processors=[{"set": {"field": "by", "value": "{{tag}}"}}])
    client.index(index=index, id="p", document={"tag": "piped"}, pipeline="clients")
    same(client.get_source(index=index, id="p").body, {"tag": "piped", "by": "piped"})
    key = client.security.create_api_key(name="clients", role_descriptors={"r": {"indices": [{"names": ["clients-*"], "privileges": ["read"]}]}})
    narrow = Elasticsearch(URL, api_key=key["encoded"], ca_certs=CA)
    same(narrow.search(index=index, size=0)["hits"]["total"]["value"], 126)
    same(narrow.security.authenticate()["authentication_type"], "api_key")
    same(client.security.invalidate_api_key(ids=[key["id"]])["invalidated_api_keys"], [key["id"]])
    same(index in client.cat.indices(index="clients-*", h="index", format="text"), True)
    same(client.cluster.health()["status"] in ("green", "yellow"), True)
    same(client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["n"], {"type": "long"})
    same(client.field_caps(index=index, fields="tag")["fields"]["tag"]["keyword"]["aggregatable"], True)
    same(client.indices.analyze(text="Two words")["tokens"][1]["token"], "words")
    client.indices.update_aliases(actions=[{"add": {"index": index, "alias": "clients-alias"}}])
    same(client.indices.get_alias(name="clients-alias")[index], {"aliases": {"clients-alias": {}}})
    client.indices.delete_data_stream(name="clients-stream-1")
    client.indices.delete(index=index)


def opensearch(client):
    index = "clients-opensearch"
    same(client.ping(), True)
    client.indices.create(index=index, body={"mappings": MAPPING})
    same(opensearch_helpers.bulk(client, ({"_index": index, "_id": str(d["n"]), **d} for d in DOCUMENTS), refresh=True)[0], 250)
    same(sum(1 for _ in opensearch_helpers.scan(client, index=index, query={"query": {"match_all": {}}}, size=60)), 250)
    found = client.search(index=index, body={"query": {"bool": {"filter": [{"term": {"tag": "odd"}}]}}, "size": 2, "sort": ["n"], "aggs": AGGREGATIONS})
    same([hit["_source"]["n"] for hit in found["hits"]["hits"]], [1, 3])
    same(len(found["aggregations"]["days"]["buckets"]), 27)
    same(client.update(index=index, id="3", body={"doc": {"n": 33}}, refresh=True)["result"], "updated")
    same(client.get(index=index, id="3")["_source"]["n"], 33)
    same(client.update_by_query(index=index, body={"query": {"term": {"n": 33}}})["updated"], 2)
    try:
        client.create(index=index, id="3", body={"n": 1})
        raise AssertionError("a document was created twice")
    except OpenSearchConflict:
        pass
    try:
        client.get(index=index, id="none")
        raise AssertionError("a document that is not there was found")
    except OpenSearchMissing:
        pass
    same(client.delete(index=index, id="3")["result"], "deleted")
    same(client.mget(body={"ids": ["1"]}, index=index)["docs"][0]["found"], True)
    same(client.indices.get_settings(index=index)[index]["settings"]["index"]["number_of_shards"], "1")
    same(client.cat.count(index=index, params={"format": "json"})[0]["count"] >= "0", True)
    same(client.indices.stats(index=index)["indices"][index]["primaries"]["docs"]["count"], 249)
    same(client.indices.delete(index=index)["acknowledged"], True)


elasticsearch(Elasticsearch(URL, basic_auth=("elastic", PASSWORD), ca_certs=CA, request_timeout=30))
opensearch(OpenSearch(URL, http_auth=("elastic", PASSWORD), ca_certs=CA, timeout=30))
print("both clients are served")
