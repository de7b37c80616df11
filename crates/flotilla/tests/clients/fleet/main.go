// What a Go program of the Elastic Stack writes through the Fleet API, it reads back unchanged.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"github.com/elastic/elastic-agent-libs/kibana"
	"github.com/elastic/elastic-agent-libs/transport/tlscommon"
)

var failed = 0

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return value
}

func same(what string, wanted, got any) {
	if !reflect.DeepEqual(wanted, got) {
		failed++
		fmt.Printf("%s: wanted %v, got %v\n", what, wanted, got)
	}
}

func text(value any) string { return string(must(json.Marshal(value))) }

func main() {
	ctx := context.Background()
	config := kibana.DefaultClientConfig()
	config.Host, config.Username, config.Password = os.Args[1], "elastic", os.Args[2]
	if len(os.Args) > 4 {
		config.SpaceID = os.Args[4]
	}
	config.Transport.TLS = &tlscommon.Config{CAs: []string{os.Args[3]}}
	client := must(kibana.NewClientWithConfig(&config, "probe", "1.0", "", ""))
	version := client.GetVersion()
	same("version", true, version.Major >= 9)
	same("serverless", false, must(client.KibanaIsServerless()))

	proxy := must(client.CreateFleetProxy(ctx, kibana.ProxiesRequest{Name: "go proxy", URL: "http://proxy.example:3128"}))
	host := must(client.CreateFleetServerHosts(ctx, kibana.ListFleetServerHostsRequest{Name: "go host", HostURLs: []string{"https://fleet.example:8220"}, ProxyID: proxy.Item.ID}))
	read := must(client.GetFleetServerHost(ctx, kibana.GetFleetServerHostRequest{ID: host.Item.ID}))
	same("host urls", []string{"https://fleet.example:8220"}, read.HostURLs)
	same("host proxy", proxy.Item.ID, read.ProxyID)
	source := must(client.CreateDownloadSource(ctx, kibana.DownloadSource{Name: "go source", Host: "https://files.example/"}))
	same("source", "https://files.example/", source.Item.Host)

	wanted := kibana.AgentPolicy{Name: "go policy", Namespace: "default", Description: "of a test", UnenrollTimeout: 600, InactivityTImeout: 900,
		MonitoringEnabled: []kibana.MonitoringEnabledOption{kibana.MonitoringEnabledLogs, kibana.MonitoringEnabledMetrics},
		FleetServerHostID: host.Item.ID, DownloadSourceID: source.Item.ID,
		AgentFeatures: []map[string]any{{"name": "fqdn", "enabled": true}}, IsProtected: false}
	made := must(client.CreatePolicy(ctx, wanted))
	wanted.ID = made.ID
	same("policy", text(wanted), text(must(client.GetPolicy(ctx, made.ID)).AgentPolicy))
	update := kibana.AgentPolicyUpdateRequest{Name: "go policy 2", Namespace: "harbour"}
	must(client.UpdatePolicy(ctx, made.ID, update))
	again := must(client.GetPolicy(ctx, made.ID))
	same("updated", "go policy 2 harbour of a test", again.Name+" "+again.Namespace+" "+again.Description)
	same("second update", again.Revision, must(client.UpdatePolicy(ctx, made.ID, update)).Revision)

	pp := kibana.PackagePolicyRequest{Name: "go system", Namespace: "default", PolicyID: made.ID, Force: false}
	pp.Inputs = []map[string]any{}
	pp.Package = kibana.PackagePolicyRequestPackage{Name: "system", Version: "1.60.0"}
	added := must(client.InstallFleetPackage(ctx, pp))
	same("package policy", "go system", added.Item.Name)
	same("of the policy", 1, len(must(client.GetPolicy(ctx, made.ID)).PackagePolicies))
	must(client.DeleteFleetPackage(ctx, added.Item.ID))

	key := must(client.CreateEnrollmentAPIKey(ctx, kibana.CreateEnrollmentAPIKeyRequest{Name: "go key", PolicyID: made.ID}))
	same("key", true, key.Active && key.APIKey != "" && key.PolicyID == made.ID)
	tokens := must(client.GetPolicyUninstallTokens(ctx, made.ID))
	same("uninstall tokens", 1, len(tokens.Items))
	same("uninstall token", true, must(client.GetUninstallToken(ctx, tokens.Items[0].ID)).Token != "")
	for _, agent := range must(client.ListAgents(ctx, kibana.ListAgentsRequest{})).Items {
		one := must(client.GetAgent(ctx, kibana.GetAgentRequest{ID: agent.ID}))
		same("agent", agent.LocalMetadata.Host.Hostname, one.LocalMetadata.Host.Hostname)
	}
	if err := client.DeletePolicy(ctx, made.ID); err != nil {
		same("delete", nil, err)
	}
	_, err := client.GetPolicy(ctx, made.ID)
	same("gone", true, err != nil)
	if failed > 0 {
		os.Exit(1)
	}
	fmt.Println("all is as it was written")
}
