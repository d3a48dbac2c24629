// A server and a client of gRPC's own interoperability service (grpc.testing.TestService), to stand on both sides of deputy.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The person by the token of the call, as an ordinary provider knows it: at-alice-… is alice.
func who(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	said := md.Get("authorization")
	if len(said) != 1 || !strings.HasPrefix(said[0], "Bearer at-") {
		return "", status.Error(codes.Unauthenticated, "no token of this provider")
	}
	return strings.Split(said[0], "-")[1], nil
}

type server struct {
	pb.UnimplementedTestServiceServer
}

// What the test says next: each line lets one message go.
var next = make(chan struct{}, 100)

func listen() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		next <- struct{}{}
	}
}

func payload(text string) *pb.Payload { return &pb.Payload{Body: []byte(text)} }

func (server) UnaryCall(ctx context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	name, err := who(ctx)
	if err != nil {
		return nil, err
	}
	grpc.SetTrailer(ctx, metadata.Pairs("x-served-for", name))
	if string(in.GetPayload().GetBody()) == "wait" {
		end, _ := ctx.Deadline()
		fmt.Printf("waits %s %d\n", name, time.Until(end).Round(time.Second)/time.Second)
		<-ctx.Done()
		fmt.Printf("ended %s %s\n", name, status.FromContextError(ctx.Err()).Code())
		return nil, ctx.Err()
	}
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("x-note")) > 0 {
		grpc.SetHeader(ctx, metadata.MD{"x-note": md.Get("x-note"), "x-note-bin": md.Get("x-note-bin")})
	}
	if in.ResponseStatus != nil {
		return nil, status.Error(codes.Code(in.ResponseStatus.Code), in.ResponseStatus.Message)
	}
	return &pb.SimpleResponse{Username: name, Payload: in.Payload}, nil
}

func (server) StreamingOutputCall(in *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	name, err := who(out.Context())
	if err != nil {
		return err
	}
	for i := range in.ResponseParameters {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: payload(fmt.Sprintf("%s %d", name, i))}); err != nil {
			return err
		}
		select {
		case <-next:
		case <-out.Context().Done():
			fmt.Printf("left %s %s\n", name, status.FromContextError(out.Context().Err()).Code())
			return out.Context().Err()
		}
	}
	return nil
}

func (server) StreamingInputCall(in pb.TestService_StreamingInputCallServer) error {
	name, err := who(in.Context())
	if err != nil {
		return err
	}
	size := 0
	for {
		one, err := in.Recv()
		if err == io.EOF {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		fmt.Printf("heard %s %s\n", name, one.Payload.Body)
		size += len(one.Payload.Body)
	}
}

func (server) FullDuplexCall(both pb.TestService_FullDuplexCallServer) error {
	name, err := who(both.Context())
	if err != nil {
		return err
	}
	for {
		one, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			fmt.Printf("cut %s %s\n", name, status.Code(err))
			return err
		}
		if string(one.Payload.Body) == "enough" {
			return status.Error(codes.OutOfRange, "it ends while the client still sends")
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{Payload: payload(name + " " + string(one.Payload.Body))}); err != nil {
			return err
		}
	}
}

func serve(cert, key string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	var options []grpc.ServerOption
	if cert != "" {
		secured, err := credentials.NewServerTLSFromFile(cert, key)
		must(err)
		options = append(options, grpc.Creds(secured))
	}
	s := grpc.NewServer(options...)
	pb.RegisterTestServiceServer(s, server{})
	go listen()
	fmt.Printf("port %d\n", listener.Addr().(*net.TCPAddr).Port)
	must(s.Serve(listener))
}

