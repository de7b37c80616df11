// The official Go clients of both families: URL PASSWORD CA; says what it did, or fails.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync/atomic"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esutil"
	"github.com/opensearch-project/opensearch-go/v4"
	"github.com/opensearch-project/opensearch-go/v4/opensearchapi"
)

const documents = 100

func main() {
	url, password := os.Args[1], os.Args[2]
	ca, err := os.ReadFile(os.Args[3])
	must(err)
	ofElastic(url, password, ca)
	ofOpenSearch(url, password, ca)
	fmt.Println("both clients are served")
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func same[T comparable](what string, found, expected T) {
	if found != expected {
		log.Fatalf("%s: %v is not %v", what, found, expected)
	}
}

func ofElastic(url, password string, ca []byte) {
	client, err := elasticsearch.NewClient(elasticsearch.Config{
		Addresses: []string{url}, Username: "elastic", Password: password, CACert: ca, CompressRequestBody: true,
	})
	must(err)
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, Index: "clients-go", FlushBytes: 800, NumWorkers: 2, Refresh: "wait_for"})
	must(err)
	var accepted atomic.Int64
	for n := range documents {
		must(indexer.Add(context.Background(), esutil.BulkIndexerItem{
			Action: "index", DocumentID: fmt.Sprint(n), Body: strings.NewReader(fmt.Sprintf(`{"n":%d}`, n)),
			OnSuccess: func(context.Context, esutil.BulkIndexerItem, esutil.BulkIndexerResponseItem) { accepted.Add(1) },
		}))
	}
	must(indexer.Close(context.Background()))
	same("accepted", accepted.Load(), documents)
	answer, err := client.Search(client.Search.WithIndex("clients-go"), client.Search.WithBody(strings.NewReader(`{"query":{"range":{"n":{"gte":90}}}}`)))
	must(err)
	defer answer.Body.Close()
	var found struct {
		Hits struct{ Total struct{ Value int } }
	}
	must(json.NewDecoder(answer.Body).Decode(&found))
	same("found", found.Hits.Total.Value, 10)
	deleted, err := client.Indices.Delete([]string{"clients-go"})
	must(err)
	defer deleted.Body.Close()
	same("deleted", deleted.StatusCode, 200)
}

func ofOpenSearch(url, password string, ca []byte) {
	client, err := opensearchapi.NewClient(opensearchapi.Config{
		Client: opensearch.Config{Addresses: []string{url}, Username: "elastic", Password: password, CACert: ca},
	})
	must(err)
	ctx := context.Background()
	info, err := client.Info(ctx, nil)
	must(err)
	same("name", info.Version.Number != "", true)
	var lines bytes.Buffer
	for n := range documents {
		fmt.Fprintf(&lines, "{\"create\":{\"_index\":\"clients-go-os\",\"_id\":\"%d\"}}\n{\"n\":%d}\n", n, n)
	}
	written, err := client.Bulk(ctx, opensearchapi.BulkReq{Body: &lines, Params: opensearchapi.BulkParams{Refresh: "true"}})
	must(err)
	same("errors", written.Errors, false)
	found, err := client.Search(ctx, &opensearchapi.SearchReq{Indices: []string{"clients-go-os"}, Body: strings.NewReader(`{"size":3,"sort":["n"]}`)})
	must(err)
	same("found", found.Hits.Total.Value, documents)
	same("hits", len(found.Hits.Hits), 3)
	_, err = client.Indices.Delete(ctx, opensearchapi.IndicesDeleteReq{Indices: []string{"clients-go-os"}})
	must(err)
}
