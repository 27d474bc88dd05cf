package controllers

// The client without a cache: patches made from what was read, apply, subresources, objects without a structure.

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"portcullis/tests/checks"
)

func pointer[T any](value T) *T { return &value }

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   pointer(true),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: pointer(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}
}

func deployment(space, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: pointer[int32](2),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
}

func configMap(space, name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}, Data: data}
}

func TestPatchesMadeFromWhatWasRead(t *testing.T) {
	space, ctx, clients := namespace(t), checks.Deadline(t), plain(t)
	made := deployment(space, "web")
	checks.Succeeds(t, clients.Create(ctx, made))

	before := made.DeepCopy()
	made.Spec.Template.Spec.Containers = append(made.Spec.Template.Spec.Containers, corev1.Container{
		Name: "d", Image: "registry.example/d:1", SecurityContext: made.Spec.Template.Spec.Containers[0].SecurityContext,
	})
	checks.Succeeds(t, clients.Patch(ctx, made, client.StrategicMergeFrom(before)))
	checks.Equal(t, "containers", len(made.Spec.Template.Spec.Containers), 2)
	checks.Equal(t, "generation", made.Generation, 2)

	before = made.DeepCopy()
	made.Labels = map[string]string{"app": "web", "tier": "front"}
	checks.Succeeds(t, clients.Patch(ctx, made, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
	stale := before.DeepCopy()
	stale.Labels = nil
	err := clients.Patch(ctx, stale, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	checks.Refused(t, err, apierrors.IsConflict, "the object has been modified")

	before = made.DeepCopy()
	made.Status.Replicas, made.Spec.Replicas = 2, pointer[int32](9)
	checks.Succeeds(t, clients.Status().Patch(ctx, made, client.MergeFrom(before), client.FieldOwner("controller")))
	checks.Equal(t, "replicas through the status", *made.Spec.Replicas, 2)
	checks.Equal(t, "status", made.Status.Replicas, 2)
	made.Status.ReadyReplicas = 1
	checks.Succeeds(t, clients.Status().Update(ctx, made))
	checks.Equal(t, "status", made.Status.ReadyReplicas, 1)
	checks.Equal(t, "generation after a status", made.Generation, 2)
	err = clients.Status().Update(ctx, before)
	checks.Refused(t, err, apierrors.IsConflict, "the object has been modified")

	// What is empty takes nothing and writes nothing.
	version := made.ResourceVersion
	checks.Succeeds(t, clients.Patch(ctx, made, client.MergeFrom(made.DeepCopy())))
	checks.Equal(t, "version after an empty patch", made.ResourceVersion, version)
}

func TestApplyByTheClient(t *testing.T) {
	space, ctx, clients := namespace(t), checks.Deadline(t), plain(t)
	wanted := func(data map[string]string) *coreapply.ConfigMapApplyConfiguration {
		return coreapply.ConfigMap("one", space).WithData(data)
	}
	first := wanted(map[string]string{"a": "1", "b": "1"})
	checks.Succeeds(t, clients.Apply(ctx, first, client.FieldOwner("one")))
	checks.Equal(t, "what was applied is read back", *first.ResourceVersion != "", true)
	err := clients.Apply(ctx, wanted(map[string]string{"a": "2"}), client.FieldOwner("two"))
	checks.Refused(t, err, apierrors.IsConflict, `Apply failed with 1 conflict: conflict with "one": .data.a`)
	checks.Succeeds(t, clients.Apply(ctx, wanted(map[string]string{"a": "2"}), client.FieldOwner("two"), client.ForceOwnership))
	checks.Succeeds(t, clients.Apply(ctx, wanted(map[string]string{"c": "1"}), client.FieldOwner("one")))
	var now corev1.ConfigMap
	checks.Succeeds(t, clients.Get(ctx, client.ObjectKey{Namespace: space, Name: "one"}, &now))
	if len(now.Data) != 2 || now.Data["a"] != "2" || now.Data["c"] != "1" {
		t.Errorf("data: %v", now.Data)
	}

	// Through a patch with the whole object, as programs did before.
	old := configMap(space, "one", map[string]string{"d": "1"})
	old.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	checks.Succeeds(t, clients.Patch(ctx, old, client.Apply, client.FieldOwner("three"), client.ForceOwnership)) //nolint:staticcheck
	checks.Equal(t, "keys of three", len(old.Data), 3)

	untyped := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"e": "1"},
		"metadata": map[string]any{"name": "one", "namespace": space},
	}}
	checks.Succeeds(t, clients.Apply(ctx, client.ApplyConfigurationFromUnstructured(untyped), client.FieldOwner("four")))
	data, _, _ := unstructured.NestedStringMap(untyped.Object, "data")
	checks.Equal(t, "keys of four", len(data), 4)

	checks.Succeeds(t, clients.Create(ctx, deployment(space, "web")))
	status := appsapply.Deployment("web", space).WithStatus(appsapply.DeploymentStatus().WithReplicas(2))
	checks.Succeeds(t, clients.Status().Apply(ctx, status, client.FieldOwner("controller")))
	checks.Equal(t, "status", *status.Status.Replicas, 2)
}

