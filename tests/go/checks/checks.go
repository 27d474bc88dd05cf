// Package checks is what the tests of all clients have in common: who they are, how long they wait, and how they say what is wrong.
package checks

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Patience is how long anything may take that ends by itself: an upper bound, never waited for.
const Patience = 180 * time.Second

// Administrator gives the configuration that KUBECONFIG names, without a limit of its own, or ends the process.
func Administrator() *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	config.QPS = -1
	return config
}

// Deadline gives a context that ends with the test, or when the patience does.
func Deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Succeeds ends the test with an error.
func Succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Equal compares two values that can be compared.
func Equal[T comparable](t *testing.T, what string, found, wanted T) {
	t.Helper()
	if found != wanted {
		t.Errorf("%s: found %v, wanted %v", what, found, wanted)
	}
}

// Refused says that a request had to fail in a certain way.
func Refused(t *testing.T, err error, is func(error) bool, part string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), part) {
		t.Errorf("wanted a refusal with %q, got %v", part, err)
	}
}
