package clients

// Programs that know no types: discovery, the mapping from kinds to resources, dynamic, metadata and scale clients, pages, events.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"

	"portcullis/tests/checks"
)

func TestDiscoveryAndMapping(t *testing.T) {
	finder := must(discovery.NewDiscoveryClientForConfig(administrator))(t)
	version := must(finder.ServerVersion())(t)
	checks.Equal(t, "version", version.Major+"."+version.Minor, "1.36")
	groups, resources, err := finder.ServerGroupsAndResources()
	checks.Succeeds(t, err)
	checks.Equal(t, "groups and resources", len(groups) > 15 && len(resources) >= len(groups), true)
	preferred := must(finder.ServerPreferredNamespacedResources())(t)
	listable := discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "create", "delete"}}, preferred)
	checks.Equal(t, "resources to back up", len(listable) > 5, true)
	paths := must(finder.OpenAPIV3().Paths())(t)
	for _, path := range []string{"api/v1", "apis/apps/v1"} {
		document := must(paths[path].Schema("application/com.github.proto-openapi.spec.v3@v1.0+protobuf"))(t)
		checks.Equal(t, path+" is described", len(document) > 0, true)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(finder))
	for kind, wanted := range map[schema.GroupKind]string{
		{Group: "apps", Kind: "Deployment"}:                     "apps/v1, Resource=deployments namespace",
		{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: "autoscaling/v2, Resource=horizontalpodautoscalers namespace",
		{Kind: "Node"}: "/v1, Resource=nodes root",
	} {
		mapping := must(mapper.RESTMapping(kind))(t)
		checks.Equal(t, kind.String(), fmt.Sprint(mapping.Resource, " ", mapping.Scope.Name()), wanted)
	}
	short := restmapper.NewShortcutExpander(mapper, finder, nil)
	checks.Equal(t, "deploy", must(short.ResourceFor(schema.GroupVersionResource{Resource: "deploy"}))(t).Resource, "deployments")
}

func TestDynamicMetadataAndScaleClients(t *testing.T) {
	space, ctx := namespace(t), checks.Deadline(t)
	untyped := must(dynamic.NewForConfig(administrator))(t)
	places := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	deployments := untyped.Resource(places).Namespace(space)
	content := must(runtime.DefaultUnstructuredConverter.ToUnstructured(deployment("web")))(t)
	content["apiVersion"], content["kind"] = "apps/v1", "Deployment"
	delete(content, "status")
	made := must(deployments.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{}))(t)
	found := must(deployments.Get(ctx, "web", metav1.GetOptions{}))(t)
	checks.Equal(t, "version", found.GetResourceVersion(), made.GetResourceVersion())
	applied := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{"replicas": int64(3)},
	}}
	_, err := deployments.Apply(ctx, "web", applied, by("one"))
	checks.Equal(t, "conflicts", len(conflicts(t, err)), 1)
	found = must(deployments.Apply(ctx, "web", applied, forcedBy("one")))(t)
	replicas, _, _ := unstructured.NestedInt64(found.Object, "spec", "replicas")
	checks.Equal(t, "replicas", replicas, 3)
	checks.Succeeds(t, unstructured.SetNestedField(found.Object, int64(1), "status", "replicas"))
	found = must(deployments.UpdateStatus(ctx, found, metav1.UpdateOptions{}))(t)
	status, _, _ := unstructured.NestedInt64(found.Object, "status", "replicas")
	checks.Equal(t, "status", status, 1)

	heads := must(metadata.NewForConfig(administrator))(t).Resource(places).Namespace(space)
	patch := []byte(`{"metadata":{"labels":{"tier":"front"}}}`)
	head := must(heads.Patch(ctx, "web", types.MergePatchType, patch, metav1.PatchOptions{}))(t)
	checks.Equal(t, "label", head.Labels["tier"], "front")
	checks.Equal(t, "heads", len(must(heads.List(ctx, metav1.ListOptions{LabelSelector: "tier=front"}))(t).Items), 1)

	finder := must(discovery.NewDiscoveryClientForConfig(administrator))(t)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(finder))
	scales := must(scale.NewForConfig(administrator, mapper, dynamic.LegacyAPIPathResolverFunc,
		scale.NewDiscoveryScaleKindResolver(finder)))(t).Scales(space)
	now := must(scales.Get(ctx, places.GroupResource(), "web", metav1.GetOptions{}))(t)
	now.Spec.Replicas = 6
	now = must(scales.Update(ctx, places.GroupResource(), now, metav1.UpdateOptions{}))(t)
	checks.Equal(t, "scaled", now.Spec.Replicas, 6)
	patched := must(scales.Patch(ctx, places, "web", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{}))(t)
	checks.Equal(t, "scaled again", patched.Spec.Replicas, 7)
	checks.Succeeds(t, heads.Delete(ctx, "web", metav1.DeleteOptions{}))
	_, err = deployments.Get(ctx, "web", metav1.GetOptions{})
	checks.Refused(t, err, apierrors.IsNotFound, `deployments.apps "web" not found`)
}

