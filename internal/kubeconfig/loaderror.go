package kubeconfig

import (
	"errors"

	"k8s.io/client-go/tools/clientcmd"
)

// LoadError returns why the kubeconfig at path cannot be used, for which client-go's loader gave
// err. If the file has no cluster that its context could use, client-go says only that there is no
// configuration, and mentions environment variables that front-proxy does not read.
func LoadError(path string, err error) error {
	if !clientcmd.IsEmptyConfig(err) {
		return err
	}
	config, loadErr := clientcmd.LoadFromFile(path)
	if loadErr != nil {
		return loadErr
	}
	if unusable := clientcmd.ConfirmUsable(*config, ""); unusable != nil && !clientcmd.IsEmptyConfig(unusable) {
		return unusable
	}
	return errors.New("it is empty")
}
