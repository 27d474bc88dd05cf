package clients

// Who somebody is, what they may do, and tokens for service accounts.

import (
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"portcullis/tests/checks"
)

func TestReviewsAndTokens(t *testing.T) {
	eachEncoding(t, func(t *testing.T, client kubernetes.Interface) {
		space, ctx := namespace(t), checks.Deadline(t)
		account := "system:serviceaccount:" + space + ":default"
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"one"}},
		}}
		must(client.RbacV1().Roles(space).Create(ctx, role, metav1.CreateOptions{}))(t)
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "default", Namespace: space}},
		}
		must(client.RbacV1().RoleBindings(space).Create(ctx, binding, metav1.CreateOptions{}))(t)
		must(client.CoreV1().ConfigMaps(space).Create(ctx, labelled("one", "a"), metav1.CreateOptions{}))(t)

		wanted := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: pointer[int64](600)}}
		token := must(client.CoreV1().ServiceAccounts(space).CreateToken(ctx, "default", wanted, metav1.CreateOptions{}))(t)
		if left := time.Until(token.Status.ExpirationTimestamp.Time); left <= 0 || left > 11*time.Minute {
			t.Errorf("the token ends in %s", left)
		}
		config := rest.AnonymousClientConfig(administrator)
		config.BearerToken = token.Status.Token
		robot := must(kubernetes.NewForConfig(config))(t)
		must(robot.CoreV1().ConfigMaps(space).Get(ctx, "one", metav1.GetOptions{}))(t)
		_, err := robot.CoreV1().ConfigMaps(space).Get(ctx, "two", metav1.GetOptions{})
		checks.Refused(t, err, apierrors.IsForbidden, `User "`+account+`" cannot get resource "configmaps"`)

		who := must(robot.AuthenticationV1().SelfSubjectReviews().Create(ctx,
			&authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))(t)
		checks.Equal(t, "who the robot is", who.Status.UserInfo.Username, account)
		review := must(client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}, metav1.CreateOptions{}))(t)
		checks.Equal(t, "whose the token is", review.Status.User.Username, account)
		checks.Equal(t, "whether it is one", review.Status.Authenticated, true)

		for _, asked := range []struct {
			verb, name string
			allowed    bool
		}{{"get", "one", true}, {"get", "two", false}, {"update", "one", false}} {
			attributes := &authorizationv1.ResourceAttributes{
				Namespace: space, Verb: asked.verb, Resource: "configmaps", Name: asked.name,
			}
			own := must(robot.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes},
			}, metav1.CreateOptions{}))(t)
			checks.Equal(t, "whether it may "+asked.verb+" "+asked.name, own.Status.Allowed, asked.allowed)
			others := must(client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: attributes, User: account},
			}, metav1.CreateOptions{}))(t)
			checks.Equal(t, "the same, asked by another", others.Status.Allowed, asked.allowed)
			local := must(client.AuthorizationV1().LocalSubjectAccessReviews(space).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
				ObjectMeta: metav1.ObjectMeta{Namespace: space},
				Spec:       authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: attributes, User: account},
			}, metav1.CreateOptions{}))(t)
			checks.Equal(t, "the same in one namespace", local.Status.Allowed, asked.allowed)
		}
		rules := must(robot.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: space},
		}, metav1.CreateOptions{}))(t)
		found := false
		for _, rule := range rules.Status.ResourceRules {
			found = found || len(rule.ResourceNames) == 1 && rule.ResourceNames[0] == "one"
		}
		checks.Equal(t, "whether the rules have it", found, true)
	})
}