// A list in pages is of one moment. One that takes too long is refused, and a pager then asks for the whole.
func TestPages(t *testing.T) {
	const (
		objects = 7
		// What is written between two pages: more versions than the server keeps moments of, more bytes than its history has.
		writes, bytes = 128, 700 << 10
	)
	space, ctx := namespace(t), checks.Deadline(t)
	maps := clientset(t, protobuf).CoreV1().ConfigMaps(space)
	marked := metav1.ListOptions{LabelSelector: "of=pages"}
	for number := range objects {
		must(maps.Create(ctx, labelled(fmt.Sprint("n", number), "pages"), metav1.CreateOptions{}))(t)
	}
	// Does something after the first page of a list.
	interrupted := func(between func()) *pager.ListPager {
		made := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			page, err := maps.List(ctx, options)
			if err == nil && options.Continue == "" && page.Continue != "" {
				between()
			}
			return page, err
		})
		made.PageSize = 2
		return made
	}
	var found []string
	late := interrupted(func() { must(maps.Create(ctx, labelled("o0", "pages"), metav1.CreateOptions{}))(t) })
	checks.Succeeds(t, late.EachListItem(ctx, marked, func(object runtime.Object) error {
		found = append(found, object.(*corev1.ConfigMap).Name)
		return nil
	}))
	if !slices.Equal(found, []string{"n0", "n1", "n2", "n3", "n4", "n5", "n6"}) {
		t.Errorf("in pages: %q", found)
	}

	first := must(maps.List(ctx, metav1.ListOptions{LabelSelector: "of=pages", Limit: 2}))(t)
	big := must(maps.Create(ctx, labelled("zz", "none"), metav1.CreateOptions{}))(t)
	everything, _, err := interrupted(func() {
		must(maps.Create(ctx, labelled("o1", "pages"), metav1.CreateOptions{}))(t)
		for number := range writes {
			big.Data = map[string]string{"big": strings.Repeat("a", bytes), "number": fmt.Sprint(number)}
			big = must(maps.Update(ctx, big, metav1.UpdateOptions{}))(t)
			must(maps.List(ctx, metav1.ListOptions{Limit: 1}))(t)
		}
	}).ListWithAlloc(ctx, marked)
	checks.Succeeds(t, err)
	checks.Equal(t, "the whole", len(everything.(*corev1.ConfigMapList).Items), objects+2)

	_, err = maps.List(ctx, metav1.ListOptions{LabelSelector: "of=pages", Limit: 2, Continue: first.Continue})
	checks.Refused(t, err, apierrors.IsResourceExpired, "The provided continue parameter is too old")
	status, isStatus := err.(apierrors.APIStatus)
	if !isStatus || status.Status().ListMeta.Continue == "" {
		t.Fatalf("no token to go on with: %v", err)
	}
	rest := must(maps.List(ctx, metav1.ListOptions{LabelSelector: "of=pages", Continue: status.Status().ListMeta.Continue}))(t)
	checks.Equal(t, "the rest as it is now", len(rest.Items), objects+2-len(first.Items))
}

// Events of both sorts: the same again becomes a count, or a series.
func TestEvents(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		about := must(client.CoreV1().ConfigMaps(space).Create(ctx, labelled("one", "a"), metav1.CreateOptions{}))(t)
		old := record.NewBroadcaster(record.WithContext(ctx))
		defer old.Shutdown()
		old.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events(space)})
		recorder := old.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "old"})
		modern := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
		checks.Succeeds(t, modern.StartRecordingToSinkWithContext(ctx))
		defer modern.Shutdown()
		other := modern.NewRecorder(scheme.Scheme, "modern")
		watch := must(client.CoreV1().Events(space).Watch(ctx, metav1.ListOptions{}))(t)
		defer watch.Stop()
		awaited := func(what string, is func(*corev1.Event) bool) {
			t.Helper()
			for {
				select {
				case change := <-watch.ResultChan():
					if event, isEvent := change.Object.(*corev1.Event); isEvent && is(event) {
						return
					}
				case <-ctx.Done():
					t.Fatalf("no event %s", what)
				}
			}
		}
		for count := range int32(3) {
			recorder.Event(about, corev1.EventTypeNormal, "Same", "the same again")
			awaited("with its count", func(event *corev1.Event) bool {
				return event.Reason == "Same" && event.Count == count+1 && event.InvolvedObject.UID == about.UID
			})
		}
		// Who finds its first event not yet written waits for seconds, so the second comes after it.
		other.Eventf(about, nil, corev1.EventTypeWarning, "Series", "Do", "part of a series")
		awaited("alone", func(event *corev1.Event) bool { return event.Reason == "Series" && event.Series == nil })
		other.Eventf(about, nil, corev1.EventTypeWarning, "Series", "Do", "part of a series")
		awaited("in series", func(event *corev1.Event) bool {
			return event.Reason == "Series" && event.Series != nil && event.Series.Count == 2
		})
	})
}
