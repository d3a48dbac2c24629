module clients

go 1.26

require (
	github.com/google/go-github/v84 v84.0.0
	github.com/slack-go/slack v0.35.0
)

require (
	github.com/google/go-querystring v1.2.0 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
)
