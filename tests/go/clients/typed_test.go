package clients

// Typed clients: what is written comes back the same, whichever encoding carries it, in every verb.

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"portcullis/tests/checks"
)

func pointer[T any](value T) *T { return &value }

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{
		RunAsNonRoot:   pointer(true),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}, Containers: []corev1.Container{{
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: pointer(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Name: "c", Image: "registry.example/c:1",
		Env:       []corev1.EnvVar{{Name: "A", Value: "1"}},
		Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")},
		}},
	}}}
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: pointer[int32](2),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
}

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: podSpec()}
}

// What one encoding wrote, the other reads the same.
func TestBothEncodingsSayTheSame(t *testing.T) {
	space, ctx := namespace(t), checks.Deadline(t)
	binary, text := clientset(t, protobuf), clientset(t, json)
	same := func(what string, one, other any, err error) {
		t.Helper()
		checks.Succeeds(t, err)
		if !reflect.DeepEqual(one, other) {
			t.Errorf("%s differs: %s", what, diff.Diff(one, other))
		}
	}
	for _, way := range []struct {
		name          string
		writes, reads kubernetes.Interface
	}{{"binary", binary, text}, {"text", text, binary}} {
		name := way.name
		var create metav1.CreateOptions
		var get metav1.GetOptions

		deploymentMade := must(way.writes.AppsV1().Deployments(space).Create(ctx, deployment(name), create))(t)
		deploymentRead, err := way.reads.AppsV1().Deployments(space).Get(ctx, name, get)
		same("a deployment", deploymentMade, deploymentRead, err)

		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Data:       map[string][]byte{"bytes": {0, 1, 254, 255}, "empty": {}},
			StringData: map[string]string{"text": "ä"},
		}
		secretMade := must(way.writes.CoreV1().Secrets(space).Create(ctx, secret, create))(t)
		secretRead, err := way.reads.CoreV1().Secrets(space).Get(ctx, name, get)
		same("a secret", secretMade, secretRead, err)
		checks.Equal(t, "text given as such", string(secretRead.Data["text"]), "ä")

		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{
				{Name: "a", Port: 80, TargetPort: intstr.FromString("http")},
				{Name: "b", Port: 80, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(8080)},
			}},
		}
		serviceMade := must(way.writes.CoreV1().Services(space).Create(ctx, service, create))(t)
		serviceRead, err := way.reads.CoreV1().Services(space).Get(ctx, name, get)
		same("a service", serviceMade, serviceRead, err)

		podMade := must(way.writes.CoreV1().Pods(space).Create(ctx, pod(name, nil), create))(t)
		podRead, err := way.reads.CoreV1().Pods(space).Get(ctx, name, get)
		same("a pod", podMade, podRead, err)

		job := &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *", JobTemplate: batchv1.JobTemplateSpec{
				Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec()}},
			}},
		}
		job.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		jobMade := must(way.writes.BatchV1().CronJobs(space).Create(ctx, job, create))(t)
		jobRead, err := way.reads.BatchV1().CronJobs(space).Get(ctx, name, get)
		same("a cron job", jobMade, jobRead, err)

		exact := networkingv1.PathTypeExact
		ingress := &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
				Host: "example.com",
				IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
					Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &exact, Backend: networkingv1.IngressBackend{
						Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 80}},
					}}},
				}},
			}}},
		}
		ingressMade := must(way.writes.NetworkingV1().Ingresses(space).Create(ctx, ingress, create))(t)
		ingressRead, err := way.reads.NetworkingV1().Ingresses(space).Get(ctx, name, get)
		same("an ingress", ingressMade, ingressRead, err)

		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: pointer(intstr.FromString("50%"))},
		}
		budgetMade := must(way.writes.PolicyV1().PodDisruptionBudgets(space).Create(ctx, budget, create))(t)
		budgetRead, err := way.reads.PolicyV1().PodDisruptionBudgets(space).Get(ctx, name, get)
		same("a budget", budgetMade, budgetRead, err)
	}
	binaryList := must(binary.CoreV1().Pods(space).List(ctx, metav1.ListOptions{}))(t)
	textList, err := text.CoreV1().Pods(space).List(ctx, metav1.ListOptions{ResourceVersion: binaryList.ResourceVersion})
	checks.Succeeds(t, err)
	same("a list of pods", binaryList.Items, textList.Items, err)
	checks.Equal(t, "pods", len(binaryList.Items), 2)
}

