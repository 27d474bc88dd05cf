// Command informers keeps twenty kinds in memory as every controller does: client-go's shared informers, WatchList,
// protobuf, one connection (KEP-3157). It is told by lines what to do and answers each with a line of JSON.
//
//	check    compares every store with a list, see check.go
//	counts   says what was asked for on the wire so far
//	cut      takes the network away: connections are closed, new ones wait
//	restore  gives the network back
//
// The first line comes unasked, when every informer has synced. A fault of the server that a comparison cannot see
// (a change twice, late, or without the one before it, see history.go) fails the next check. It ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: informers KUBECONFIG")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		answer(map[string]any{"error": err.Error()})
		os.Exit(1)
	}
}

func run(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	network := newNetwork()
	wire := newWire(network)
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf
	config.QPS = -1
	config.Dial = network.dial
	config.Wrap(wire.wrap)
	kinds, err := newKinds(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, kind := range kinds {
		go kind.informer.RunWithContext(ctx)
	}
	if err := synced(ctx, kinds); err != nil {
		return err
	}
	answer(counts(kinds, wire, network))
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		switch command := commands.Text(); command {
		case "check":
			answer(checkAll(ctx, kinds))
		case "counts":
			answer(counts(kinds, wire, network))
		case "cut":
			network.cut()
			answer(map[string]any{})
		case "restore":
			network.restore()
			answer(map[string]any{})
		default:
			return fmt.Errorf("no such command: %q", command)
		}
	}
	return commands.Err()
}

func synced(ctx context.Context, kinds []*kind) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for _, kind := range kinds {
		if !cache.WaitForCacheSync(ctx.Done(), kind.informer.HasSynced) {
			return fmt.Errorf("%s did not sync", kind.resource)
		}
	}
	return nil
}

func answer(value any) {
	// Maps and numbers can always be encoded.
	line, _ := json.Marshal(value)
	fmt.Println(string(line))
}

// checkAll lists first of all kinds, so that one that is slow takes no time from another.
func checkAll(ctx context.Context, kinds []*kind) any {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	found, errs := make([]compared, len(kinds)), make([]error, len(kinds))
	var running sync.WaitGroup
	for number, kind := range kinds {
		running.Go(func() { found[number], errs[number] = kind.check(ctx) })
	}
	running.Wait()
	compared, faults := map[string]compared{}, []string{}
	for number, kind := range kinds {
		compared[kind.resource] = found[number]
		if errs[number] != nil {
			faults = append(faults, errs[number].Error())
		}
		kind.history.mutex.Lock()
		for _, fault := range kind.history.first {
			faults = append(faults, fmt.Sprintf("%s: %s (of %d faults)", kind.resource, fault, kind.history.faults))
		}
		kind.history.mutex.Unlock()
	}
	return map[string]any{"compared": compared, "faults": faults}
}

func counts(kinds []*kind, wire *wire, network *network) any {
	gone, events := map[string]int{}, map[string]int{}
	for _, kind := range kinds {
		kind.history.mutex.Lock()
		gone[kind.resource], events[kind.resource] = kind.history.gone, kind.history.events
		kind.history.mutex.Unlock()
	}
	wire.mutex.Lock()
	defer wire.mutex.Unlock()
	network.mutex.Lock()
	defer network.mutex.Unlock()
	// Encoded here, while nobody changes them.
	line, err := json.Marshal(map[string]any{
		"watch_lists": wire.watchLists, "watches": wire.watches, "lists": wire.lists, "exact_lists": wire.exactLists,
		"foreign": wire.foreign, "gone": gone, "events": events, "refused": network.refused,
	})
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return json.RawMessage(line)
}
