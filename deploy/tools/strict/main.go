// Command strict reads YAML documents from standard input and decodes each into
// the Go type of its API: Kubernetes', cert-manager's, the Gateway API's
// and the Prometheus operator's own. An unknown kind, an unknown or doubled field, a value of the
// wrong type is an error that names the object.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1alpha3 "sigs.k8s.io/gateway-api/apis/v1alpha3"
)

func main() {
	n, err := decode(os.Stdin)
	if err != nil {
		fmt.Fprintf(os.Stderr, "strict: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%d objects\n", n)
}

func decode(in io.Reader) (int, error) {
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), certmanager.AddToScheme(types), monitoring.AddToScheme(types), gatewayv1.Install(types), gatewayv1alpha3.Install(types)); err != nil {
		return 0, err
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, types, types, json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewYAMLReader(bufio.NewReader(in))
	var errs []error
	for n, objects := 1, 0; ; n++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, errors.Join(errs...)
		}
		if err != nil {
			return objects, err
		}
		var any any
		if err := yaml.Unmarshal(document, &any); err == nil && any == nil {
			continue // only comments
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("document %d (%v): %w", n, kind, err))
			continue
		}
		_ = object
		objects++
	}
}
