// Package clients uses the server as programs that are written with client-go do: typed clients over protobuf and over
// JSON, apply configurations, leases, informers, dynamic clients. Each test is a thing that such programs rely on.
//
// It is built with `go test -c` and run with KUBECONFIG set: the administrator of a cluster that nobody else uses.
package clients

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portcullis/tests/checks"
)

const (
	protobuf = "application/vnd.kubernetes.protobuf"
	json     = "application/json"
)

var administrator *rest.Config

func TestMain(tests *testing.M) {
	administrator = checks.Administrator()
	os.Exit(tests.Run())
}

// speaking gives the administrator's configuration with a content type, which the server's answers must have as well.
func speaking(t *testing.T, contentType string) *rest.Config {
	config := rest.CopyConfig(administrator)
	config.ContentType, config.AcceptContentTypes = contentType, contentType
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &listener{next, t, contentType} })
	return config
}

// clientset gives a typed client for everything.
func clientset(t *testing.T, contentType string) kubernetes.Interface {
	return must(kubernetes.NewForConfig(speaking(t, contentType)))(t)
}

// listener checks that a client is answered in the encoding that it asked for.
type listener struct {
	next   http.RoundTripper
	t      *testing.T
	wanted string
}

func (l *listener) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := l.next.RoundTrip(request)
	if err == nil {
		found := answer.Header.Get("Content-Type")
		if found != l.wanted && !strings.HasPrefix(found, l.wanted+";") {
			l.t.Errorf("%s %s is answered in %q", request.Method, request.URL.Path, found)
		}
	}
	return answer, err
}

// must gives a value, or ends the test with the error that stands in its place.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

var spaces struct {
	sync.Mutex
	made int
}

// namespace makes a namespace for one test.
func namespace(t *testing.T) string {
	spaces.Lock()
	spaces.made++
	name := fmt.Sprintf("clients-%d", spaces.made)
	spaces.Unlock()
	client, ctx := clientset(t, protobuf), checks.Deadline(t)
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	must(client.CoreV1().Namespaces().Create(ctx, made, metav1.CreateOptions{}))(t)
	return name
}

// eachEncoding runs a test over protobuf and over JSON.
func eachEncoding(t *testing.T, test func(*testing.T, kubernetes.Interface)) {
	for name, contentType := range map[string]string{"protobuf": protobuf, "json": json} {
		t.Run(name, func(t *testing.T) { test(t, clientset(t, contentType)) })
	}
}
