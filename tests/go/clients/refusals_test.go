package clients

// What a program finds out from an error: each reason that client-go has a question for, and what the details say.

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portcullis/tests/checks"
)

func TestReasonsOfRefusals(t *testing.T) {
	space, ctx := namespace(t), checks.Deadline(t)
	client := clientset(t, protobuf)
	maps := client.CoreV1().ConfigMaps(space)
	must(maps.Create(ctx, labelled("one", "a"), metav1.CreateOptions{}))(t)

	_, err := maps.Get(ctx, "none", metav1.GetOptions{})
	checks.Refused(t, err, apierrors.IsNotFound, `configmaps "none" not found`)
	_, err = maps.Create(ctx, labelled("one", "a"), metav1.CreateOptions{})
	checks.Refused(t, err, apierrors.IsAlreadyExists, `configmaps "one" already exists`)
	_, err = maps.Create(ctx, labelled("One!", "a"), metav1.CreateOptions{})
	checks.Refused(t, err, apierrors.IsInvalid, `ConfigMap "One!" is invalid: metadata.name: Invalid value: "One!"`)
	checks.Equal(t, "a cause", apierrors.HasStatusCause(err, metav1.CauseTypeFieldValueInvalid), true)
	if cause, found := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid); !found || cause.Field != "metadata.name" {
		t.Errorf("cause: %v", cause)
	}
	stale := labelled("one", "b")
	stale.ResourceVersion = "1"
	_, err = maps.Update(ctx, stale, metav1.UpdateOptions{})
	checks.Refused(t, err, apierrors.IsConflict, `Operation cannot be fulfilled on configmaps "one"`)
	_, err = maps.Patch(ctx, "one", types.JSONPatchType, []byte("{"), metav1.PatchOptions{})
	checks.Refused(t, err, apierrors.IsBadRequest, "")
	_, err = maps.List(ctx, metav1.ListOptions{LabelSelector: "a in"})
	checks.Refused(t, err, apierrors.IsBadRequest, "unable to parse requirement")
	huge := labelled("huge", "a")
	huge.Data = map[string]string{"a": strings.Repeat("a", 4<<20)}
	_, err = maps.Create(ctx, huge, metav1.CreateOptions{})
	checks.Refused(t, err, apierrors.IsRequestEntityTooLargeError, "")

	// These ask for what their client's codec is not for.
	raw := must(kubernetes.NewForConfig(administrator))(t).CoreV1().RESTClient()
	ask := func(request *rest.Request) error { return request.Do(ctx).Error() }
	checks.Refused(t, ask(raw.Post().AbsPath("/api/v1/nodes/x/proxy-not")), apierrors.IsNotFound, "")
	checks.Refused(t, ask(raw.Post().Namespace(space).Resource("configmaps").Name("one")), apierrors.IsMethodNotSupported, "")
	accept := raw.Get().Namespace(space).Resource("configmaps").SetHeader("Accept", "text/html")
	checks.Refused(t, ask(accept), apierrors.IsNotAcceptable, "406: Not Acceptable")
	odd := raw.Post().Namespace(space).Resource("configmaps").Body([]byte("x")).SetHeader("Content-Type", "text/html")
	checks.Refused(t, ask(odd), apierrors.IsUnsupportedMediaType, "")
	_, err = maps.List(ctx, metav1.ListOptions{ResourceVersion: "999999999", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	checks.Refused(t, err, isAny, "Too large resource version: 999999999")
	checks.Equal(t, "a version of the future", apierrors.IsTimeout(err), true)
	checks.Equal(t, "the same, by its cause", apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge), true)

	nobody := rest.AnonymousClientConfig(administrator)
	_, err = must(kubernetes.NewForConfig(nobody))(t).CoreV1().Pods(space).List(ctx, metav1.ListOptions{})
	checks.Refused(t, err, apierrors.IsUnauthorized, "")
	someone := rest.CopyConfig(administrator)
	someone.Impersonate = rest.ImpersonationConfig{UserName: "someone"}
	_, err = must(kubernetes.NewForConfig(someone))(t).CoreV1().Pods(space).List(ctx, metav1.ListOptions{})
	checks.Refused(t, err, apierrors.IsForbidden, `pods is forbidden: User "someone" cannot list resource "pods" in API group ""`)

	_, err = client.CoreV1().ConfigMaps("nowhere").Create(ctx, labelled("one", "a"), metav1.CreateOptions{})
	checks.Refused(t, err, apierrors.IsNotFound, `namespaces "nowhere" not found`)
	stop, cancel := context.WithCancel(ctx)
	cancel()
	_, err = maps.Get(stop, "one", metav1.GetOptions{})
	checks.Equal(t, "an error of the client's own", errors.Is(err, context.Canceled), true)

	checks.Succeeds(t, client.CoreV1().Namespaces().Delete(ctx, space, metav1.DeleteOptions{}))
	_, err = maps.Create(ctx, labelled("late", "a"), metav1.CreateOptions{})
	checks.Refused(t, err, apierrors.IsForbidden, "because it is being terminated")
	checks.Equal(t, "a cause", apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), true)
}

// An eviction asks the budgets; what they refuse may be tried again.
func TestEvictions(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		pods := client.CoreV1().Pods(space)
		labels := map[string]string{"app": "web"}
		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: pointer(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			},
		}
		budget = must(client.PolicyV1().PodDisruptionBudgets(space).Create(ctx, budget, metav1.CreateOptions{}))(t)
		for _, name := range []string{"a", "b"} {
			running := must(pods.Create(ctx, pod(name, labels), metav1.CreateOptions{}))(t)
			running.Status.Phase = corev1.PodRunning
			running.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			must(pods.UpdateStatus(ctx, running, metav1.UpdateOptions{}))(t)
		}
		budget.Status = policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: budget.Generation, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2,
		}
		must(client.PolicyV1().PodDisruptionBudgets(space).UpdateStatus(ctx, budget, metav1.UpdateOptions{}))(t)
		evict := func(name string) error {
			return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
		checks.Succeeds(t, evict("a"))
		_, err := pods.Get(ctx, "a", metav1.GetOptions{})
		checks.Refused(t, err, apierrors.IsNotFound, `pods "a" not found`)
		err = evict("b")
		checks.Refused(t, err, apierrors.IsTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.")
		checks.Equal(t, "a cause", apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause), true)
		now := must(client.PolicyV1().PodDisruptionBudgets(space).Get(ctx, "web", metav1.GetOptions{}))(t)
		checks.Equal(t, "disruptions allowed", now.Status.DisruptionsAllowed, 0)
		if _, noted := now.Status.DisruptedPods["a"]; !noted {
			t.Errorf("disrupted: %v", now.Status.DisruptedPods)
		}
	})
}
