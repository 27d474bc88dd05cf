package controllers

// A manager with a spare: who leads reconciles deployments; each gets a configuration of its own, a status, a finalizer, an event.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	controllerruntime "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"portcullis/tests/checks"
)

const (
	finalizer = "example.com/harbor"
	byImage   = "spec.image"
	replicas  = "example.com/replicas"
)

// reconciler keeps a configuration beside each deployment, and tells in its status that it did.
type reconciler struct {
	client.Client
	name     string
	recorder events.EventRecorder
	done     atomic.Int32
}

func (r *reconciler) Reconcile(ctx context.Context, request controllerruntime.Request) (controllerruntime.Result, error) {
	var none controllerruntime.Result
	var found appsv1.Deployment
	if err := r.Get(ctx, request.NamespacedName, &found); err != nil {
		return none, client.IgnoreNotFound(err)
	}
	own := configMap(found.Namespace, found.Name, nil)
	if !found.DeletionTimestamp.IsZero() {
		if err := client.IgnoreNotFound(r.Delete(ctx, own)); err != nil {
			return none, err
		}
		before := found.DeepCopy()
		controllerutil.RemoveFinalizer(&found, finalizer)
		return none, client.IgnoreNotFound(r.Patch(ctx, &found, client.MergeFrom(before)))
	}
	if controllerutil.AddFinalizer(&found, finalizer) {
		// What was read may be old: a conflict brings it back.
		return none, r.Update(ctx, &found)
	}
	change, err := controllerutil.CreateOrUpdate(ctx, r.Client, own, func() error {
		own.Data = map[string]string{"replicas": fmt.Sprint(*found.Spec.Replicas), "leader": r.name}
		own.Labels = map[string]string{"of": "harbor"}
		return controllerutil.SetControllerReference(&found, own, r.Scheme())
	})
	if err != nil {
		return none, err
	}
	if change != controllerutil.OperationResultNone {
		r.recorder.Eventf(&found, own, corev1.EventTypeNormal, "Configured", "Configure", "replicas: %d", *found.Spec.Replicas)
	}
	status := appsapply.Deployment(found.Name, found.Namespace).WithStatus(appsapply.DeploymentStatus().
		WithObservedGeneration(found.Generation).WithConditions(appsapply.DeploymentCondition().
		WithType("Configured").WithStatus(corev1.ConditionTrue).WithReason("Harbor")))
	if err := r.Status().Apply(ctx, status, client.FieldOwner("harbor"), client.ForceOwnership); err != nil {
		return none, err
	}
	r.done.Add(1)
	return none, nil
}

// contender is a manager that runs until it is stopped.
type contender struct {
	manager    controllerruntime.Manager
	reconciler *reconciler
	stop       context.CancelFunc
	ended      chan error
}

func contend(t *testing.T, space, name string) *contender {
	manager, err := controllerruntime.NewManager(administrator, controllerruntime.Options{
		Scheme: scheme.Scheme, Metrics: server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "harbor", LeaderElectionNamespace: space,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 pointer(10 * time.Second), RenewDeadline: pointer(5 * time.Second),
		RetryPeriod: pointer(100 * time.Millisecond),
		Controller:  config.Controller{SkipNameValidation: pointer(true)},
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{space: {}},
			ByObject: map[client.Object]cache.ByObject{
				&corev1.ConfigMap{}: {Label: labels.SelectorFromSet(labels.Set{"of": "harbor"})},
			},
		},
	})
	checks.Succeeds(t, err)
	ctx, stop := context.WithCancel(t.Context())
	index := func(object client.Object) []string {
		return []string{object.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image}
	}
	checks.Succeeds(t, manager.GetFieldIndexer().IndexField(ctx, &appsv1.Deployment{}, byImage, index))
	reconciler := &reconciler{Client: manager.GetClient(), name: name, recorder: manager.GetEventRecorder("harbor")}
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	checks.Succeeds(t, controllerruntime.NewControllerManagedBy(manager).
		For(&appsv1.Deployment{}).Owns(&corev1.ConfigMap{}).
		Watches(&corev1.Secret{}, &handler.EnqueueRequestForObject{}, builder.OnlyMetadata, changed).Complete(reconciler))
	made := &contender{manager, reconciler, stop, make(chan error, 1)}
	go func() { made.ended <- manager.Start(ctx) }()
	t.Cleanup(stop)
	return made
}

