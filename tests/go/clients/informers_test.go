package clients

// Informers of the typed factory, of the dynamic one and of the one for metadata; watches that begin again by themselves.

import (
	"net/http"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"portcullis/tests/checks"
)

var configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")

// heard gives what an informer tells: the change and the object's name.
func heard(t *testing.T, informer cache.SharedIndexInformer) <-chan string {
	told := make(chan string, 64)
	name := func(object any) string {
		if gone, isGone := object.(cache.DeletedFinalStateUnknown); isGone {
			object = gone.Obj
		}
		return object.(metav1.Object).GetName()
	}
	must(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { told <- "added " + name(object) },
		UpdateFunc: func(_, object any) { told <- "changed " + name(object) },
		DeleteFunc: func(object any) { told <- "deleted " + name(object) },
	}))(t)
	return told
}

func next(t *testing.T, told <-chan string, wanted string) {
	t.Helper()
	select {
	case found := <-told:
		checks.Equal(t, "told", found, wanted)
	case <-checks.Deadline(t).Done():
		t.Fatalf("was not told %q", wanted)
	}
}

func labelled(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": value}}}
}

// Informers of each sort follow the same changes; objects come into and leave a selection by their labels.
func TestInformersOfEverySort(t *testing.T) {
	for name, contentType := range map[string]string{"protobuf": protobuf, "json": json} {
		t.Run(name, func(t *testing.T) {
			space, ctx := namespace(t), checks.Deadline(t)
			var begun atomic.Int32
			config := speaking(t, contentType)
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &begun} })
			client := must(kubernetes.NewForConfig(config))(t)
			maps := client.CoreV1().ConfigMaps(space)
			must(maps.Create(ctx, labelled("early", "a"), metav1.CreateOptions{}))(t)
			must(maps.Create(ctx, labelled("other", "b"), metav1.CreateOptions{}))(t)

			chosen := func(options *metav1.ListOptions) { options.LabelSelector = "of=a" }
			typed := informers.NewSharedInformerFactoryWithOptions(client, 0,
				informers.WithNamespace(space), informers.WithTweakListOptions(chosen))
			lister := typed.Core().V1().ConfigMaps().Lister()
			// It chooses its encoding itself.
			names := must(metadata.NewForConfig(administrator))(t)
			heads := metadatainformer.NewFilteredSharedInformerFactory(names, 0, space, chosen)
			followed := map[string]cache.SharedIndexInformer{
				"typed": typed.Core().V1().ConfigMaps().Informer(), "metadata": heads.ForResource(configMaps).Informer(),
			}
			if contentType == json {
				untyped := must(dynamic.NewForConfig(config))(t)
				factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(untyped, 0, space, chosen)
				followed["dynamic"] = factory.ForResource(configMaps).Informer()
			}
			told := map[string]<-chan string{}
			for sort, informer := range followed {
				told[sort] = heard(t, informer)
				go informer.RunWithContext(ctx)
				if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
					t.Fatalf("%s did not sync", sort)
				}
			}
			all := func(wanted string) {
				t.Helper()
				for _, told := range told {
					next(t, told, wanted)
				}
			}
			all("added early")
			must(maps.Create(ctx, labelled("late", "a"), metav1.CreateOptions{}))(t)
			all("added late")
			must(maps.Update(ctx, labelled("late", "b"), metav1.UpdateOptions{}))(t)
			all("deleted late")
			must(maps.Update(ctx, labelled("other", "a"), metav1.UpdateOptions{}))(t)
			all("added other")
			changed := labelled("other", "a")
			changed.Data = map[string]string{"a": "1"}
			must(maps.Update(ctx, changed, metav1.UpdateOptions{}))(t)
			all("changed other")
			checks.Succeeds(t, maps.Delete(ctx, "early", metav1.DeleteOptions{}))
			all("deleted early")
			kept := must(lister.ConfigMaps(space).List(labels.Everything()))(t)
			if len(kept) != 1 || kept[0].Data["a"] != "1" {
				t.Errorf("kept: %v", kept)
			}
			head, exists, err := followed["metadata"].GetStore().GetByKey(space + "/other")
			checks.Succeeds(t, err)
			if found, isHead := head.(*metav1.PartialObjectMetadata); !exists || !isHead || found.Labels["of"] != "a" {
				t.Errorf("metadata: %v", head)
			}
			checks.Equal(t, "watches that began with the state", int(begun.Load()), len(followed)-1)
		})
	}
}

// counter counts the watches that begin with the state (KEP-3157).
type counter struct {
	next  http.RoundTripper
	begun *atomic.Int32
}

func (c counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Query().Get("sendInitialEvents") == "true" {
		c.begun.Add(1)
	}
	return c.next.RoundTrip(request)
}

// A watch that ends is taken up where it ended, and tells nothing twice.
func TestRetryWatcher(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		maps := client.CoreV1().ConfigMaps(space)
		first := must(maps.Create(ctx, labelled("one", "a"), metav1.CreateOptions{}))(t)
		// The server ends each of its watches after a second.
		short := &cache.ListWatch{WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.TimeoutSeconds = pointer[int64](1)
			return maps.Watch(ctx, options)
		}}
		watcher := must(watchtools.NewRetryWatcherWithContext(ctx, first.ResourceVersion, short))(t)
		defer watcher.Stop()
		ended := must(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, TimeoutSeconds: pointer[int64](1)}))(t)
		for range 3 {
			now := must(maps.Get(ctx, "one", metav1.GetOptions{}))(t)
			now.Data = map[string]string{"version": now.ResourceVersion}
			written := must(maps.Update(ctx, now, metav1.UpdateOptions{}))(t)
			select {
			case event := <-watcher.ResultChan():
				found, _ := event.Object.(*corev1.ConfigMap)
				if event.Type != watch.Modified || found == nil || found.ResourceVersion != written.ResourceVersion {
					t.Fatalf("told %v", event)
				}
			case <-ctx.Done():
				t.Fatal("told nothing")
			}
			// Until a watch of the same length has ended.
			for range ended.ResultChan() {
			}
			ended = must(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: written.ResourceVersion, TimeoutSeconds: pointer[int64](1)}))(t)
		}
		ended.Stop()
	})
}

// A program that waits for a condition of one object.
func TestUntilWithSync(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		maps := client.CoreV1().ConfigMaps(space)
		one := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "configmaps", space, fields.OneTermEqualSelector("metadata.name", "one"))
		ready := make(chan error, 1)
		go func() {
			_, err := watchtools.UntilWithSync(ctx, one, &corev1.ConfigMap{}, nil, func(event watch.Event) (bool, error) {
				object, isMap := event.Object.(*corev1.ConfigMap)
				return isMap && object.Data["ready"] == "yes", nil
			})
			ready <- err
		}()
		must(maps.Create(ctx, labelled("two", "a"), metav1.CreateOptions{}))(t)
		made := must(maps.Create(ctx, labelled("one", "a"), metav1.CreateOptions{}))(t)
		made.Data = map[string]string{"ready": "yes"}
		must(maps.Update(ctx, made, metav1.UpdateOptions{}))(t)
		checks.Succeeds(t, <-ready)
	})
}
