// What Go's own HTTP server understands of a request, as JSON: test/fuzz/understood.ts compares it with what policy saw.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		said := map[string]any{
			"method": r.Method, "segments": strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/"), "query": query,
			"host": r.Host, "authorization": r.Header.Values("Authorization"), "body": base64.StdEncoding.EncodeToString(body),
			"fields": fieldsOf(r, body),
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(said); err != nil {
			log.Print(err)
		}
	})))
}

// The fields of a body as the readers of Go's own library have them: names of members without regard to case, the first
// document of several, a form and multipart as a handler asks for them.
func fieldsOf(r *http.Request, body []byte) [][2]any {
	fields := [][2]any{}
	var note struct{ Title *any }
	if json.NewDecoder(bytes.NewReader(body)).Decode(&note) == nil && note.Title != nil {
		fields = append(fields, [2]any{"title", *note.Title})
	}
	var members map[string]any
	if json.NewDecoder(bytes.NewReader(body)).Decode(&members) == nil {
		for name, value := range members {
			fields = append(fields, [2]any{name, value})
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.ParseMultipartForm(1<<20) == nil || r.PostForm != nil {
		for name, values := range r.PostForm {
			for _, value := range values {
				fields = append(fields, [2]any{name, value})
			}
		}
		if r.MultipartForm != nil {
			for name, files := range r.MultipartForm.File {
				fields = append(fields, [2]any{name, files[0].Filename})
			}
		}
	}
	return fields
}
