package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// execInfo is the variable in which kubectl passes its request.
const execInfo = "KUBERNETES_EXEC_INFO"

const execVersion = "client.authentication.k8s.io/v1"

// execCredential has the fields of client.authentication.k8s.io/v1's ExecCredential
// that are used here.
type execCredential struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Spec       execSpec    `json:"spec"`
	Status     *execStatus `json:"status,omitempty"`
}

type execSpec struct {
	Interactive bool         `json:"interactive"`
	Cluster     *clusterInfo `json:"cluster,omitempty"`
}

type execStatus struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expirationTimestamp"`
}

// getToken is the command that kubectl runs.
func (p *program) getToken(ctx context.Context) error {
	var asked execCredential
	if err := json.Unmarshal([]byte(os.Getenv(execInfo)), &asked); err != nil {
		return fmt.Errorf("only kubectl can run this command; it sets %s", execInfo)
	}
	switch {
	case asked.APIVersion != execVersion || asked.Kind != "ExecCredential":
		return fmt.Errorf("kubectl uses %q, this program %s: log in again to fix the kubeconfig", asked.APIVersion, execVersion)
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
	return json.NewEncoder(p.out).Encode(execCredential{
		APIVersion: execVersion, Kind: "ExecCredential", Spec: execSpec{Interactive: asked.Spec.Interactive},
		Status: &execStatus{Token: tokens.IDToken, Expires: tokens.Expiry.Add(-early).UTC()},
	})
}
