package clients

// Leader election by leases, as every controller with a spare does it.

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"portcullis/tests/checks"
)

// candidate wants to lead. It tells when it does and when no longer.
type candidate struct {
	leads, lost chan struct{}
	stop        context.CancelFunc
}

func stand(t *testing.T, client kubernetes.Interface, space, identity string, releases bool) *candidate {
	ctx, stop := context.WithCancel(checks.Deadline(t))
	made := &candidate{leads: make(chan struct{}), lost: make(chan struct{}), stop: stop}
	lock := must(resourcelock.New(resourcelock.LeasesResourceLock, space, "leader", client.CoreV1(),
		client.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: identity}))(t)
	elector := must(leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: releases,
		LeaseDuration: 5 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 50 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(made.leads) },
			OnStoppedLeading: func() { close(made.lost) },
		},
	}))(t)
	go elector.Run(ctx)
	return made
}

func await(t *testing.T, what string, told <-chan struct{}) {
	t.Helper()
	select {
	case <-told:
	case <-checks.Deadline(t).Done():
		t.Fatalf("%s: not within %s", what, checks.Patience)
	}
}

func TestALeadersEndIsTheNextOnesStart(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		for _, releases := range []bool{true, false} {
			space := namespace(t)
			first := stand(t, client, space, "first", releases)
			await(t, "the first leads", first.leads)
			second := stand(t, client, space, "second", releases)
			defer second.stop()
			select {
			case <-second.leads:
				t.Fatal("two lead")
			default:
			}
			first.stop()
			await(t, "the first has stopped", first.lost)
			await(t, "the second leads", second.leads)
			lease := must(client.CoordinationV1().Leases(space).Get(checks.Deadline(t), "leader", metav1.GetOptions{}))(t)
			checks.Equal(t, "holder", *lease.Spec.HolderIdentity, "second")
			// A release counts as a change of hands as well.
			checks.Equal(t, "changes of hands", *lease.Spec.LeaseTransitions > 0, true)
			if lease.Spec.RenewTime.Nanosecond()%1000 != 0 || lease.Spec.AcquireTime.After(lease.Spec.RenewTime.Time) {
				t.Errorf("acquired %s, renewed %s", lease.Spec.AcquireTime, lease.Spec.RenewTime)
			}
		}
	})
}
