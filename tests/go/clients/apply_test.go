package clients

// Server-side apply through typed apply configurations (KEP-555, KEP-2155): who owns what, who is refused, what goes.

import (
	"encoding/base64"
	"errors"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/csaupgrade"

	"portcullis/tests/checks"
)

func by(manager string) metav1.ApplyOptions {
	return metav1.ApplyOptions{FieldManager: manager}
}

func forcedBy(manager string) metav1.ApplyOptions {
	return metav1.ApplyOptions{FieldManager: manager, Force: true}
}

func container(image string) *coreapply.ContainerApplyConfiguration {
	return coreapply.Container().WithName("c").WithImage(image).WithSecurityContext(coreapply.SecurityContext().
		WithAllowPrivilegeEscalation(false).WithCapabilities(coreapply.Capabilities().WithDrop("ALL")))
}

func configured(name, space string, containers ...*coreapply.ContainerApplyConfiguration) *appsapply.DeploymentApplyConfiguration {
	labels := map[string]string{"app": name}
	template := coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().
		WithSecurityContext(coreapply.PodSecurityContext().WithRunAsNonRoot(true).
			WithSeccompProfile(coreapply.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(containers...))
	return appsapply.Deployment(name, space).WithSpec(appsapply.DeploymentSpec().
		WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).WithTemplate(template))
}

// conflicts gives the fields of a refused apply, each with whom it conflicts with.
func conflicts(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		t.Fatalf("wanted a conflict, got %v", err)
	}
	var found []string
	for _, cause := range status.Status().Details.Causes {
		checks.Equal(t, "the cause", cause.Type, metav1.CauseTypeFieldManagerConflict)
		found = append(found, cause.Field+": "+cause.Message)
	}
	return found
}

func TestApplyConflictsAndForce(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		deployments := client.AppsV1().Deployments(space)
		first := configured("web", space, container("registry.example/c:1"))
		first.Spec.WithReplicas(3)
		made := must(deployments.Apply(ctx, first, by("one")))(t)
		checks.Equal(t, "replicas", *made.Spec.Replicas, 3)
		again := must(deployments.Apply(ctx, first, by("one")))(t)
		checks.Equal(t, "version after the same once more", again.ResourceVersion, made.ResourceVersion)

		second := appsapply.Deployment("web", space).WithSpec(appsapply.DeploymentSpec().WithReplicas(5))
		_, err := deployments.Apply(ctx, second, by("two"))
		if found := conflicts(t, err); !slices.Equal(found, []string{`.spec.replicas: conflict with "one"`}) {
			t.Errorf("conflicts: %q", found)
		}
		checks.Refused(t, err, apierrors.IsConflict, `Apply failed with 1 conflict: conflict with "one": .spec.replicas`)

		forced := must(deployments.Apply(ctx, second, forcedBy("two")))(t)
		checks.Equal(t, "replicas by force", *forced.Spec.Replicas, 5)
		checks.Equal(t, "generation", forced.Generation, 2)
		_, err = deployments.Apply(ctx, first, by("one"))
		if found := conflicts(t, err); !slices.Equal(found, []string{`.spec.replicas: conflict with "two"`}) {
			t.Errorf("conflicts the other way: %q", found)
		}

		// The first gives the replicas up: the second's stay.
		first.Spec.Replicas = nil
		gave := must(deployments.Apply(ctx, first, by("one")))(t)
		checks.Equal(t, "replicas given up", *gave.Spec.Replicas, 5)
		extracted := must(appsapply.ExtractDeployment(gave, "one"))(t)
		if extracted.Spec == nil || extracted.Spec.Replicas != nil || len(extracted.Spec.Template.Spec.Containers) != 1 {
			t.Errorf("extracted of the first: %v", extracted.Spec)
		}
		extracted = must(appsapply.ExtractDeployment(gave, "two"))(t)
		if extracted.Spec == nil || *extracted.Spec.Replicas != 5 || extracted.Spec.Template != nil {
			t.Errorf("extracted of the second: %v", extracted.Spec)
		}

		// The second gives them up too: nobody's field goes back to its default.
		second = appsapply.Deployment("web", space)
		alone := must(deployments.Apply(ctx, second, by("two")))(t)
		checks.Equal(t, "replicas that nobody owns", *alone.Spec.Replicas, 1)
		for _, entry := range alone.ManagedFields {
			if entry.Manager == "two" {
				t.Errorf("the second owns nothing, yet has %v", entry)
			}
		}
	})
}