type said struct {
	User    string   `json:"user,omitempty"`
	Texts   []string `json:"texts,omitempty"`
	Size    int      `json:"size,omitempty"`
	Code    string   `json:"code"`
	Message string   `json:"message,omitempty"`
	Trailer []string `json:"trailer,omitempty"`
	Answer  []string `json:"answer,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

func told(s said, err error, trailer metadata.MD) {
	s.Code = status.Code(err).String()
	s.Message = status.Convert(err).Message()
	s.Trailer = trailer.Get("x-served-for")
	s.Answer = trailer.Get("deputy-answer")
	line, err := json.Marshal(s)
	must(err)
	fmt.Println(string(line))
}

// The tag stands in `authorization`, or in `deputy-user` beside a key of the agent's own. Without a file of authorities it speaks
// plainly; with one over TLS, through HTTPS_PROXY where that is set.
func call(address, tag, what, text, ca string) {
	transport := insecure.NewCredentials()
	if ca != "" {
		var err error
		transport, err = credentials.NewClientTLSFromFile(ca, "")
		must(err)
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	must(err)
	client := pb.NewTestServiceClient(connection)
	patience := 2 * time.Minute
	if what == "deadline" {
		patience = 6 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if name, beside := strings.CutPrefix(tag, "deputy-user="); beside {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer stolen", "deputy-user", name)
	} else if tag != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+tag)
	}
	var header, trailer metadata.MD
	keep := []grpc.CallOption{grpc.Trailer(&trailer), grpc.Header(&header)}
	switch what {
	case "unary":
		for range 20 {
			answer, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(text)}, keep...)
			told(said{User: answer.GetUsername(), Texts: []string{string(answer.GetPayload().GetBody())}}, err, trailer)
			if err != nil {
				return
			}
		}
	case "noted":
		ctx = metadata.AppendToOutgoingContext(ctx, "x-note", "one", "x-note", "two", "x-note-bin", "\x00\xff")
		answer, err := client.UnaryCall(ctx, &pb.SimpleRequest{}, keep...)
		notes := append(header.Get("x-note"), fmt.Sprintf("%x", header.Get("x-note-bin")))
		told(said{User: answer.GetUsername(), Notes: notes}, err, trailer)
	case "large":
		long := strings.Repeat(text, 1_000_000)
		answer, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(long)}, append(keep, grpc.UseCompressor("gzip"))...)
		if string(answer.GetPayload().GetBody()) != long {
			panic("another text came back")
		}
		told(said{User: answer.GetUsername(), Size: len(long)}, err, trailer)
	case "deadline", "cancel":
		if what == "cancel" {
			go func() {
				<-next
				cancel()
			}()
		}
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload("wait")}, keep...)
		told(said{}, err, trailer)
	case "empty":
		_, err := client.EmptyCall(ctx, &pb.Empty{}, keep...)
		told(said{}, err, trailer)
	case "fails":
		_, err := client.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 9, Message: text}}, keep...)
		told(said{}, err, trailer)
	case "server", "leave":
		stream, err := client.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: make([]*pb.ResponseParameters, 3)})
		must(err)
		s := said{}
		for {
			var one *pb.StreamingOutputCallResponse
			if one, err = stream.Recv(); err != nil {
				break
			}
			fmt.Printf("got %s\n", one.Payload.Body)
			s.Texts = append(s.Texts, string(one.Payload.Body))
			if what == "leave" {
				cancel()
			}
		}
		if err == io.EOF {
			err = nil
		}
		told(s, err, stream.Trailer())
	case "client":
		stream, err := client.StreamingInputCall(ctx)
		must(err)
		// Listens while it sends: gRPC tells an end in the middle only to who reads.
		var answer pb.StreamingInputCallResponse
		ended := make(chan error, 1)
		go func() { ended <- stream.RecvMsg(&answer) }()
		for i := 0; i < 3 && len(ended) == 0; i++ {
			// What cannot be sent any more is explained by the answer.
			if stream.Send(&pb.StreamingInputCallRequest{Payload: payload(fmt.Sprintf("%s %d", text, i))}) != nil {
				break
			}
			select {
			case <-next:
			case err := <-ended:
				ended <- err
			}
		}
		must(stream.CloseSend())
		err = <-ended
		told(said{Size: int(answer.GetAggregatedPayloadSize())}, err, stream.Trailer())
	case "bidi", "hold", "early":
		stream, err := client.FullDuplexCall(ctx)
		must(err)
		s := said{}
		for i := 0; i < 5 && err == nil; i++ {
			// One after the other: each answer comes while the request is still open.
			word := fmt.Sprintf("%s %d", text, i)
			if what == "early" && i == 2 {
				word = "enough"
			}
			if err = stream.Send(&pb.StreamingOutputCallRequest{Payload: payload(word)}); err != nil {
				break
			}
			var one *pb.StreamingOutputCallResponse
			if one, err = stream.Recv(); err == nil {
				s.Texts = append(s.Texts, string(one.Payload.Body))
			}
			if what == "hold" && i == 0 && err == nil {
				fmt.Println("held")
				_, err = stream.Recv()
			}
		}
		if err == nil {
			must(stream.CloseSend())
			if _, err = stream.Recv(); err == io.EOF {
				err = nil
			}
		}
		told(s, err, stream.Trailer())
	}
}

// Go's own client of HTTP/2 beside that of gRPC: six calls at once, through HTTPS_PROXY.
func get(url, ca string) {
	pem, err := os.ReadFile(ca)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
	ended := make(chan said)
	for range 6 {
		go func() {
			answer, err := client.Get(url)
			must(err)
			_, err = io.Copy(io.Discard, answer.Body)
			must(err)
			ended <- said{Code: fmt.Sprintf("%s %d", answer.Proto, answer.StatusCode), Answer: answer.Header["Deputy-Answer"]}
		}()
	}
	for range 6 {
		line, err := json.Marshal(<-ended)
		must(err)
		fmt.Println(string(line))
	}
}

func main() {
	switch os.Args[1] {
	case "server":
		serve(os.Args[2], os.Args[3])
	case "get":
		get(os.Args[2], os.Args[3])
	case "client":
		go listen()
		call(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6])
	}
}
