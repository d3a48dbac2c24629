// Command etcd is etcd's own server, built from its Go module: its releases are not in a package registry.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
