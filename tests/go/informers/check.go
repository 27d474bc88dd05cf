package main

// A checkpoint: every kind is listed at the newest version, and its informer's store must come to agree with that list.
//
// Agreeing is more than becoming equal at some time. With V the version of the list: what the store has at V or before is
// in the list, the same object field by field; what the list has and the store has not was seen to be deleted after V; what
// differs is newer than V in the store. This holds while others write; once nobody writes, it is equality.

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
)

const (
	// deadline is how long informers have to catch up: longer than a reflector ever waits before it tries again.
	deadline = 120 * time.Second
	// pause is how long to wait before looking at a store again.
	pause = 20 * time.Millisecond
	// diffBytesMax is how much of a difference is shown.
	diffBytesMax = 4096
)

// compared says how many objects were the same, and how many the store knew newer than the list.
type compared struct {
	Same  int `json:"same"`
	Newer int `json:"newer"`
}

func (k *kind) check(ctx context.Context) (compared, error) {
	listed, version, err := k.listNewest(ctx)
	if err != nil {
		return compared{}, fmt.Errorf("%s: cannot be listed: %w", k.resource, err)
	}
	for {
		found, difference := k.compare(listed, version)
		if difference == "" {
			return found, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return found, fmt.Errorf("%s: list of version %d, informer at %s: %s", k.resource, version,
				k.informer.LastSyncResourceVersion(), difference)
		}
	}
}

// listNewest asks until the server answers: connections of its predecessor may break first.
func (k *kind) listNewest(ctx context.Context) (map[string]metav1.Object, uint64, error) {
	for {
		list, err := k.lists.ListWithContext(context.WithValue(ctx, ownRequest{}, true), metav1.ListOptions{})
		if err == nil {
			items, err := meta.ExtractList(list)
			if err != nil {
				return nil, 0, err
			}
			about, err := meta.ListAccessor(list)
			if err != nil {
				return nil, 0, err
			}
			version, err := strconv.ParseUint(about.GetResourceVersion(), 10, 64)
			if err != nil {
				return nil, 0, err
			}
			objects := map[string]metav1.Object{}
			for _, item := range items {
				object, err := meta.Accessor(item)
				if err != nil {
					return nil, 0, err
				}
				objects[keyOf(object)] = object
			}
			if len(objects) != len(items) {
				return nil, 0, fmt.Errorf("%d items, %d names", len(items), len(objects))
			}
			return objects, version, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, 0, err
		}
	}
}

// compare returns the first difference between a list and the store; none when they agree.
func (k *kind) compare(listed map[string]metav1.Object, version uint64) (compared, string) {
	var found compared
	stored := map[string]metav1.Object{}
	for _, item := range k.informer.GetStore().List() {
		object, err := meta.Accessor(item)
		if err != nil {
			return found, err.Error()
		}
		stored[keyOf(object)] = object
		if _, exists := listed[keyOf(object)]; exists {
			continue
		}
		if versionOf(object) <= version {
			return found, fmt.Sprintf("%s of version %d is only in the store", keyOf(object), versionOf(object))
		}
		found.Newer++
	}
	for key, wanted := range listed {
		have, exists := stored[key]
		switch {
		case !exists && k.history.deletedAfter(key, version):
			found.Newer++
		case !exists:
			return found, fmt.Sprintf("%s of version %d is only in the list", key, versionOf(wanted))
		case versionOf(have) > version:
			found.Newer++
		case versionOf(have) != versionOf(wanted):
			return found, fmt.Sprintf("%s: version %d listed, %d stored", key, versionOf(wanted), versionOf(have))
		case !reflect.DeepEqual(have, wanted):
			text := diff.Diff(wanted, have)
			if text == "" {
				text = "an empty value stands against an absent one"
			}
			return found, fmt.Sprintf("%s differs at version %d: %.*s", key, versionOf(have), diffBytesMax, text)
		default:
			found.Same++
		}
	}
	return found, ""
}

func keyOf(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}

// versionOf is 0 for what is no number, which no check lets pass.
func versionOf(object metav1.Object) uint64 {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return version
}
