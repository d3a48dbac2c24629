// An authorization server for Envoy on OPA's own Go SDK: the same bundle and the same input as deputy's, answered by
// OPA in its usual form, with decision logs on stdout. What a team would write who puts Envoy and OPA together.
// Usage: extauthz BUNDLE PORT. It says "listening" on stderr once it serves.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/logging"
	"github.com/open-policy-agent/opa/v1/sdk"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

type object = map[string]any

type server struct {
	auth.UnimplementedAuthorizationServer
	opa *sdk.OPA
}

// input is what deputy would say of the same call: test/bench/evaluate.ts has the members.
func input(person, method, path string) (object, error) {
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, err
	}
	query := object{}
	for name, values := range target.Query() {
		query[name] = values
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	return object{
		"version": 1, "request_id": hex.EncodeToString(id),
		"now":   object{"unix_s": 1790000000, "weekday": "mon", "hour": 14},
		"agent": object{"id": "agent:bench"},
		"user": object{"id": person, "realm": "corp", "tenant": "default", "verified": true, "active": true,
			"groups": []string{"engineering"}, "roles": []string{}, "entitlements": []string{}, "entitlements_age_ms": 0},
		"provider": object{"id": "github", "connection": "github", "connected": true, "account": person,
			"granted_scopes": []string{"repo", "read:org"}},
		"operation": object{"id": "issues.listForRepo", "kind": "rest", "access": "read", "required_scopes": []string{"repo"}},
		"approvals": []any{},
		"request": object{"method": method, "host": "api.github.com", "query": query,
			"segments": strings.Split(strings.TrimPrefix(target.Path, "/"), "/"),
			"stripped": []string{"header:authorization"}, "body": object{"state": "none", "bytes": 0}},
	}, nil
}

func refused(why string) *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(code.Code_PERMISSION_DENIED), Message: why},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &types.HttpStatus{Code: types.StatusCode_Forbidden}, Body: why}},
	}
}

func (s *server) Check(ctx context.Context, ask *auth.CheckRequest) (*auth.CheckResponse, error) {
	call := ask.GetAttributes().GetRequest().GetHttp()
	person := call.GetHeaders()["deputy-user"]
	said, err := input(person, call.GetMethod(), call.GetPath())
	if err != nil {
		return refused(err.Error()), nil
	}
	answer, err := s.opa.Decision(ctx, sdk.DecisionOptions{Path: "/deputy/decision", Input: said})
	if err != nil {
		return refused(err.Error()), nil
	}
	decision, ok := answer.Result.(object)
	if !ok || decision["allow"] != true {
		return refused(fmt.Sprint(answer.Result)), nil
	}
	// The token that the provider of the bench gave to this person (test/bench/upstream.ts, tokenOf).
	token := "Bearer gho_" + person + "_" + strings.Repeat("0123456789abcdef", 2)
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(code.Code_OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			HeadersToRemove: []string{"deputy-user"},
			Headers: []*core.HeaderValueOption{{
				Header:       &core.HeaderValue{Key: "authorization", Value: token},
				AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}}}},
	}, nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: extauthz BUNDLE PORT")
	}
	config := fmt.Sprintf(`{"bundles":{"deputy":{"resource":%q}},"decision_logs":{"console":true}}`, "file://"+os.Args[1])
	ctx := context.Background()
	console := logging.New()
	console.SetOutput(os.Stdout)
	opa, err := sdk.New(ctx, sdk.Options{Config: strings.NewReader(config), ConsoleLogger: console, Logger: logging.New()})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	auth.RegisterAuthorizationServer(grpcServer, &server{opa: opa})
	log.Print("listening")
	log.Fatal(grpcServer.Serve(listener))
}
