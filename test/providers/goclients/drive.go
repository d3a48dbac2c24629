package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-github/v84/github"
	"github.com/slack-go/slack"
)

const uploaded = "nine=byte&b=%7"

type told struct {
	Code string `json:"code,omitempty"`
	URL  string `json:"url,omitempty"`
}

// An SDK in the steps of test/sdks/measure.ts.
type steps struct {
	who    func() (any, error)
	pages  func() (any, error)
	upload func() (any, error)
	calls  []func() error
	told   func(error) told
}

var link = regexp.MustCompile(`https?://\S+/connect/[\w-]+`)

func goGithub(origin, tag string) (steps, error) {
	ctx := context.Background()
	c := github.NewClient(nil).WithAuthToken(tag)
	base, err := url.Parse(origin + "/api.github.com/")
	if err != nil {
		return steps{}, err
	}
	uploads, err := url.Parse(origin + "/uploads.github.com/")
	if err != nil {
		return steps{}, err
	}
	c.BaseURL, c.UploadURL = base, uploads
	const owner, repo = "acme", "web"
	text := github.Ptr("x")
	return steps{
		who: func() (any, error) {
			user, _, err := c.Users.Get(ctx, "")
			return user.GetLogin(), err
		},
		pages: func() (any, error) {
			titles := []string{}
			options := &github.IssueListByRepoOptions{}
			for {
				issues, answer, err := c.Issues.ListByRepo(ctx, owner, repo, options)
				if err != nil {
					return nil, err
				}
				for _, issue := range issues {
					titles = append(titles, issue.GetTitle())
				}
				if answer.NextPage == 0 {
					return titles, nil
				}
				options.ListOptions.Page = answer.NextPage
			}
		},
		upload: func() (any, error) {
			file, err := os.CreateTemp("", "deputy-asset-")
			if err != nil {
				return nil, err
			}
			defer os.Remove(file.Name())
			if _, err = file.WriteString(uploaded); err != nil {
				return nil, err
			}
			if _, err = file.Seek(0, 0); err != nil {
				return nil, err
			}
			_, _, err = c.Repositories.UploadReleaseAsset(ctx, owner, repo, 1, &github.UploadOptions{Name: "a.txt"}, file)
			return nil, err
		},
		calls: []func() error{
			func() error { _, _, err := c.Users.Get(ctx, ""); return err },
			func() error { _, _, err := c.Repositories.Get(ctx, owner, repo); return err },
			func() error { _, _, err := c.Repositories.ListByAuthenticatedUser(ctx, nil); return err },
			func() error {
				_, _, _, err := c.Repositories.GetContents(ctx, owner, repo, "src/main.go", nil)
				return err
			},
			func() error {
				_, _, err := c.Repositories.CreateFile(ctx, owner, repo, "a/b.md", &github.RepositoryContentFileOptions{Message: text, Content: []byte("x")})
				return err
			},
			func() error { _, _, err := c.Repositories.ListCommits(ctx, owner, repo, nil); return err },
			func() error {
				_, _, err := c.Repositories.CompareCommits(ctx, owner, repo, "main", "topic", nil)
				return err
			},
			func() error { _, _, err := c.Git.GetTree(ctx, owner, repo, "main", true); return err },
			func() error {
				_, _, err := c.Git.CreateRef(ctx, owner, repo, github.CreateRef{Ref: "refs/heads/x", SHA: "abc"})
				return err
			},
			func() error { _, _, err := c.Issues.ListByRepo(ctx, owner, repo, nil); return err },
			func() error {
				_, _, err := c.Issues.Create(ctx, owner, repo, &github.IssueRequest{Title: text})
				return err
			},
			func() error {
				_, _, err := c.Issues.CreateComment(ctx, owner, repo, 1, &github.IssueComment{Body: text})
				return err
			},
			func() error { _, _, err := c.Issues.AddLabelsToIssue(ctx, owner, repo, 1, []string{"bug"}); return err },
			func() error { _, _, err := c.PullRequests.List(ctx, owner, repo, nil); return err },
			func() error {
				_, _, err := c.PullRequests.Create(ctx, owner, repo, &github.NewPullRequest{Title: text, Head: github.Ptr("topic"), Base: github.Ptr("main")})
				return err
			},
			func() error { _, _, err := c.PullRequests.ListFiles(ctx, owner, repo, 1, nil); return err },
			func() error {
				_, _, err := c.PullRequests.CreateReview(ctx, owner, repo, 1, &github.PullRequestReviewRequest{Body: text, Event: github.Ptr("COMMENT")})
				return err
			},
			func() error { _, _, err := c.PullRequests.Merge(ctx, owner, repo, 1, "x", nil); return err },
			func() error { _, _, err := c.Search.Issues(ctx, "is:open", nil); return err },
			func() error { _, _, err := c.Actions.ListRepositoryWorkflowRuns(ctx, owner, repo, nil); return err },
			func() error { _, _, err := c.Checks.ListCheckRunsForRef(ctx, owner, repo, "main", nil); return err },
		},
		told: func(err error) told {
			var answer *github.ErrorResponse
			if !errors.As(err, &answer) {
				return told{}
			}
			return told{answer.Response.Header.Get("Deputy-Answer"), link.FindString(err.Error())}
		},
	}, nil
}

