package main

// The wire: what is asked for, what comes back, and a network that can be taken away.

import (
	"context"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// ownRequest marks the context of a checkpoint's request, which is not an informer's.
type ownRequest struct{}

// wire counts the requests of the informers.
type wire struct {
	next    http.RoundTripper
	network *network
	mutex   sync.Mutex
	// watchLists has, by resource, watches that begin with the state.
	watchLists map[string]int
	// watches has, by resource, watches that go on from a version.
	watches map[string]int
	// lists has, by resource, the lists that a reflector falls back to.
	lists map[string]int
	// exactLists counts the lists by which client-go checks an initial state.
	exactLists int
	// foreign has the content types of answers that are not protobuf.
	foreign map[string]int
}

func newWire(network *network) *wire {
	counts := func() map[string]int { return map[string]int{} }
	return &wire{network: network, watchLists: counts(), watches: counts(), lists: counts(), foreign: counts()}
}

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	w.next = next
	return w
}

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	// Of several connections one is closed first: what it carried must not go on over the others.
	select {
	case <-w.network.whole():
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
	answer, err := w.next.RoundTrip(request)
	if err == nil {
		w.count(request, answer)
	}
	return answer, err
}

// count takes what was answered: an attempt that reached no server says nothing about it.
func (w *wire) count(request *http.Request, answer *http.Response) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if found := answer.Header.Get("Content-Type"); found != protobuf && !strings.HasPrefix(found, protobuf+";") {
		w.foreign[found]++
	}
	if request.Context().Value(ownRequest{}) != nil {
		return
	}
	query, resource := request.URL.Query(), path.Base(request.URL.Path)
	switch {
	case query.Get("watch") == "true" && query.Get("sendInitialEvents") == "true":
		w.watchLists[resource]++
	case query.Get("watch") == "true":
		w.watches[resource]++
	case query.Get("resourceVersionMatch") == "Exact":
		w.exactLists++
	default:
		w.lists[resource]++
	}
}

// network dials, unless it was cut: then what was connected is closed, and who dials waits.
type network struct {
	mutex       sync.Mutex
	restored    chan struct{}
	connections map[net.Conn]struct{}
	refused     int
}

func newNetwork() *network {
	restored := make(chan struct{})
	close(restored)
	return &network{restored: restored, connections: map[net.Conn]struct{}{}}
}

func (n *network) dial(ctx context.Context, family, address string) (net.Conn, error) {
	for {
		restored := n.whole()
		select {
		case <-restored:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		connection, err := new(net.Dialer).DialContext(ctx, family, address)
		n.mutex.Lock()
		if err != nil {
			n.refused++
			n.mutex.Unlock()
			return nil, err
		}
		if n.restored == restored {
			tracked := &tracked{connection, n}
			n.connections[tracked] = struct{}{}
			n.mutex.Unlock()
			return tracked, nil
		}
		// Cut in between.
		n.mutex.Unlock()
		connection.Close()
	}
}

// whole gives a channel that is closed while the network is not cut.
func (n *network) whole() chan struct{} {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.restored
}

func (n *network) cut() {
	n.mutex.Lock()
	open := n.connections
	n.restored, n.connections = make(chan struct{}), map[net.Conn]struct{}{}
	n.mutex.Unlock()
	for connection := range open {
		connection.Close()
	}
}

func (n *network) restore() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	close(n.restored)
}

// tracked is a connection that its network knows until it is closed.
type tracked struct {
	net.Conn
	network *network
}

func (t *tracked) Close() error {
	t.network.mutex.Lock()
	delete(t.network.connections, t)
	t.network.mutex.Unlock()
	return t.Conn.Close()
}
