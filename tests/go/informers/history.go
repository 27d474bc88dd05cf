package main

// What the server told one informer, checked event by event: each change once, in order, and none that does not follow
// from the one before. A reflector forgives a change that comes twice or late, because its store hides it; this does not.

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// faultsMax is how many faults of a kind are kept for the report; all are counted.
const faultsMax = 8

// history is what an informer must know by now.
type history struct {
	mutex sync.Mutex
	// known is false after a plain list, whose content is not recorded: then only the order is checked.
	known bool
	// versions has the version of every object that exists.
	versions map[string]uint64
	// deleted has, for every object that is gone, the version by which it was.
	deleted map[string]uint64
	newest  uint64
	events  int
	gone    int
	faults  int
	first   []string
	// ended is closed when the last watch was read to its end.
	ended chan struct{}
}

func newHistory() *history {
	ended := make(chan struct{})
	close(ended)
	return &history{versions: map[string]uint64{}, deleted: map[string]uint64{}, ended: ended}
}

// follow gives a ListWatch that does what the given one does and records it.
func (h *history) follow(plain *cache.ListWatch) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := plain.ListWithContext(ctx, options)
			if err == nil && options.ResourceVersionMatch != metav1.ResourceVersionMatchExact {
				h.forget()
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			<-h.previous()
			source, err := plain.WatchWithContext(ctx, options)
			if err != nil {
				h.countGone(err)
				return nil, err
			}
			return h.newWatched(source, options), nil
		},
	}
}

func (h *history) previous() <-chan struct{} {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.ended
}

func (h *history) forget() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.known, h.newest = false, 0
}

func (h *history) countGone(err error) {
	if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.gone++
	}
}

// deletedAfter says whether an object was seen to be deleted later than a version.
func (h *history) deletedAfter(key string, version uint64) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.deleted[key] > version
}

func (h *history) fault(format string, arguments ...any) {
	h.faults++
	if len(h.first) < faultsMax {
		h.first = append(h.first, fmt.Sprintf(format, arguments...))
	}
}

// watched hands on what a watch says and records what was taken.
type watched struct {
	source  watch.Interface
	results chan watch.Event
	stop    sync.Once
	stopped chan struct{}
	ended   chan struct{}
	// initial has the state that a watch begins with, until the bookmark that ends it; nil from then on.
	initial map[string]uint64
	told    *history
}

func (h *history) newWatched(source watch.Interface, options metav1.ListOptions) *watched {
	w := &watched{
		source:  source,
		results: make(chan watch.Event),
		stopped: make(chan struct{}),
		ended:   make(chan struct{}),
		told:    h,
	}
	if options.SendInitialEvents != nil && *options.SendInitialEvents {
		w.initial = map[string]uint64{}
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.ended = w.ended
	if w.initial == nil && h.known && options.ResourceVersion != fmt.Sprint(h.newest) {
		h.fault("a watch from %s while %d is known", options.ResourceVersion, h.newest)
	}
	go w.run()
	return w
}

func (w *watched) ResultChan() <-chan watch.Event { return w.results }

func (w *watched) Stop() {
	w.stop.Do(func() {
		close(w.stopped)
		w.source.Stop()
	})
}

func (w *watched) run() {
	defer close(w.ended)
	defer close(w.results)
	defer w.source.Stop()
	for event := range w.source.ResultChan() {
		// Read before it is handed on: from then on the object is the store's.
		said := read(event)
		select {
		case w.results <- event:
			w.record(said)
		case <-w.stopped:
			return
		}
	}
}

// said is what an event says.
type said struct {
	change      watch.EventType
	key         string
	version     uint64
	endsInitial bool
	err         error
}

func read(event watch.Event) said {
	if event.Type == watch.Error {
		return said{change: event.Type, err: apierrors.FromObject(event.Object)}
	}
	object, err := meta.Accessor(event.Object)
	if err != nil {
		return said{change: watch.Error, err: err}
	}
	return said{
		change:      event.Type,
		key:         keyOf(object),
		version:     versionOf(object),
		endsInitial: object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true",
	}
}

func (w *watched) record(event said) {
	if event.change == watch.Error {
		w.told.countGone(event.err)
		return
	}
	w.told.mutex.Lock()
	defer w.told.mutex.Unlock()
	w.told.events++
	switch {
	case w.initial == nil:
		w.told.change(event)
	case event.change == watch.Added:
		if _, twice := w.initial[event.key]; twice {
			w.told.fault("%s is twice in the initial state", event.key)
		}
		w.initial[event.key] = event.version
	case event.change == watch.Bookmark && event.endsInitial:
		w.told.replace(w.initial, event.version)
		w.initial = nil
	default:
		w.told.fault("%s of %s at %d in the initial state", event.change, event.key, event.version)
	}
}

// change checks a change against what is known.
func (h *history) change(event said) {
	if event.version < h.newest {
		h.fault("%s of %s at %d after %d", event.change, event.key, event.version, h.newest)
	}
	h.newest = max(h.newest, event.version)
	before, exists := h.versions[event.key]
	if h.known && event.change != watch.Bookmark {
		switch {
		case exists != (event.change != watch.Added):
			h.fault("%s of %s at %d, which exists: %t", event.change, event.key, event.version, exists)
		case exists && event.version <= before, !exists && event.version <= h.deleted[event.key]:
			h.fault("%s of %s at %d after %d", event.change, event.key, event.version, max(before, h.deleted[event.key]))
		}
	}
	switch event.change {
	case watch.Added, watch.Modified:
		h.versions[event.key] = event.version
		delete(h.deleted, event.key)
	case watch.Deleted:
		delete(h.versions, event.key)
		h.deleted[event.key] = event.version
	case watch.Bookmark:
		if event.endsInitial {
			h.fault("the end of an initial state that was not asked for, at %d", event.version)
		}
	}
}

// replace takes a new initial state, which must not be older than what is known.
func (h *history) replace(state map[string]uint64, version uint64) {
	if version < h.newest {
		h.fault("an initial state of version %d after %d", version, h.newest)
	}
	for key, found := range state {
		if found > version {
			h.fault("%s of version %d in an initial state of version %d", key, found, version)
		}
		if found < h.versions[key] || found <= h.deleted[key] {
			h.fault("%s of version %d in an initial state after %d", key, found, max(h.versions[key], h.deleted[key]))
		}
		delete(h.deleted, key)
	}
	for key := range h.versions {
		if _, stays := state[key]; !stays {
			h.deleted[key] = version
		}
	}
	h.known, h.versions, h.newest = true, state, version
}