// What Update wrote conflicts as well, and is named with its version and time.
func TestApplyMeetsUpdates(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		deployments := client.AppsV1().Deployments(space)
		must(deployments.Create(ctx, deployment("web"), metav1.CreateOptions{FieldManager: "maker"}))(t)
		scale := must(deployments.GetScale(ctx, "web", metav1.GetOptions{}))(t)
		scale.Spec.Replicas = 7
		must(deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{FieldManager: "scaler"}))(t)

		wanted := configured("web", space, container("registry.example/c:2"))
		wanted.Spec.WithReplicas(1)
		_, err := deployments.Apply(ctx, wanted, by("applier"))
		found := conflicts(t, err)
		if len(found) != 2 {
			t.Fatalf("conflicts: %q", found)
		}
		checks.Refused(t, err, apierrors.IsConflict, `conflicts with "maker" using apps/v1`)
		checks.Refused(t, err, apierrors.IsConflict, `conflicts with "scaler" with subresource "scale" using apps/v1`)

		wanted.Spec.Replicas = nil
		applied := must(deployments.Apply(ctx, wanted, forcedBy("applier")))(t)
		checks.Equal(t, "the scaler's replicas", *applied.Spec.Replicas, 7)
		checks.Equal(t, "the image", applied.Spec.Template.Spec.Containers[0].Image, "registry.example/c:2")
		checks.Equal(t, "what nobody applied", applied.Spec.Template.Spec.Containers[0].Env[0].Value, "1")
	})
}

// Lists with keys merge by them, lists that are sets as sets, all else as one.
func TestApplyMergesLists(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		port := func(name string, number int32, protocol corev1.Protocol) *coreapply.ServicePortApplyConfiguration {
			port := coreapply.ServicePort().WithName(name).WithPort(number)
			if protocol != "" {
				port.WithProtocol(protocol)
			}
			return port
		}
		service := func(ports ...*coreapply.ServicePortApplyConfiguration) *coreapply.ServiceApplyConfiguration {
			return coreapply.Service("web", space).WithSpec(coreapply.ServiceSpec().WithPorts(ports...))
		}
		services := client.CoreV1().Services(space)
		names := func(ports []corev1.ServicePort) (names []string) {
			for _, port := range ports {
				names = append(names, port.Name)
			}
			return names
		}
		// The key has a protocol, and its default counts.
		must(services.Apply(ctx, service(port("tcp", 53, "")), by("one")))(t)
		both := must(services.Apply(ctx, service(port("udp", 53, corev1.ProtocolUDP)), by("two")))(t)
		if found := names(both.Spec.Ports); !slices.Equal(found, []string{"tcp", "udp"}) {
			t.Errorf("ports: %q", found)
		}
		_, err := services.Apply(ctx, service(port("other", 53, corev1.ProtocolTCP)), by("three"))
		if found := conflicts(t, err); !slices.Equal(found, []string{
			`.spec.ports[port=53,protocol="TCP"].name: conflict with "one"`,
		}) {
			t.Errorf("conflicts: %q", found)
		}
		rest := must(services.Apply(ctx, service(port("more", 80, "")), by("one")))(t)
		if found := names(rest.Spec.Ports); len(found) != 2 || !sets.New(found...).HasAll("udp", "more") {
			t.Errorf("ports after one was given up: %q", found)
		}

		accounts := client.CoreV1().ServiceAccounts(space)
		holds := func(names ...string) *coreapply.ServiceAccountApplyConfiguration {
			account := coreapply.ServiceAccount("robot", space)
			for _, name := range names {
				account.WithSecrets(coreapply.ObjectReference().WithName(name))
			}
			return account
		}
		must(accounts.Apply(ctx, holds("a", "b").WithFinalizers("example.com/one"), by("one")))(t)
		merged := must(accounts.Apply(ctx, holds("c").WithFinalizers("example.com/two"), by("two")))(t)
		checks.Equal(t, "finalizers", len(merged.Finalizers), 2)
		pruned := must(accounts.Apply(ctx, holds("b"), by("one")))(t)
		if !slices.Equal(pruned.Finalizers, []string{"example.com/two"}) {
			t.Errorf("finalizers: %q", pruned.Finalizers)
		}
		if len(pruned.Secrets) != 2 || pruned.Secrets[0].Name != "b" || pruned.Secrets[1].Name != "c" {
			t.Errorf("secrets: %v", pruned.Secrets)
		}
		// What is atomic is one thing with one owner.
		atomic := coreapply.ServiceAccount("robot", space).
			WithImagePullSecrets(coreapply.LocalObjectReference().WithName("a"))
		must(accounts.Apply(ctx, atomic, by("one")))(t)
		atomic.ImagePullSecrets[0].WithName("b")
		_, err = accounts.Apply(ctx, atomic, by("two"))
		if found := conflicts(t, err); !slices.Equal(found, []string{`.imagePullSecrets: conflict with "one"`}) {
			t.Errorf("conflicts: %q", found)
		}
	})
}