func TestAManagerAndItsSpare(t *testing.T) {
	space, ctx, clients := namespace(t), checks.Deadline(t), plain(t)
	first := contend(t, space, "first")
	select {
	case <-first.manager.Elected():
	case <-ctx.Done():
		t.Fatal("nobody leads")
	}
	second := contend(t, space, "second")
	made := deployment(space, "web")
	checks.Succeeds(t, clients.Create(ctx, made))
	// Others with the same name or labels are none of its business.
	checks.Succeeds(t, clients.Create(ctx, configMap(space, "other", map[string]string{"a": "1"})))

	key := client.ObjectKeyFromObject(made)
	configured := func(leader, wanted string) {
		t.Helper()
		becomes(t, func() string {
			var own corev1.ConfigMap
			if err := clients.Get(ctx, key, &own); err != nil {
				return err.Error()
			}
			if own.Data["leader"] != leader || own.Data["replicas"] != wanted || !metav1.IsControlledBy(&own, made) {
				return fmt.Sprintf("configured: %v, owners: %v", own.Data, own.OwnerReferences)
			}
			var now appsv1.Deployment
			if err := clients.Get(ctx, key, &now); err != nil {
				return err.Error()
			}
			if now.Status.ObservedGeneration != now.Generation || len(now.Status.Conditions) != 1 {
				return fmt.Sprintf("generation %d, status %v", now.Generation, now.Status)
			}
			return ""
		})
	}
	configured("first", "2")

	// Others change the same object at the same time; nothing of either is lost.
	for number := range 5 {
		checks.Succeeds(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			var now appsv1.Deployment
			if err := clients.Get(ctx, key, &now); err != nil {
				return err
			}
			metav1.SetMetaDataAnnotation(&now.ObjectMeta, replicas, fmt.Sprint(number))
			now.Spec.Replicas = pointer(int32(number))
			return clients.Update(ctx, &now)
		}))
	}
	configured("first", "4")
	// What is changed behind its back is put right.
	own := configMap(space, "web", nil)
	checks.Succeeds(t, clients.Delete(ctx, own))
	configured("first", "4")

	// A cache knows what it selects and nothing else; an index is asked like a field.
	cached := first.manager.GetClient()
	var maps corev1.ConfigMapList
	becomes(t, func() string {
		if err := cached.List(ctx, &maps, client.InNamespace(space)); err != nil {
			return err.Error()
		}
		if len(maps.Items) != 1 {
			return fmt.Sprintf("%d in the cache", len(maps.Items))
		}
		return ""
	})
	var deployments appsv1.DeploymentList
	for image, count := range map[string]int{"registry.example/c:1": 1, "another": 0} {
		checks.Succeeds(t, cached.List(ctx, &deployments, client.InNamespace(space), client.MatchingFields{byImage: image}))
		checks.Equal(t, image, len(deployments.Items), count)
	}
	told(t, clients, space, made)

	// The leader ends, the spare takes over.
	checks.Equal(t, "what the spare did", second.reconciler.done.Load(), 0)
	first.stop()
	if err := <-first.ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	configured("second", "4")
	var lease coordinationv1.Lease
	checks.Succeeds(t, clients.Get(ctx, client.ObjectKey{Namespace: space, Name: "harbor"}, &lease))
	checks.Equal(t, "changes of hands", *lease.Spec.LeaseTransitions > 0, true)

	// A deletion waits for the finalizer, and the configuration goes first.
	checks.Succeeds(t, clients.Delete(ctx, made))
	becomes(t, func() string {
		var now appsv1.Deployment
		if err := clients.Get(ctx, key, &now); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("finalizers %v, error %v", now.Finalizers, err)
		}
		return ""
	})
	err := clients.Get(ctx, key, own)
	checks.Refused(t, err, apierrors.IsNotFound, `configmaps "web" not found`)
}

// told waits for the events of events.k8s.io about an object.
func told(t *testing.T, clients client.Client, space string, about client.Object) {
	t.Helper()
	becomes(t, func() string {
		var list eventsv1.EventList
		if err := clients.List(checks.Deadline(t), &list, client.InNamespace(space)); err != nil {
			return err.Error()
		}
		isSought := func(event eventsv1.Event) bool {
			return event.Regarding.UID == about.GetUID() && event.Reason == "Configured" &&
				event.ReportingController == "harbor" && event.Related != nil && event.Related.Name == about.GetName()
		}
		if !slices.ContainsFunc(list.Items, isSought) {
			return fmt.Sprintf("events: %v", list.Items)
		}
		return ""
	})
}
