// Package controllers uses the server as controllers that are written with controller-runtime do: managers with a leader,
// caches, reconcilers, clients for structures and for whatever has none.
//
// It is built with `go test -c` and run with KUBECONFIG set: the administrator of a cluster that nobody else uses.
package controllers

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"portcullis/tests/checks"
)

// pause is how long to wait before looking again.
const pause = 10 * time.Millisecond

var administrator *rest.Config

func TestMain(tests *testing.M) {
	log.SetLogger(logr.Discard())
	administrator = checks.Administrator()
	os.Exit(tests.Run())
}

// plain gives a client that asks the server, not a cache.
func plain(t *testing.T) client.WithWatch {
	made, err := client.NewWithWatch(administrator, client.Options{Scheme: scheme.Scheme})
	checks.Succeeds(t, err)
	return made
}

// becomes looks until a condition holds. What it returns is why not yet.
func becomes(t *testing.T, look func() string) {
	t.Helper()
	ctx := checks.Deadline(t)
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			t.Fatal(missing)
		}
	}
}

var spaces struct {
	sync.Mutex
	made int
}

// namespace makes a namespace for one test.
func namespace(t *testing.T) string {
	spaces.Lock()
	defer spaces.Unlock()
	spaces.made++
	name := fmt.Sprintf("controllers-%d", spaces.made)
	checks.Succeeds(t, plain(t).Create(checks.Deadline(t), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	return name
}