// Status and scale are applied through doors of their own, and own nothing behind the others.
func TestApplySubresources(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		deployments := client.AppsV1().Deployments(space)
		must(deployments.Apply(ctx, configured("web", space, container("registry.example/c:1")), by("one")))(t)
		condition := func(kind, reason string) *appsapply.DeploymentConditionApplyConfiguration {
			return appsapply.DeploymentCondition().
				WithType(appsv1.DeploymentConditionType(kind)).WithStatus(corev1.ConditionTrue).WithReason(reason)
		}
		status := appsapply.Deployment("web", space).WithStatus(appsapply.DeploymentStatus().
			WithReplicas(1).WithConditions(condition("Available", "A")))
		status.WithSpec(appsapply.DeploymentSpec().WithReplicas(9))
		applied := must(deployments.ApplyStatus(ctx, status, by("controller")))(t)
		checks.Equal(t, "replicas through the status", *applied.Spec.Replicas, 1)
		other := appsapply.Deployment("web", space).WithStatus(appsapply.DeploymentStatus().
			WithConditions(condition("Progressing", "B")))
		applied = must(deployments.ApplyStatus(ctx, other, by("observer")))(t)
		checks.Equal(t, "conditions of two", len(applied.Status.Conditions), 2)
		extracted := must(appsapply.ExtractDeploymentStatus(applied, "controller"))(t)
		if extracted.Spec != nil || extracted.Status == nil || len(extracted.Status.Conditions) != 1 {
			t.Errorf("extracted of the status: %v", extracted)
		}
		through := must(deployments.Apply(ctx, configured("web", space, container("registry.example/c:1")).
			WithStatus(appsapply.DeploymentStatus().WithReplicas(33)), by("one")))(t)
		checks.Equal(t, "status through the main door", through.Status.Replicas, 1)

		scale := autoscalingapply.Scale().WithSpec(autoscalingapply.ScaleSpec().WithReplicas(4))
		// Nobody owns the replicas, which came by default: a first apply takes nothing over unasked.
		_, err := deployments.ApplyScale(ctx, "web", scale, by("scaler"))
		checks.Refused(t, err, apierrors.IsConflict, `conflict with "before-first-apply"`)
		scaled := must(deployments.ApplyScale(ctx, "web", scale, forcedBy("scaler")))(t)
		checks.Equal(t, "scaled", scaled.Spec.Replicas, 4)
		wanted := appsapply.Deployment("web", space).WithSpec(appsapply.DeploymentSpec().WithReplicas(2))
		_, err = deployments.Apply(ctx, wanted, by("two"))
		if found := conflicts(t, err); !slices.Equal(found, []string{
			`.spec.replicas: conflict with "scaler" with subresource "scale"`,
		}) {
			t.Errorf("conflicts with a scale: %q", found)
		}
		_, err = deployments.ApplyScale(ctx, "web", autoscalingapply.Scale().
			WithSpec(autoscalingapply.ScaleSpec().WithReplicas(6)), by("two"))
		if found := conflicts(t, err); len(found) != 1 {
			t.Errorf("conflicts of two scalers: %q", found)
		}
	})
}