// The life of an object through every verb of a typed client.
func TestEveryVerb(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		maps := client.CoreV1().ConfigMaps(space)
		marked := metav1.ListOptions{LabelSelector: "of=verbs"}
		before := must(maps.List(ctx, marked))(t)
		events := must(maps.Watch(ctx, metav1.ListOptions{LabelSelector: "of=verbs", ResourceVersion: before.ResourceVersion}))(t)
		defer events.Stop()
		told := func(wanted watch.EventType, value string) {
			t.Helper()
			select {
			case event := <-events.ResultChan():
				found, _ := event.Object.(*corev1.ConfigMap)
				if event.Type != wanted || found == nil || found.Data["a"] != value {
					t.Errorf("wanted %s of %q, was told %v", wanted, value, event)
				}
			case <-ctx.Done():
				t.Fatalf("was not told %s of %q", wanted, value)
			}
		}
		object := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{"of": "verbs"}},
			Data:       map[string]string{"a": "1"},
		}
		must(maps.Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}))(t)
		_, err := maps.Get(ctx, "one", metav1.GetOptions{})
		checks.Refused(t, err, apierrors.IsNotFound, `configmaps "one" not found`)

		made := must(maps.Create(ctx, object, metav1.CreateOptions{FieldManager: "maker"}))(t)
		told(watch.Added, "1")
		checks.Equal(t, "managers", len(made.ManagedFields), 1)
		checks.Equal(t, "the manager", made.ManagedFields[0].Manager, "maker")

		made.Data["a"] = "2"
		updated := must(maps.Update(ctx, made, metav1.UpdateOptions{}))(t)
		told(watch.Modified, "2")
		checks.Equal(t, "identity", updated.UID, made.UID)
		same := must(maps.Update(ctx, updated, metav1.UpdateOptions{}))(t)
		checks.Equal(t, "version after a change that changes nothing", same.ResourceVersion, updated.ResourceVersion)

		for _, patch := range []struct {
			kind  types.PatchType
			text  string
			value string
		}{
			{types.JSONPatchType, `[{"op":"test","path":"/data/a","value":"2"},{"op":"replace","path":"/data/a","value":"3"}]`, "3"},
			{types.MergePatchType, `{"data":{"a":"4"}}`, "4"},
			{types.StrategicMergePatchType, `{"data":{"a":"5"}}`, "5"},
		} {
			patched := must(maps.Patch(ctx, "one", patch.kind, []byte(patch.text), metav1.PatchOptions{}))(t)
			checks.Equal(t, string(patch.kind), patched.Data["a"], patch.value)
			told(watch.Modified, patch.value)
		}
		listed := must(maps.List(ctx, marked))(t)
		checks.Equal(t, "listed", len(listed.Items), 1)

		stale := types.UID("another")
		err = maps.Delete(ctx, "one", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &stale}})
		checks.Refused(t, err, apierrors.IsConflict, "the UID in the precondition (another) does not match")
		checks.Succeeds(t, maps.Delete(ctx, "one", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}}))
		told(watch.Deleted, "5")

		for _, name := range []string{"x", "y"} {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "verbs"}}}
			must(maps.Create(ctx, object, metav1.CreateOptions{}))(t)
			told(watch.Added, "")
		}
		checks.Succeeds(t, maps.DeleteCollection(ctx, metav1.DeleteOptions{}, marked))
		told(watch.Deleted, "")
		told(watch.Deleted, "")
		checks.Equal(t, "listed at last", len(must(maps.List(ctx, marked))(t).Items), 0)
	})
}

// Status and scale of a deployment are doors of their own.
func TestSubresources(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		deployments := client.AppsV1().Deployments(space)
		made := must(deployments.Create(ctx, deployment("web"), metav1.CreateOptions{}))(t)
		checks.Equal(t, "generation", made.Generation, 1)

		changed := made.DeepCopy()
		changed.Spec.Replicas, changed.Status.Replicas = pointer[int32](9), 2
		status := must(deployments.UpdateStatus(ctx, changed, metav1.UpdateOptions{FieldManager: "controller"}))(t)
		checks.Equal(t, "replicas through the status", *status.Spec.Replicas, 2)
		checks.Equal(t, "status", status.Status.Replicas, 2)
		checks.Equal(t, "generation after a status", status.Generation, 1)

		scale := must(deployments.GetScale(ctx, "web", metav1.GetOptions{}))(t)
		checks.Equal(t, "scale", scale.Spec.Replicas, 2)
		checks.Equal(t, "selector", scale.Status.Selector, "app=web")
		scale.Spec.Replicas = 5
		scaled := must(deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{FieldManager: "scaler"}))(t)
		checks.Equal(t, "scaled", scaled.Spec.Replicas, 5)
		_, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
		checks.Refused(t, err, apierrors.IsConflict, "the object has been modified")

		now := must(deployments.Get(ctx, "web", metav1.GetOptions{}))(t)
		checks.Equal(t, "replicas", *now.Spec.Replicas, 5)
		checks.Equal(t, "generation after a scale", now.Generation, 2)
		managers := map[string]string{}
		for _, entry := range now.ManagedFields {
			managers[entry.Manager] = entry.Subresource
		}
		checks.Equal(t, "the status' manager", managers["controller"], "status")
		checks.Equal(t, "the scale's manager", managers["scaler"], "scale")

		var other autoscalingv1.Scale
		other.Name, other.Namespace, other.Spec.Replicas = "web", space, -1
		_, err = deployments.UpdateScale(ctx, "web", &other, metav1.UpdateOptions{})
		checks.Refused(t, err, apierrors.IsInvalid, "spec.replicas: Invalid value: -1")
	})
}

// Many write the same object, each reading again after a conflict: no change is lost.
func TestConflictsAreRetried(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		const writers, changes = 4, 5
		space, ctx := namespace(t), checks.Deadline(t)
		maps := client.CoreV1().ConfigMaps(space)
		must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "count"}}, metav1.CreateOptions{}))(t)
		failures := make(chan error)
		for range writers {
			go func() {
				var failure error
				for range changes {
					// As often as there can be conflicts: all others' changes.
					patient := retry.DefaultBackoff
					patient.Steps, patient.Duration, patient.Factor = writers*changes, 0, 0
					failure = retry.RetryOnConflict(patient, func() error {
						now, err := maps.Get(ctx, "count", metav1.GetOptions{})
						if err != nil {
							return err
						}
						if now.Data == nil {
							now.Data = map[string]string{}
						}
						now.Data["n"] += "I"
						_, err = maps.Update(ctx, now, metav1.UpdateOptions{})
						return err
					})
					if failure != nil {
						break
					}
				}
				failures <- failure
			}()
		}
		for range writers {
			checks.Succeeds(t, <-failures)
		}
		now := must(maps.Get(ctx, "count", metav1.GetOptions{}))(t)
		checks.Equal(t, "changes", len(now.Data["n"]), writers*changes)
	})
}
