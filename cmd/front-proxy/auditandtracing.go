package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/tracing"
	tracingapi "k8s.io/component-base/tracing/api/v1"

	"frontproxy/proxy"
)

// observeOptions are kube-apiserver's flags for audit and tracing.
type observeOptions struct {
	audit       *genericoptions.AuditOptions
	tracingFile string
}

func (o *observeOptions) flags(audit, tracing *pflag.FlagSet) {
	o.audit = genericoptions.NewAuditOptions()
	o.audit.AddFlags(audit)
	tracing.StringVar(&o.tracingFile, "tracing-config-file", "", "TracingConfiguration file (apiserver.config.k8s.io): where to send OTLP spans, and for how many requests. Empty means no tracing.")
}

func (o *observeOptions) validate() error {
	errs := o.audit.Validate()
	for flag, value := range map[string]string{"audit-log-path": o.audit.LogOptions.Path, "audit-webhook-config-file": o.audit.WebhookOptions.ConfigFile} {
		if value != "" && o.audit.PolicyFile == "" {
			errs = append(errs, fmt.Errorf("--%s is set but --audit-policy-file is not: nothing would be recorded", flag))
		}
	}
	if o.audit.PolicyFile != "" && o.audit.LogOptions.Path == "" && o.audit.WebhookOptions.ConfigFile == "" {
		errs = append(errs, errors.New("--audit-policy-file is set but neither --audit-log-path nor --audit-webhook-config-file is: events would go nowhere"))
	}
	return errors.Join(errs...)
}

// observers makes the audit backend and the tracer; both are off without their flags.
func (p *program) observers(o *observeOptions, c *proxy.Config) error {
	server := &genericapiserver.Config{}
	if err := o.audit.ApplyTo(server); err != nil {
		return fmt.Errorf("--audit-policy-file, --audit-log-path or --audit-webhook-config-file: %w", err)
	}
	if backend := server.AuditBackend; backend != nil {
		c.Audit = &proxy.Audit{Sink: backend, Policy: server.AuditPolicyRuleEvaluator}
		p.add(func(ctx context.Context) error {
			if err := backend.Run(ctx.Done()); err != nil {
				return fmt.Errorf("audit: %w", err)
			}
			<-ctx.Done()
			backend.Shutdown() // sends what is still in its buffers
			return nil
		})
	}
	if o.tracingFile == "" {
		return nil
	}
	provider, err := tracerProvider(o.tracingFile)
	if err != nil {
		return err
	}
	c.Tracing = provider
	p.add(func(ctx context.Context) error {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		if err := provider.Shutdown(last); err != nil {
			p.log.Error(err, "Could not send the last spans")
		}
		return nil
	})
	return nil
}

// lastSpans is how long a collector may take for the remaining spans at the end.
const lastSpans = 5 * time.Second

// tracingConfig reads a TracingConfiguration.
func tracingConfig(file string) (*tracingapi.TracingConfiguration, error) {
	config, err := genericoptions.ReadTracingConfiguration(file)
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %q: %w", file, err)
	}
	if errs := tracingapi.ValidateTracingConfiguration(config, utilfeature.DefaultFeatureGate, nil); len(errs) > 0 {
		return nil, fmt.Errorf("--tracing-config-file %q: %w", file, errs.ToAggregate())
	}
	return config, nil
}

// tracerProvider dials in the background. An unreachable collector loses spans but
// never affects requests.
func tracerProvider(file string) (tracing.TracerProvider, error) {
	config, err := tracingConfig(file)
	if err != nil {
		return nil, err
	}
	provider, err := tracing.NewProvider(context.Background(), config, nil, []resource.Option{resource.WithAttributes(
		attribute.String("service.name", "front-proxy"), attribute.String("service.instance.id", instance()), attribute.String("service.version", version))})
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %q: %w", file, err)
	}
	return provider, nil
}
