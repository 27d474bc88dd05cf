package main

// The kinds that are kept in memory, each by an informer of its own, all over one connection.

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// kind is one resource: how it is listed, the informer that follows it, and what the informer was told.
type kind struct {
	resource string
	// lists is for checkpoints: it asks the server without telling the history.
	lists    cache.ListerWithContext
	informer cache.SharedIndexInformer
	history  *history
}

// group is an API group and version: its place, its types, and the kinds of it that are followed.
type group struct {
	path    string
	version schema.GroupVersion
	types   func(*runtime.Scheme) error
	kinds   map[string]runtime.Object
}

func groups() []group {
	return []group{
		{"/api", corev1.SchemeGroupVersion, corev1.AddToScheme, map[string]runtime.Object{
			"configmaps":             &corev1.ConfigMap{},
			"namespaces":             &corev1.Namespace{},
			"nodes":                  &corev1.Node{},
			"persistentvolumeclaims": &corev1.PersistentVolumeClaim{},
			"persistentvolumes":      &corev1.PersistentVolume{},
			"pods":                   &corev1.Pod{},
			"resourcequotas":         &corev1.ResourceQuota{},
			"secrets":                &corev1.Secret{},
			"serviceaccounts":        &corev1.ServiceAccount{},
			"services":               &corev1.Service{},
		}},
		{"/apis", appsv1.SchemeGroupVersion, appsv1.AddToScheme, map[string]runtime.Object{
			"daemonsets":   &appsv1.DaemonSet{},
			"deployments":  &appsv1.Deployment{},
			"replicasets":  &appsv1.ReplicaSet{},
			"statefulsets": &appsv1.StatefulSet{},
		}},
		{"/apis", batchv1.SchemeGroupVersion, batchv1.AddToScheme, map[string]runtime.Object{
			"cronjobs": &batchv1.CronJob{},
			"jobs":     &batchv1.Job{},
		}},
		{"/apis", coordinationv1.SchemeGroupVersion, coordinationv1.AddToScheme, map[string]runtime.Object{
			"leases": &coordinationv1.Lease{},
		}},
		{"/apis", discoveryv1.SchemeGroupVersion, discoveryv1.AddToScheme, map[string]runtime.Object{
			"endpointslices": &discoveryv1.EndpointSlice{},
		}},
		{"/apis", networkingv1.SchemeGroupVersion, networkingv1.AddToScheme, map[string]runtime.Object{
			"ingresses": &networkingv1.Ingress{},
		}},
		{"/apis", rbacv1.SchemeGroupVersion, rbacv1.AddToScheme, map[string]runtime.Object{
			"roles": &rbacv1.Role{},
		}},
	}
}

// newKinds makes the informers. It takes clients of these groups, not the set of all: that takes minutes to compile.
func newKinds(config *rest.Config) ([]*kind, error) {
	types := runtime.NewScheme()
	metav1.AddToGroupVersion(types, schema.GroupVersion{Version: "v1"})
	wire, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	var kinds []*kind
	for _, group := range groups() {
		if err := group.types(types); err != nil {
			return nil, err
		}
		own := rest.CopyConfig(config)
		own.APIPath, own.GroupVersion = group.path, &group.version
		own.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
		client, err := rest.RESTClientForConfigAndClient(own, wire)
		if err != nil {
			return nil, err
		}
		for resource, example := range group.kinds {
			kinds = append(kinds, newKind(client, resource, example))
		}
	}
	return kinds, nil
}

func newKind(client rest.Interface, resource string, example runtime.Object) *kind {
	plain, told := cache.NewListWatchFromClient(client, resource, "", fields.Everything()), newHistory()
	followed := cache.ToListWatcherWithWatchListSemantics(told.follow(plain), client)
	informer := cache.NewSharedIndexInformer(followed, example, 0, cache.Indexers{})
	return &kind{resource: resource, lists: plain, informer: informer, history: told}
}