func TestSubresourcesByTheClient(t *testing.T) {
	space, ctx, clients := namespace(t), checks.Deadline(t), plain(t)
	made := deployment(space, "web")
	checks.Succeeds(t, clients.Create(ctx, made))
	var scale autoscalingv1.Scale
	checks.Succeeds(t, clients.SubResource("scale").Get(ctx, made, &scale))
	checks.Equal(t, "scale", scale.Spec.Replicas, 2)
	scale.Spec.Replicas = 3
	checks.Succeeds(t, clients.SubResource("scale").Update(ctx, made, client.WithSubResourceBody(&scale)))
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":4}}`))
	checks.Succeeds(t, clients.SubResource("scale").Patch(ctx, made, patch, client.WithSubResourceBody(&scale)))
	checks.Succeeds(t, clients.Get(ctx, client.ObjectKeyFromObject(made), made))
	checks.Equal(t, "replicas", *made.Spec.Replicas, 4)

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "robot"}}
	checks.Succeeds(t, clients.Create(ctx, account))
	token := authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: pointer[int64](600)}}
	checks.Succeeds(t, clients.SubResource("token").Create(ctx, account, &token))
	checks.Equal(t, "a token", token.Status.Token != "", true)

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "p"}, Spec: podSpec()}
	checks.Succeeds(t, clients.Create(ctx, pod))
	checks.Succeeds(t, clients.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{}))
	err := clients.Get(ctx, client.ObjectKeyFromObject(pod), pod)
	checks.Refused(t, err, apierrors.IsNotFound, `pods "p" not found`)
}

func TestWrappedClients(t *testing.T) {
	space, ctx, clients := namespace(t), checks.Deadline(t), plain(t)
	checks.Succeeds(t, client.NewDryRunClient(clients).Create(ctx, configMap(space, "dry", nil)))
	var found corev1.ConfigMap
	err := clients.Get(ctx, client.ObjectKey{Namespace: space, Name: "dry"}, &found)
	checks.Refused(t, err, apierrors.IsNotFound, `configmaps "dry" not found`)

	owned := client.WithFieldOwner(client.NewNamespacedClient(clients, space), "owner")
	made := configMap("", "one", map[string]string{"a": "1"})
	checks.Succeeds(t, owned.Create(ctx, made))
	checks.Equal(t, "the manager", made.ManagedFields[0].Manager, "owner")

	strict := client.WithFieldValidation(clients, metav1.FieldValidationStrict)
	odd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "dada": map[string]any{},
		"metadata": map[string]any{"name": "odd", "namespace": space},
	}}
	checks.Refused(t, strict.Create(ctx, odd), apierrors.IsBadRequest, `strict decoding error: unknown field "dada"`)
	checks.Succeeds(t, clients.Create(ctx, odd))

	for _, wanted := range []controllerutil.OperationResult{
		controllerutil.OperationResultUpdated, controllerutil.OperationResultNone,
	} {
		change, err := controllerutil.CreateOrUpdate(ctx, clients, made, func() error {
			made.Data = map[string]string{"a": "2"}
			return controllerutil.SetOwnerReference(odd, made, clients.Scheme())
		})
		checks.Succeeds(t, err)
		checks.Equal(t, "what was done", change, wanted)
	}
	change, err := controllerutil.CreateOrPatch(ctx, clients, made, func() error { return nil })
	checks.Succeeds(t, err)
	checks.Equal(t, "the third time", change, controllerutil.OperationResultNone)
	checks.Equal(t, "owners", len(made.OwnerReferences), 1)

	made.Labels = map[string]string{"of": "wrapped"}
	checks.Succeeds(t, clients.Update(ctx, made))
	var heads metav1.PartialObjectMetadataList
	heads.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	checks.Succeeds(t, clients.List(ctx, &heads, client.InNamespace(space), client.MatchingLabels{"of": "wrapped"}))
	checks.Equal(t, "heads", len(heads.Items), 1)
	var named corev1.ConfigMapList
	checks.Succeeds(t, clients.List(ctx, &named, client.InNamespace(space), client.MatchingFields{"metadata.name": "odd"}))
	checks.Equal(t, "named", len(named.Items), 1)
	checks.Succeeds(t, clients.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(space), client.HasLabels{"of"}))
	checks.Succeeds(t, clients.List(ctx, &named, client.InNamespace(space)))
	checks.Equal(t, "left", len(named.Items), 1)
}
