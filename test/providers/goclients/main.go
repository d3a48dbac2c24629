// What Go's clients do and say through deputy. Arguments: deputy's origin, then people; or `drive` and the origin, for the
// steps of the table of SDKs (drive.go).
package main

import (
	"context"
	"encoding/json"
	"net/url"
	"os"

	"github.com/google/go-github/v84/github"
	"github.com/slack-go/slack"
)

func hub(origin, tag string) (any, error) {
	client := github.NewClient(nil).WithAuthToken(tag)
	base, err := url.Parse(origin + "/api.github.com/")
	if err != nil {
		return nil, err
	}
	client.BaseURL = base
	user, _, err := client.Users.Get(context.Background(), "")
	return user.GetLogin(), err
}

// The form that GitHub's Enterprise Server has: /api/v3/ and /api/uploads/ are appended.
func enterprise(origin, tag string) (any, error) {
	client, err := github.NewClient(nil).WithAuthToken(tag).
		WithEnterpriseURLs(origin+"/api.github.com/", origin+"/uploads.github.com/")
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "deputy-asset-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err = file.WriteString("nine byte"); err != nil {
		return nil, err
	}
	if _, err = file.Seek(0, 0); err != nil {
		return nil, err
	}
	options := &github.UploadOptions{Name: "notes.txt"}
	asset, _, err := client.Repositories.UploadReleaseAsset(context.Background(), "acme", "app", 1, options, file)
	return asset.GetName(), err
}

// It sends its key as the form field `token`.
func chat(origin, tag string) (any, error) {
	answer, err := slack.New(tag, slack.OptionAPIURL(origin+"/slack.com/api/")).AuthTest()
	if err != nil {
		return nil, err
	}
	return answer.User, nil
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "drive" {
		drive(os.Args[2])
		return
	}
	clients := []struct {
		name string
		call func(origin, tag string) (any, error)
	}{{"go-github", hub}, {"go-github enterprise", enterprise}, {"slack-go", chat}}
	out := json.NewEncoder(os.Stdout)
	for _, person := range os.Args[2:] {
		for _, client := range clients {
			line := map[string]any{"client": client.name, "person": person}
			value, err := client.call(os.Args[1], "user:"+person)
			if err != nil {
				line["error"] = err.Error()
			} else {
				line["value"] = value
			}
			if err := out.Encode(line); err != nil {
				panic(err)
			}
		}
	}
}
