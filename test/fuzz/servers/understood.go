// What Go's own HTTP server understands of a request, as JSON: test/fuzz/understood.ts compares it with what policy saw.
package main

import (
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
		}
		// A field that is read without regard to case, as Go reads JSON; a form as FormValue has it.
		var note struct{ Title any }
		if json.Unmarshal(body, &note) == nil {
			said["title"] = note.Title
		} else if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			if values := form["title"]; len(values) > 0 {
				said["title"] = values[0]
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(said); err != nil {
			log.Print(err)
		}
	})))
}
