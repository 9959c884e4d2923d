package harness

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a kubeconfig with one context of the given name.
func writeKubeconfig(path, context, server string, ca []byte, auth clientcmdapi.AuthInfo) error {
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{context: {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{context: &auth},
		Contexts:       map[string]*clientcmdapi.Context{context: {Cluster: context, AuthInfo: context}},
		CurrentContext: context,
	}
	if err := clientcmd.WriteToFile(config, path); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", path, err)
	}
	return nil
}

// WriteKubeconfig writes what config says (server, CA, token or client
// certificate, all as bytes) as a kubeconfig.
func WriteKubeconfig(path string, config *rest.Config) error {
	return writeKubeconfig(path, "default", config.Host, config.CAData, clientcmdapi.AuthInfo{
		Token:                 config.BearerToken,
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
	})
}

func (p KeyPair) authInfo() clientcmdapi.AuthInfo {
	return clientcmdapi.AuthInfo{ClientCertificateData: p.Cert, ClientKeyData: p.Key}
}

// config is a client's configuration with this certificate.
func (p KeyPair) config(server string, ca []byte) *rest.Config {
	return &rest.Config{Host: server, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: ca, CertData: p.Cert, KeyData: p.Key}}
}
