package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"
)

// execInfo is the variable in which kubectl passes its request.
const execInfo = "KUBERNETES_EXEC_INFO"

var execCredential = clientauthentication.SchemeGroupVersion.WithKind("ExecCredential")

// getToken is the command that kubectl runs.
func (p *program) getToken(ctx context.Context) error {
	var asked clientauthentication.ExecCredential
	if err := json.Unmarshal([]byte(os.Getenv(execInfo)), &asked); err != nil {
		return fmt.Errorf("only kubectl can run this command; it sets %s", execInfo)
	}
	switch {
	case asked.GroupVersionKind() != execCredential:
		return fmt.Errorf("kubectl uses %q, this program %s: log in again to fix the kubeconfig", asked.APIVersion, execCredential.GroupVersion())
	case asked.Spec.Cluster == nil:
		return errors.New("kubectl does not say which server the token is for: the kubeconfig needs provideClusterInfo: true; log in again to fix it")
	}
	a, err := p.agreed(p.flags.login, asked.Spec.Cluster)
	if err != nil {
		return err
	}
	tokens, _, err := p.tokensOf(ctx, a, false, asked.Spec.Interactive)
	if err != nil {
		return err
	}
	asked.Spec.Cluster = nil // kubectl does not need its own request back
	asked.Status = &clientauthentication.ExecCredentialStatus{Token: tokens.IDToken, ExpirationTimestamp: &metav1.Time{Time: tokens.Expiry.Add(-early)}}
	return json.NewEncoder(p.out).Encode(&asked)
}