// isAny takes any error: what upstream answers has no reason.
func isAny(error) bool { return true }

func TestApplyIsRefused(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		maps := client.CoreV1().ConfigMaps(space)
		one := func() *coreapply.ConfigMapApplyConfiguration {
			return coreapply.ConfigMap("one", space).WithData(map[string]string{"a": "1"})
		}
		_, err := maps.Apply(ctx, one(), metav1.ApplyOptions{})
		checks.Refused(t, err, apierrors.IsInvalid, "fieldManager: Required value: is required for apply patch")
		_, err = maps.Apply(ctx, one().WithUID("another"), by("one"))
		checks.Refused(t, err, apierrors.IsConflict, "uid mismatch: the provided object specified uid another, and no existing object was found")
		made := must(maps.Apply(ctx, one(), by("one")))(t)
		_, err = maps.Apply(ctx, one().WithResourceVersion("1").WithData(map[string]string{"a": "2"}), by("one"))
		checks.Refused(t, err, apierrors.IsConflict, "the object has been modified")
		must(maps.Apply(ctx, one().WithResourceVersion(made.ResourceVersion), by("one")))(t)
		text := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one","managedFields":[{"manager":"x"}]}}`
		patch := metav1.PatchOptions{FieldManager: "one"}
		_, err = maps.Patch(ctx, "one", types.ApplyPatchType, []byte(text), patch)
		checks.Refused(t, err, apierrors.IsBadRequest, "metadata.managedFields must be nil")
		text = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"dada":{}}`
		_, err = maps.Patch(ctx, "one", types.ApplyPatchType, []byte(text), patch)
		checks.Refused(t, err, isAny, `failed to create typed patch object (/one; /v1, Kind=ConfigMap): .dada: field not declared in schema`)
		dry := by("two")
		dry.DryRun = []string{metav1.DryRunAll}
		must(maps.Apply(ctx, coreapply.ConfigMap("one", space).WithData(map[string]string{"b": "2"}), dry))(t)
		now := must(maps.Get(ctx, "one", metav1.GetOptions{}))(t)
		checks.Equal(t, "version after a dry run", now.ResourceVersion, made.ResourceVersion)
	})
}

// An object that was applied on the client's side is taken over: what is left out later goes.
func TestUpgradeFromClientSideApply(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		secrets := client.CoreV1().Secrets(space)
		const manager = "kubectl-client-side-apply"
		last := `{"apiVersion":"v1","kind":"Secret","metadata":{"annotations":{},"name":"one","namespace":"` + space +
			`"},"data":{"a":"` + base64.StdEncoding.EncodeToString([]byte("1")) + `","b":"Mg=="}}`
		old := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "one", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: last}},
			Data:       map[string][]byte{"a": []byte("1"), "b": []byte("2")},
		}
		made := must(secrets.Create(ctx, old, metav1.CreateOptions{FieldManager: manager}))(t)
		patch := must(csaupgrade.UpgradeManagedFieldsPatch(made, sets.New(manager), "applier"))(t)
		upgraded := must(secrets.Patch(ctx, "one", types.JSONPatchType, patch, metav1.PatchOptions{}))(t)
		checks.Equal(t, "managers", len(upgraded.ManagedFields), 1)
		checks.Equal(t, "the manager", upgraded.ManagedFields[0].Manager, "applier")
		checks.Equal(t, "how", upgraded.ManagedFields[0].Operation, metav1.ManagedFieldsOperationApply)
		_, err := secrets.Patch(ctx, "one", types.JSONPatchType, patch, metav1.PatchOptions{})
		checks.Refused(t, err, apierrors.IsConflict, "the object has been modified")
		applied := must(secrets.Apply(ctx, coreapply.Secret("one", space).
			WithData(map[string][]byte{"a": []byte("3")}), by("applier")))(t)
		checks.Equal(t, "what is kept", string(applied.Data["a"]), "3")
		checks.Equal(t, "what is left", len(applied.Data), 1)
	})
}