// It drops the body of every answer that is not 200: neither code nor link is in its error.
func slackGo(origin, tag string) (steps, error) {
	c := slack.New(tag, slack.OptionAPIURL(origin+"/slack.com/api/"))
	const channel, user = "C1", "U1"
	item := slack.NewRefToMessage(channel, "1.2")
	text := slack.MsgOptionText("x", false)
	return steps{
		who: func() (any, error) {
			answer, err := c.AuthTest()
			if err != nil {
				return nil, err
			}
			return answer.User, nil
		},
		pages: func() (any, error) {
			ids, cursor := []string{}, ""
			for {
				channels, next, err := c.GetConversations(&slack.GetConversationsParameters{Cursor: cursor, Limit: 1})
				if err != nil {
					return nil, err
				}
				for _, channel := range channels {
					ids = append(ids, channel.ID)
				}
				if next == "" {
					return ids, nil
				}
				cursor = next
			}
		},
		upload: func() (any, error) {
			_, err := c.UploadFile(slack.UploadFileParameters{Channel: channel, Filename: "a.txt", FileSize: len(uploaded), Reader: strings.NewReader(uploaded)})
			return nil, err
		},
		calls: []func() error{
			func() error { _, err := c.AuthTest(); return err },
			func() error { _, _, err := c.GetConversations(&slack.GetConversationsParameters{}); return err },
			func() error {
				_, err := c.GetConversationInfo(&slack.GetConversationInfoInput{ChannelID: channel})
				return err
			},
			func() error {
				_, err := c.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: channel})
				return err
			},
			func() error {
				_, _, _, err := c.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: channel, Timestamp: "1.2"})
				return err
			},
			func() error {
				_, _, err := c.GetUsersInConversation(&slack.GetUsersInConversationParameters{ChannelID: channel})
				return err
			},
			func() error {
				_, _, _, err := c.OpenConversation(&slack.OpenConversationParameters{Users: []string{user}})
				return err
			},
			func() error { _, _, _, err := c.JoinConversation(channel); return err },
			func() error { _, _, err := c.PostMessage(channel, text); return err },
			func() error { _, _, _, err := c.UpdateMessage(channel, "1.2", text); return err },
			func() error { _, _, err := c.DeleteMessage(channel, "1.2"); return err },
			func() error { _, err := c.PostEphemeral(channel, user, text); return err },
			func() error { _, _, err := c.ScheduleMessage(channel, "1", text); return err },
			func() error {
				_, err := c.GetPermalink(&slack.PermalinkParameters{Channel: channel, Ts: "1.2"})
				return err
			},
			func() error { _, err := c.GetUsers(); return err },
			func() error { _, err := c.GetUserInfo(user); return err },
			func() error { _, err := c.GetUserByEmail("ann@corp.test"); return err },
			func() error { _, err := c.SearchMessages("x", slack.NewSearchParameters()); return err },
			func() error { return c.AddReaction("eyes", item) },
			func() error { return c.AddPin(channel, item) },
		},
		told: func(error) told { return told{} },
	}, nil
}

type ask struct {
	ID             int
	SDK, Step, Tag string
}

func take(origin string, asked ask) map[string]any {
	makers := map[string]func(string, string) (steps, error){"go-github": goGithub, "slack-go": slackGo}
	maker, known := makers[asked.SDK]
	if !known {
		return map[string]any{"error": "there is no " + asked.SDK, "told": told{}}
	}
	sdk, err := maker(origin, asked.Tag)
	var value any
	if err == nil {
		switch asked.Step {
		case "who":
			value, err = sdk.who()
		case "pages":
			value, err = sdk.pages()
		case "upload":
			value, err = sdk.upload()
		case "calls":
			for _, call := range sdk.calls {
				// What a client makes of so poor an answer does not matter: what was sent is counted where it arrives.
				if err := call(); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}
		}
	}
	if err != nil {
		return map[string]any{"error": err.Error(), "told": sdk.told(err)}
	}
	return map[string]any{"value": value}
}

// Takes a line of JSON for each step, and answers by one; steps run beside each other.
func drive(origin string) {
	var running sync.WaitGroup
	var writing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var asked ask
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			panic(err)
		}
		running.Go(func() {
			line := take(origin, asked)
			line["id"] = asked.ID
			writing.Lock()
			defer writing.Unlock()
			if err := out.Encode(line); err != nil {
				panic(err)
			}
		})
	}
	running.Wait()
}
